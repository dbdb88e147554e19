"""Control groups, v2, v1 and hybrid, in one record: /sys/fs/cgroup. Here the hierarchies are found and walked; a controller's files
are read by the module that bears its name, and `owner` knows whose a group is.

Sources: Documentation/admin-guide/cgroup-v2.rst, Documentation/admin-guide/cgroup-v1/. A controller is in one hierarchy only, so each
value is read once. A scrape reads of each group what metrics show, a document the `whole` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from agent.model.values import Fact
from collectors.cgroup import cpu, cpuset, memory, others
from collectors.cgroup.cpu import Cpu
from collectors.cgroup.cpuset import Cpuset
from collectors.cgroup.memory import Memory
from collectors.cgroup.others import HugePages, Pids, Stall, State
from collectors.cgroup.owner import Owner, Pod, pod_of, whose
from collectors.root import HeldDirectory, SysRoot, Unavailable
from collectors.text import integer, newline_separated, printable, space_separated

__all__ = ["Cgroups", "Cpu", "Cpuset", "Group", "HugePages", "Memory", "Owner", "Pids", "Pod", "Stall", "State", "pod_of", "read", "whose"]

Version = Literal["v1", "v2", "hybrid"]

R = TypeVar("R", Cpu, Cpuset, Memory, Pids, State)

MAX_GROUPS = 50_000

_HELD = 8
"""Files of a group that are held open, shared out among its hierarchies.

Each keeps a page of the kernel's memory, in which it was read last (fs/seq_file.c): 38 MB with all that belongs to it for a thousand
groups on v2. As many of each group, and not as many as there are first, so that twice as many groups cost twice as much.
"""

Told = Mapping[str, tuple[str, str]]
"""A container's group -> its engine and its id."""

# What stands among the controllers in the super options of a v1 mount (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
_NO_CONTROLLERS = ("rw", "ro", "noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "clone_children")

# The v1 hierarchies that are walked; the others bound devices and input.
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_V1_RARELY = ("hugetlb", "freezer")


class Group(Fact, frozen=True, kw_only=True):
    """One group. `path` is below the hierarchy ("/" is its root), `inode` tells a group from its successor of the same name.

    `processes` are known of groups that a container, a machine or a unit owns.
    """

    path: str
    inode: int | None = None
    controllers: tuple[str, ...] | None = None
    """Enabled here, on v2; None on v1, or where it is not known."""
    cpu: Cpu | None = None
    cpuset: Cpuset | None = None
    memory: Memory | None = None
    pressure: dict[str, Stall] = {}
    pids: Pids | None = None
    huge_pages: tuple[HugePages, ...] = ()
    state: State | None = None
    processes: tuple[int, ...] | None = None
    owner: Owner | None = None


class Cgroups(Fact, frozen=True):
    """`controllers` says which hierarchy each controller is in: "v1" or "v2"."""

    version: Version
    controllers: dict[str, str]
    groups: tuple[Group, ...]


class Hierarchies(Fact, frozen=True, kw_only=True):
    """Where v2 is mounted, and each v1 controller; the sizes of huge pages that are accounted for."""

    unified: str | None
    v1: dict[str, str]
    sizes: tuple[str, ...] = ()
    balanced: int | None = None
    """The root's flag of a v1 cpuset."""
    told: Told = MappingProxyType({})


class Made(NamedTuple):
    """A group as it was read, and under which hierarchies."""

    hierarchies: Hierarchies
    whole: bool
    group: Group


def read(root: SysRoot, whole: bool = True, told: Told | None = None) -> Cgroups:
    """All groups. `told`: whose a group is, where its path does not say so."""
    mounts = _mounts(root)
    if not mounts:
        raise Unavailable("absent", "sys/fs/cgroup", "mount cgroup2 on /sys/fs/cgroup")
    unified = mounts.pop("", None)
    v1 = {name: mount for name, mount in mounts.items() if not name.startswith("name=")}
    v2 = space_separated(root.text(f"{unified}/cgroup.controllers") or "") if unified else []
    version: Version = "v1" if unified is None else "hybrid" if mounts else "v2"
    controllers = dict.fromkeys(v1, "v1") | dict.fromkeys(v2, "v2")
    names = _V1 + _V1_RARELY if whole else _V1
    groups: dict[str, dict[str, HeldDirectory]] = {}
    for mount in sorted({unified, *(v1[name] for name in names if name in v1)} - {None}, key=str):
        for path, place in _walk(root, str(mount)):
            groups.setdefault(path, {})[str(mount)] = place
    if not groups:
        raise Unavailable("absent", f"{unified or next(iter(v1.values()), 'sys/fs/cgroup')}: not to be entered", "mount it there, too")
    # What only a document reads is let go of after it.
    root.keep({place.path for places in groups.values() for place in places.values()})
    sizes = _sizes(root, groups, v1.get("hugetlb", unified)) if whole else ()
    balanced = root.parse(f"{v1['cpuset']}/{cpuset.BALANCE}", integer) if "cpuset" in v1 else None
    unnamed = {path: owner for path, owner in (told or {}).items() if not _named(path, owner[1])}
    hierarchies = root.intern("cgroup", Hierarchies(unified=unified, v1=v1, sizes=sizes, balanced=balanced, told=unnamed))
    found: list[Group | None] = []
    for path in sorted(groups):
        root.date(printable(path))
        found.append(_group(root, path, groups[path], hierarchies, whole))
    return Cgroups(version, dict(sorted(controllers.items())), tuple(group for group in found if group is not None))


def _mounts(root: SysRoot) -> dict[str, str]:
    """Where each v1 controller is mounted, and v2 under "". The tables are asked first, the usual places where there is none."""
    found: dict[str, str] = {}
    table = root.text("proc/1/mountinfo") or root.text("proc/self/mountinfo")
    if table is not None:
        for line in newline_separated(table):
            before, _, after = line.partition(" - ")
            fields, kind = before.split(), after.split()
            if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
                continue
            mount = fields[4].lstrip("/")
            if kind[0] == "cgroup2":
                found.setdefault("", mount)
            else:
                for option in kind[-1].split(","):
                    if option not in _NO_CONTROLLERS and "=" not in option.removeprefix("name="):
                        found.setdefault(option, mount)
        return found
    if root.text("sys/fs/cgroup/cgroup.controllers") is not None:
        return {"": "sys/fs/cgroup"}
    for name in root.names("sys/fs/cgroup"):
        if root.text(f"sys/fs/cgroup/{name}/cgroup.procs") is not None:
            for controller in name.split(","):
                found[controller] = f"sys/fs/cgroup/{name}"
    if "unified" in found:
        found[""] = found.pop("unified")
    return found


def _walk(root: SysRoot, mount: str) -> list[tuple[str, HeldDirectory]]:
    """Every group below a mount point, "/" first. Links are not followed, so a walk ends.

    Walked anew at each pass, without inotify: over directories that are held it costs 14 of the 217 ms of CPU time in which a thousand
    containers on v1 are read (5,023 directories in five hierarchies). A watch on each would save less than that, and lose events: a
    container that comes and goes is ten of them there, and the kernel keeps 16,384 (fs.inotify.max_queued_events).
    """
    found: list[tuple[str, HeldDirectory]] = []
    top = root.enter(mount.rstrip("/"))
    ahead = [("/", top)] if top else []
    while ahead:
        path, place = ahead.pop()
        found.append((path, place))
        if len(found) > MAX_GROUPS:
            raise Unavailable("unsupported", f"{mount}: more than {MAX_GROUPS} groups")
        above = "" if path == "/" else path
        for name, inode in root.directories_in(place):
            child = root.enter(f"{place.path}/{name}", inode)
            if child is not None:
                ahead.append((f"{above}/{name}", child))
    return found


def _sizes(root: SysRoot, groups: dict[str, dict[str, HeldDirectory]], mount: str | None) -> tuple[str, ...]:
    """All groups but the root have the same files of this controller, or none; the first that has them says which."""
    for path, places in groups.items():
        if path != "/" and mount in places and (sizes := others.huge_page_sizes(root, places[mount])):
            return sizes
    return ()


def _group(root: SysRoot, path: str, places: dict[str, HeldDirectory], hierarchies: Hierarchies, whole: bool) -> Group | None:
    """None when it went away while it was read. The same as before where all of its files say what they said."""
    held, kept = places.values(), next(iter(places.values()))
    made = kept.made
    if isinstance(made, Made) and made.hierarchies is hierarchies and made.whole == whole and root.unchanged(held):
        return made.group
    kept.made = None
    for place in held:
        place.most = max(1, _HELD // len(places))
    try:
        found = _read(root, path, places, hierarchies, whole)
    finally:
        # What was read of this pass and not asked for is no answer at the next one, not even where a file could not be understood.
        for place in held:
            place.fresh = {}
    if found is not None and all(place.fd >= 0 for place in held):
        kept.made = Made(hierarchies, whole, found)
    return found


def _read(root: SysRoot, path: str, places: dict[str, HeldDirectory], hierarchies: Hierarchies, whole: bool) -> Group | None:
    unified, v1, sizes = hierarchies.unified, hierarchies.v1, hierarchies.sizes

    def place(controller: str) -> HeldDirectory | None:
        """The directory of this group for a controller, v1 before v2."""
        return places.get(v1.get(controller, unified or ""))

    here_v2 = places.get(unified or "")
    enabled = root.parse_in(here_v2, "cgroup.controllers", lambda text: tuple(text.split()), blank=True) if here_v2 else None

    def on(controller: str) -> HeldDirectory | None:
        """The same, where there are files of the controller: on v2, where it is enabled."""
        here = place(controller)
        return None if here is here_v2 and enabled is not None and controller not in enabled else here

    name = printable(path)
    owner = _owner(name, hierarchies.told)
    homes = (place("cpu"), place("memory"), here_v2)
    processes = _processes(root, homes) if owner else None
    home = here_v2 or place("cpu") or place("memory") or place("cpuset") or place("pids") or next(iter(places.values()))
    if owner and processes is None and home.fd >= 0:
        return None
    # cpu.stat is there without the controller, too.
    here_cpu, here_cpuset, here_memory, here_pids = place("cpu"), on("cpuset"), on("memory"), on("pids")
    here_pages, freezer = on("hugetlb") if sizes and path != "/" else None, places.get(v1.get("freezer", ""))
    return Group(
        path=name,
        inode=home.inode,
        controllers=enabled,
        cpu=_some(_cpu(root, here_cpu, place("cpuacct"), "cpu" in v1, whole)) if here_cpu else None,
        cpuset=_some(_cpuset(root, here_cpuset, "cpuset" in v1, whole, path == "/", hierarchies.balanced)) if here_cpuset else None,
        memory=_some((memory.read_v1 if "memory" in v1 else memory.read_v2)(root, here_memory, whole)) if here_memory else None,
        pressure=others.pressure(root, here_v2) if here_v2 and path != "/" else {},
        pids=_some(others.pids(root, here_pids, whole)) if here_pids else None,
        huge_pages=others.huge_pages(root, here_pages, sizes, "hugetlb" in v1) if here_pages else (),
        state=_state(root, here_v2, freezer) if whole and path != "/" else None,
        processes=processes,
        owner=owner,
    )


def _named(path: str, id_: str) -> bool:
    """Whether a group's name says whose it is. crun tells of the group that Podman makes within the container's own."""
    owner = whose(path)
    return owner is not None and owner.paradigm != "process" and (owner.path == path or owner.id == id_)


def _owner(path: str, told: Told) -> Owner | None:
    """Whose a group is by its name, or by what was told of a group around it that is deeper."""
    owner = whose(path)
    above = owner.path if owner and owner.paradigm != "process" else ""
    while told and len(path) > len(above):
        if path in told:
            return Owner(*told[path], path)
        path = path.rpartition("/")[0]
    return owner


def _some(record: R) -> R | None:
    """A controller that is not enabled in a group shows no file of it."""
    return None if record == type(record)() else record


def _cpu(root: SysRoot, here: HeldDirectory, account: HeldDirectory | None, is_v1: bool, whole: bool) -> Cpu:
    return cpu.read_v1(root, here, account, whole) if is_v1 else cpu.read_v2(root, here, whole)


def _cpuset(root: SysRoot, here: HeldDirectory, is_v1: bool, whole: bool, top: bool, balanced: int | None) -> Cpuset:
    return cpuset.read_v1(root, here, whole, top, balanced) if is_v1 else cpuset.read_v2(root, here, whole, top)


def _state(root: SysRoot, here_v2: HeldDirectory | None, freezer: HeldDirectory | None) -> State | None:
    if freezer is not None:
        return _some(others.state_v1(root, freezer))
    return _some(others.state_v2(root, here_v2)) if here_v2 else None


def _processes(root: SysRoot, places: tuple[HeldDirectory | None, ...]) -> tuple[int, ...] | None:
    for place in dict.fromkeys(places):
        if place is not None:
            pids = root.parse_in(place, "cgroup.procs", others.parse_procs, blank=True)
            if pids is not None:
                return pids
            if (root.text_in(place, "cgroup.type") or "").strip() == "threaded":
                # Its threads' processes are those of a group above, and EOPNOTSUPP says no more (cgroup-v2.rst, "Threads").
                root.drop_refusal(f"{place.path}/cgroup.procs")
                return ()
    return None
