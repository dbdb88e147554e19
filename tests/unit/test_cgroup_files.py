"""collectors/cgroup: every file of a controller, in the units of both versions."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.facts.cgroup import GroupState, HugePages, Pids
from agent.model.values import UNLIMITED, CpuSet, Fact, Limit
from agent.normalise.groups import Tree, resident_by_node
from collectors.cgroup import Cpuset, Stall
from collectors.cgroup.cpu import parse_clamp
from collectors.cgroup.memory import parse_numa_stat
from collectors.cgroup.others import parse_stall
from collectors.root import MARK, SysRoot
from collectors.text import Malformed, number_lines, printable
from tests.hosts.memory_root import Files, MemoryRoot, MemoryTree
from tests.unit.cgroup_tree import FILES, HERE, TOP, A, read_groups
from tests.unit.tree import A_MARK, grow, recorded


@pytest.fixture(params=[grow, recorded], ids=["live", "recording"])
def v2(request: pytest.FixtureRequest, tmp_path: Path) -> SysRoot:
    files = {f"{TOP}/{HERE}/{name}": text for name, text in FILES.items()}
    root: SysRoot = request.param(tmp_path, files | {f"{TOP}/cgroup.controllers": FILES["cgroup.controllers"]})
    return root


def test_v2_whole(v2: SysRoot) -> None:
    group = read_groups(v2)[f"/{HERE}"]
    cpu, memory = group.cpu, group.memory
    assert cpu is not None
    assert memory is not None
    assert (cpu.quota_usec, cpu.period_usec, cpu.burst_usec, cpu.weight, cpu.nice, cpu.idle) == (Limit(25000), 100000, 5000, 39, 4, True)
    assert (cpu.uclamp_min_percent, cpu.uclamp_max_percent) == (20.0, 100.0)
    assert (cpu.throttled_usec, cpu.own_throttled_usec, cpu.bursts, cpu.burst_used_usec) == (6, 5, 2, 1)
    assert group.cpuset == Cpuset(
        cpus=CpuSet(range(4)),
        cpus_effective=CpuSet((0, 1)),
        mems=None,
        mems_effective=CpuSet((0, 1)),
        exclusive_cpus=CpuSet((1,)),
        partition="root invalid (Parent is not a partition root)",
        cpus_exclusive=CpuSet((1, 2)),
    )
    assert (memory.peak_bytes, memory.swap_bytes, memory.swap_peak_bytes, memory.swap_high_bytes) == (8192, 1, 2, UNLIMITED)
    assert (memory.swap_max_bytes, memory.zswap_bytes, memory.zswap_max_bytes, memory.zswap_writeback) == (Limit(3), 4, UNLIMITED, False)
    assert (memory.events["oom_kill"], memory.own_events["oom_kill"], memory.swap_events["max"]) == (1, 0, 1)
    # Bytes on v2, and anon holds all of it.
    assert memory.by_node == {"anon": {0: 100, 1: 20}, "file": {0: 3, 1: 0}, "kernel_stack": {0: 7, 1: 0}}
    assert resident_by_node(Tree({}, {"memory": "v2"}, {}), group) == {0: 103, 1: 20}
    assert group.pressure == {"cpu": Stall(11), "irq": Stall(None, 12), "io": Stall(13, 14)}
    assert group.pids == Pids(current=3, peak=5, max=Limit(64), max_events=9, own_max_events=4)
    assert group.huge_pages == (
        HugePages(
            page_bytes=2 << 20,
            current_bytes=2 << 20,
            max_bytes=UNLIMITED,
            reserved_bytes=0,
            reserved_max_bytes=Limit(4 << 20),
            max_events=1,
            own_max_events=0,
            by_node={0: 0, 1: 2 << 20},
        ),
    )
    assert group.state == GroupState(
        type="domain",
        populated=True,
        frozen=True,
        freeze=True,
        threads=4,
        descendants=2,
        dying_descendants=3,
        max_depth=UNLIMITED,
        max_descendants=Limit(7),
    )


@pytest.mark.parametrize("true", ["populated", "frozen", "freeze"])
def test_a_group_is_frozen_is_to_be_and_has_processes_each_for_itself(tmp_path: Path, true: str) -> None:
    """A group is not frozen yet right after it was asked, and may be so by its parent's setting."""
    bits = {name: int(name == true) for name in ("populated", "frozen", "freeze")}
    events = f"populated {bits['populated']}\nfrozen {bits['frozen']}\n"
    files = {"cgroup.procs": "", "cgroup.events": events, "cgroup.freeze": f"{bits['freeze']}\n"}
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n"} | {f"{TOP}/{HERE}/{name}": text for name, text in files.items()})
    state = read_groups(root)[f"/{HERE}"].state
    assert state is not None
    assert {name: getattr(state, name) for name in bits} == {name: bool(bit) for name, bit in bits.items()}


def test_a_scrape_reads_less_and_nothing_else(v2: SysRoot) -> None:
    whole, part = read_groups(v2)[f"/{HERE}"], read_groups(v2, detail="metrics")[f"/{HERE}"]
    for name in ("cpu", "cpuset", "memory", "pids"):
        full, less = getattr(whole, name), getattr(part, name)
        assert {field: getattr(less, field) for field in less.__struct_fields__ if getattr(less, field) not in (None, {}, ())}.items() <= {
            field: getattr(full, field) for field in full.__struct_fields__
        }.items()
    assert (part.pressure, part.processes, part.owner, part.inode) == (whole.pressure, whole.processes, whole.owner, whole.inode)
    assert (part.state, part.huge_pages) == (None, ())


def v1(root: Path, files: dict[str, str]) -> SysRoot:
    controllers = ("cpu", "cpuacct", "cpuset", "memory", "pids", "hugetlb", "freezer")
    return recorded(
        root,
        {f"{TOP}/{name}/cgroup.procs": "" for name in controllers} | {f"{TOP}/{path}": text for path, text in files.items()},
    )


def test_v1_in_the_same_records(tmp_path: Path) -> None:
    root = v1(
        tmp_path,
        {
            f"cpu/docker/{A}/cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 2000999\nnr_bursts 2\nburst_time 1999\n",
            f"cpu/docker/{A}/cpu.stat.local": "throttled_time 1000999\n",
            f"cpu/docker/{A}/cpu.idle": "0\n",
            f"cpu/docker/{A}/cpu.rt_runtime_us": "0\n",
            f"cpu/docker/{A}/cpu.uclamp.min": "12.50\n",
            f"cpu/docker/{A}/cpu.uclamp.max": "80.00\n",
            f"cpu/docker/{A}/cgroup.procs": "10\n",
            f"cpuset/docker/{A}/cpuset.cpus": "0-1\n",
            f"cpuset/docker/{A}/cpuset.cpu_exclusive": "1\n",
            f"cpuset/docker/{A}/cpuset.memory_migrate": "0\n",
            f"memory/docker/{A}/memory.numa_stat": "total=3 N0=3 N1=0\nhierarchical_total=5 N0=4 N1=1\nhierarchical_anon=1 N0=1 N1=0\n",
            f"memory/docker/{A}/memory.stat": "cache 1\nrss 2\ntotal_cache 3\ntotal_rss 4\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.usage_in_bytes": "2097152\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.limit_in_bytes": f"{1 << 62}\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.failcnt": "6\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.numa_stat": "total=0 N0=0\nhierarchical_total=2097152 N0=2097152\n",
            f"freezer/docker/{A}/freezer.state": "FREEZING\n",
            f"freezer/docker/{A}/freezer.self_freezing": "1\n",
            f"freezer/docker/{A}/tasks": "10\n12\n",
        },
    )
    group = read_groups(root)[f"/docker/{A}"]
    assert group.cpu is not None
    assert group.memory is not None
    # Nanoseconds become microseconds, pages bytes; pages of hugetlb's numa_stat are bytes already.
    assert (group.cpu.throttled_usec, group.cpu.own_throttled_usec, group.cpu.burst_used_usec) == (2000, 1000, 1)
    assert (group.cpu.idle, group.cpu.rt_runtime_usec) == (False, 0)
    assert (group.cpu.uclamp_min_percent, group.cpu.uclamp_max_percent) == (12.5, 80.0)
    assert group.cpuset == Cpuset(cpus=CpuSet((0, 1)), exclusive_cpus=CpuSet((0, 1)), migrates_memory=False)
    assert group.memory.by_node == {"total": {0: 4 * 4096, 1: 4096}, "anon": {0: 4096, 1: 0}}
    assert resident_by_node(Tree({}, {"memory": "v1"}, {}), group) == {0: 4 * 4096, 1: 4096}
    assert group.huge_pages == (
        HugePages(page_bytes=2 << 20, current_bytes=2 << 20, max_bytes=UNLIMITED, max_events=6, by_node={0: 2 << 20}),
    )
    assert group.state == GroupState(frozen=False, freeze=True, threads=2)


@pytest.mark.parametrize(
    ("state", "self_freezing", "frozen", "freeze"),
    [("THAWED", 0, False, False), ("FREEZING", 1, False, True), ("FROZEN", 0, True, False), ("FROZEN", 1, True, True)],
)
def test_a_v1_group_is_frozen_by_its_own_setting_or_its_parent_s(
    tmp_path: Path, state: str, self_freezing: int, frozen: bool, freeze: bool
) -> None:
    here = f"freezer/docker/{A}"
    group = read_groups(v1(tmp_path, {f"{here}/freezer.state": f"{state}\n", f"{here}/freezer.self_freezing": f"{self_freezing}\n"}))
    assert group[f"/docker/{A}"].state == GroupState(frozen=frozen, freeze=freeze)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_clamp, "max\n", 100.0),
        (parse_clamp, "12.50\n", 12.5),
        (parse_stall, "full avg10=1.0 total=3\n", Stall(None, 3)),
        (number_lines, "1\n20\n", (1, 20)),
        (number_lines, "", ()),
        (parse_numa_stat, "anon N0=1 N12=2\n", {"anon": {0: 1, 12: 2}}),
        (parse_numa_stat, "total=3 N0=3\n", {"total": {0: 3}}),
        (parse_numa_stat, "\nanon N0=1 hot=5 N1=2\n\n", {"anon": {0: 1, 1: 2}}),
    ],
)
def test_formats(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["anon N0\n", "anon N=1\n", "anon 0=1\n", "anon N0=x\n", "anon N9999=1\n", "anon N0=" + "9" * 40, "anon\n"]
)
def test_broken_numa_stat(text: str) -> None:
    with pytest.raises(Malformed):
        parse_numa_stat(text)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu memory\n", f"{TOP}/docker/{A}/cgroup.procs": "1\n"})
    place = tmp_path / TOP / "docker" / A
    (place / "cpu.weight").mkdir()
    (place / "cpu.stat").symlink_to("/proc/stat")
    (place / "memory.max").write_text("")
    group = read_groups(root.watch())[f"/docker/{A}"]
    assert (group.cpu, group.memory, group.processes) == (None, None, (1,))


@pytest.mark.parametrize(("kind", "processes", "gaps"), [("threaded", (), 0), ("domain", None, 1)])
def test_a_threaded_group_names_no_processes_and_that_is_no_gap(
    tmp_path: Path, kind: str, processes: tuple[int, ...] | None, gaps: int
) -> None:
    """libvirt's groups of vCPUs are threaded: the kernel answers EOPNOTSUPP, and the processes are in the machine's own group."""
    scope = "sys/fs/cgroup/machine.slice/machine-qemu\\x2d1\\x2ddb.scope"
    procs = f"{scope}/libvirt/vcpu0/cgroup.procs"
    refusal = {"path": printable(procs), "reason": "unsupported", "detail": "Operation not supported"}
    mark = json.loads(A_MARK) | {"refusals": {printable(procs): refusal}}
    files = {
        MARK: json.dumps(mark),
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        f"{scope}/cgroup.procs": "77\n",
        f"{scope}/libvirt/cgroup.procs": "",
        f"{scope}/libvirt/vcpu0/cgroup.type": f"{kind}\n",
    }
    root = grow(tmp_path, files)
    groups = {group.path.rpartition("/")[2]: group.processes for group in read_groups(root).values()}
    assert (groups["vcpu0"], groups["libvirt"]) == (processes, ())
    assert len(root.refusals) == gaps


def values(fact: object, path: str = "") -> dict[str, object]:
    """Every number and word of a record, by its place in it."""
    if isinstance(fact, Fact):
        fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
    elif isinstance(fact, dict):
        fields = fact
    elif isinstance(fact, tuple):
        fields = {str(number): inner for number, inner in enumerate(fact)}
    else:
        return {} if fact is None else {path: fact}
    return {place: value for name, inner in fields.items() for place, value in values(inner, f"{path}.{name}").items()}


class Vanishing(MemoryTree):
    """A tree whose group goes with all that is in it, after so many reads."""

    def __init__(self, files: Files, group: str, reads: int, error: int) -> None:
        self.group, self.left, self.error = group, reads, error
        super().__init__(files)

    def read(self, path: str) -> bytes:
        if path.startswith(self.group):
            self.left -= 1
            if self.left < 0:
                raise OSError(self.error, os.strerror(self.error))
        return super().read(path)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV], ids=["not to be opened", "not to be read"])
def test_a_group_may_vanish_between_any_two_reads(number: int) -> None:
    """What is said of it is what was read of it before, and every other group is as it was."""
    stays = f"{TOP}/system.slice/docker-{'1b' * 32}.scope"
    files: Files = {f"{TOP}/cgroup.controllers": b"cpu memory\n", f"{TOP}/system.slice/cgroup.controllers": b"cpu memory\n"}
    files |= {f"{here}/{name}": text.encode() for here in (f"{TOP}/{HERE}", stays) for name, text in FILES.items()}
    whole = read_groups(MemoryRoot(files))
    gone = f"/{HERE}"
    for reads in range(1000):
        tree = Vanishing(files, f"{TOP}/{HERE}/", reads, number)
        root = SysRoot("memory", tree)
        found = read_groups(root)
        assert root.refusals == []
        assert {path: group for path, group in found.items() if path != gone} == {path: one for path, one in whole.items() if path != gone}
        if gone in found:
            assert values(found[gone]).items() <= values(whole[gone]).items()
        if tree.left >= 0:
            assert found == whole
            break
    assert reads > len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_says_nothing(name: str) -> None:
    files: Files = {f"{TOP}/cgroup.controllers": b"cpu memory\n"}
    files |= {f"{TOP}/{HERE}/{file}": text.encode() for file, text in FILES.items()}
    whole = values(read_groups(MemoryRoot(files))[f"/{HERE}"])
    root = MemoryRoot({**files, f"{TOP}/{HERE}/{name}": b""})
    left = values(read_groups(root)[f"/{HERE}"])
    if name == "cgroup.threads":
        # An empty list of them is what the kernel writes of none.
        assert left.pop(".state.threads") == 0
    assert left.items() <= whole.items()
    assert root.refusals == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP, errno.ENODEV], ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_fails_takes_its_values_and_no_other(name: str, number: int) -> None:
    files = {f"{TOP}/cgroup.controllers": b"cpu memory\n"} | {f"{TOP}/{HERE}/{file}": text.encode() for file, text in FILES.items()}
    whole = values(read_groups(MemoryRoot({**files}))[f"/{HERE}"])
    root = MemoryRoot({**files, f"{TOP}/{HERE}/{name}": OSError(number, os.strerror(number))})
    left = values(read_groups(root)[f"/{HERE}"])
    assert left.items() <= whole.items()
    assert len(left) < len(whole) or not FILES[name].strip()
    said = {errno.EIO: ["failed"], errno.EOPNOTSUPP: ["unsupported"], errno.ENODEV: []}[number]
    assert [refusal.reason for refusal in root.refusals] == said
