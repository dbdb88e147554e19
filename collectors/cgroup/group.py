"""One control group: whose it is, and what each controller's module reads of it."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from agent.model.facts.cgroup import GroupState, HugePages, Pids, WorkloadCpu, WorkloadMemory
from agent.model.runtimes import SYSTEMD
from agent.model.values import Detail, Fact
from collectors.cgroup import cpu, cpuset, memory, others
from collectors.cgroup.cpuset import Cpuset
from collectors.cgroup.held import GroupFiles, HeldDirectory
from collectors.cgroup.hierarchies import Directories, Hierarchies, StatedOwners
from collectors.cgroup.others import Stall
from collectors.cgroup.owner import Owner, Owners, whose
from collectors.cgroup.pointed_out import PointedOut
from collectors.text import number_lines, printable

INNER_UNITS = (".slice", ".mount", ".swap", ".socket")
"""Ends of names of units that hold other units, or that the kernel runs (systemd.unit(5)): no process is in them for long."""

R = TypeVar("R", WorkloadCpu, Cpuset, WorkloadMemory, Pids, GroupState)


class Group(Fact, frozen=True, kw_only=True):
    """One group. `path` is below the hierarchy ("/" is its root), `inode` tells a group from its successor of the same name.

    `processes` are not asked of units that hold no processes themselves. `threads` are those of a threaded group: it may not list
    processes, which are in the list of a group above.
    """

    path: str
    inode: int | None = None
    controllers: tuple[str, ...] | None = None
    """Enabled here, on v2; None on v1, or where it is not known."""
    cpu: WorkloadCpu | None = None
    cpuset: Cpuset | None = None
    memory: WorkloadMemory | None = None
    pressure: dict[str, Stall] = {}
    pids: Pids | None = None
    huge_pages: tuple[HugePages, ...] = ()
    state: GroupState | None = None
    processes: tuple[int, ...] | None = None
    threads: tuple[int, ...] | None = None
    owner: Owner | None = None


class _Homes(NamedTuple):
    """Which directory of a group has the files of which controller. v1 goes before v2: a controller is in one hierarchy only."""

    directories: Directories
    hierarchies: Hierarchies
    unified: HeldDirectory | None
    enabled: tuple[str, ...] | None
    """The controllers that are enabled in the group on v2, where it is known."""

    def of(self, controller: str) -> HeldDirectory | None:
        return self.directories.get(self.hierarchies.v1.get(controller, self.hierarchies.unified or ""))

    def with_files_of(self, controller: str) -> HeldDirectory | None:
        """The same, None on v2 where the controller is not enabled and has no files."""
        home = self.of(controller)
        return None if home is self.unified and self.enabled is not None and controller not in self.enabled else home


def read_group(
    files: GroupFiles, path: str, directories: Directories, hierarchies: Hierarchies, detail: Detail, owners: Owners, user: PointedOut
) -> Group | None:
    """None when the group went away while it was read. `owners` are those of other groups, and get this one's."""
    unified = directories.get(hierarchies.unified or "")
    enabled = files.parse(unified, "cgroup.controllers", lambda text: tuple(text.split()), blank=True) if unified else None
    homes = _Homes(directories, hierarchies, unified, enabled)
    name = printable(path)
    owner = owner_of(name, hierarchies.stated_owners, owners, user)
    is_top = path == "/"
    may_hold_processes = owner is not None or not (is_top or path.endswith(INNER_UNITS))
    processes, threads = _members(files, (homes.of("cpu"), homes.of("memory"), unified)) if may_hold_processes else (None, None)
    v1_homes = (home for controller in ("cpu", "memory", "cpuset", "pids") if (home := homes.of(controller)))
    main = unified or next(v1_homes, None) or next(iter(directories.values()))
    if owner and processes is None and main.fd >= 0 and "cgroup.procs" not in main.malformed:
        return None
    pids_home = homes.with_files_of("pids")
    return Group(
        path=name,
        inode=main.inode,
        controllers=enabled,
        cpu=_cpu(files, homes, detail),
        cpuset=_cpuset(files, homes, is_top, detail),
        memory=_memory(files, homes, detail),
        pressure=others.pressure(files, unified) if unified and not is_top else {},
        pids=_unless_empty(others.pids(files, pids_home, detail)) if pids_home else None,
        huge_pages=() if is_top else _huge_pages(files, homes),
        state=_state(files, homes) if detail == "document" and not is_top else None,
        processes=processes,
        threads=threads,
        owner=owner,
    )


def owner_of(path: str, stated: StatedOwners, owners: Owners, user: PointedOut) -> Owner | None:
    """Whose a group is by its name, or by what is stated of a group around it that is deeper."""
    owner = whose(path, owners, user)
    above = owner.path if owner and owner.runtime != SYSTEMD.name else ""
    while stated and path and len(path) >= len(above):
        if path in stated:
            return Owner(*stated[path], path)
        path = path.rpartition("/")[0]
    return owner


def _unless_empty(record: R) -> R | None:
    """A controller that is not enabled in a group shows no file of it."""
    return None if record == type(record)() else record


def _cpu(files: GroupFiles, homes: _Homes, detail: Detail) -> WorkloadCpu | None:
    # cpu.stat is there without the controller, too.
    home = homes.of("cpu")
    if home is None:
        return None
    if "cpu" in homes.hierarchies.v1:
        return _unless_empty(cpu.read_v1(files, home, homes.of("cpuacct"), detail))
    return _unless_empty(cpu.read_v2(files, home, detail))


def _cpuset(files: GroupFiles, homes: _Homes, is_top: bool, detail: Detail) -> Cpuset | None:
    home = homes.with_files_of("cpuset")
    if home is None:
        return None
    if "cpuset" in homes.hierarchies.v1:
        return _unless_empty(cpuset.read_v1(files, home, is_top, homes.hierarchies.root_load_balance, detail))
    return _unless_empty(cpuset.read_v2(files, home, is_top, detail))


def _memory(files: GroupFiles, homes: _Homes, detail: Detail) -> WorkloadMemory | None:
    home = homes.with_files_of("memory")
    if home is None:
        return None
    read = memory.read_v1 if "memory" in homes.hierarchies.v1 else memory.read_v2
    return _unless_empty(read(files, home, detail))


def _huge_pages(files: GroupFiles, homes: _Homes) -> tuple[HugePages, ...]:
    sizes = homes.hierarchies.huge_page_sizes
    home = homes.with_files_of("hugetlb") if sizes else None
    return others.huge_pages(files, home, sizes, "hugetlb" in homes.hierarchies.v1) if home else ()


def _state(files: GroupFiles, homes: _Homes) -> GroupState | None:
    freezer = homes.directories.get(homes.hierarchies.v1.get("freezer", ""))
    if freezer is not None:
        return _unless_empty(others.state_v1(files, freezer))
    return _unless_empty(others.state_v2(files, homes.unified)) if homes.unified else None


def _members(files: GroupFiles, homes: tuple[HeldDirectory | None, ...]) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The processes of a group, of the first hierarchy that lists them; of a threaded one the threads."""
    for directory in dict.fromkeys(homes):
        if directory is None:
            continue
        pids = files.parse(directory, "cgroup.procs", number_lines, blank=True)
        if pids is not None:
            return pids, None
        type_ = (files.text(directory, "cgroup.type") or "").strip()
        if type_ in ("threaded", "domain invalid"):
            # EOPNOTSUPP says no more (cgroup-v2.rst, "Threads"). One that is invalid can have no member.
            files.root.drop_refusal(f"{directory.path}/cgroup.procs")
            return (), files.parse(directory, "cgroup.threads", number_lines, blank=True) if type_ == "threaded" else None
    return None, None
