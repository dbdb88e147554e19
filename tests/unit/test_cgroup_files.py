"""collectors/cgroup: every file of a controller, in the units of both versions."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.values import UNLIMITED, CpuSet, Fact, Limit
from collectors import cgroup
from collectors.cgroup import Cpuset, Group, HugePages, Pids, Stall, State
from collectors.cgroup.cpu import parse_clamp
from collectors.cgroup.memory import parse_numa_stat
from collectors.cgroup.others import parse_procs, parse_stall
from collectors.root import MARK, SysRoot
from collectors.text import Malformed, printable
from tests.hosts.memory_root import Files, MemoryRoot, MemoryTree
from tests.unit.tree import A_MARK, grow, recorded

TOP = "sys/fs/cgroup"
A = "0a" * 32
HERE = f"system.slice/docker-{A}.scope"

FILES = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
    "cgroup.procs": "10\n",
    "cgroup.type": "domain\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
    "cgroup.freeze": "1\n",
    "cgroup.threads": "10\n11\n11\n",
    "cgroup.stat": "nr_descendants 2\nnr_dying_descendants 3\nnr_subsys_memory 1\n",
    "cgroup.max.depth": "max\n",
    "cgroup.max.descendants": "7\n",
    "cpu.max": "25000 100000\n",
    "cpu.max.burst": "5000\n",
    "cpu.weight": "39\n",
    "cpu.weight.nice": "4\n",
    "cpu.idle": "1\n",
    "cpu.uclamp.min": "20.00\n",
    "cpu.uclamp.max": "max\n",
    "cpu.stat": "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 8\nnr_throttled 7\nthrottled_usec 6\nnr_bursts 2\nburst_usec 1\n",
    "cpu.stat.local": "throttled_usec 5\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n",
    "irq.pressure": "full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n",
    "io.pressure": "some avg10=0.00 total=13\nfull avg10=0.00 total=14\n",
    "cpuset.cpus": "0-3\n",
    "cpuset.cpus.effective": "0-1\n",
    "cpuset.cpus.exclusive": "1-2\n",
    "cpuset.cpus.exclusive.effective": "1\n",
    "cpuset.cpus.partition": "root invalid (Parent is not a partition root)\n",
    "cpuset.mems": "\n",
    "cpuset.mems.effective": "0-1\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.swap.current": "1\n",
    "memory.swap.peak": "2\n",
    "memory.swap.high": "max\n",
    "memory.swap.max": "3\n",
    "memory.zswap.current": "4\n",
    "memory.zswap.max": "max\n",
    "memory.zswap.writeback": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n",
    "memory.events.local": "max 2\noom_kill 0\n",
    "memory.swap.events": "high 0\nmax 1\nfail 0\n",
    "memory.numa_stat": "anon N0=100 N1=20\nfile N0=3 N1=0\nkernel_stack N0=7 N1=0\n",
    "pids.current": "3\n",
    "pids.peak": "5\n",
    "pids.max": "64\n",
    "pids.events": "max 9\n",
    "pids.events.local": "max 4\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.current": "0\n",
    "hugetlb.2MB.rsvd.max": "4194304\n",
    "hugetlb.2MB.events": "max 1\n",
    "hugetlb.2MB.events.local": "max 0\n",
    "hugetlb.2MB.numa_stat": "total=2097152 N0=0 N1=2097152\n",
}


def read(root: SysRoot, path: str, whole: bool = True) -> Group:
    return {group.path: group for group in cgroup.read(root, whole).groups}[path]


@pytest.fixture(params=[grow, recorded], ids=["live", "recording"])
def v2(request: pytest.FixtureRequest, tmp_path: Path) -> SysRoot:
    files = {f"{TOP}/{HERE}/{name}": text for name, text in FILES.items()}
    root: SysRoot = request.param(tmp_path, files | {f"{TOP}/cgroup.controllers": FILES["cgroup.controllers"]})
    return root


def test_v2_whole(v2: SysRoot) -> None:
    group = read(v2, f"/{HERE}")
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
    assert memory.resident_by_node == {0: 103, 1: 20}
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
    assert group.state == State(
        type="domain",
        populated=True,
        frozen=True,
        freeze=True,
        threads=2,
        descendants=2,
        dying_descendants=3,
        max_depth=UNLIMITED,
        max_descendants=Limit(7),
    )


def test_a_scrape_reads_less_and_nothing_else(v2: SysRoot) -> None:
    whole, part = read(v2, f"/{HERE}"), read(v2, f"/{HERE}", whole=False)
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
            f"cpu/docker/{A}/cgroup.procs": "10\n",
            f"cpuset/docker/{A}/cpuset.cpus": "0-1\n",
            f"cpuset/docker/{A}/cpuset.cpu_exclusive": "1\n",
            f"cpuset/docker/{A}/cpuset.memory_migrate": "0\n",
            f"memory/docker/{A}/memory.numa_stat": "total=3 N0=3 N1=0\nhierarchical_total=5 N0=4 N1=1\nhierarchical_anon=1 N0=1 N1=0\n",
            f"memory/docker/{A}/memory.stat": "cache 1\nrss 2\ntotal_cache 3\ntotal_rss 4\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.usage_in_bytes": "2097152\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.limit_in_bytes": "9223372036852678656\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.failcnt": "6\n",
            f"hugetlb/docker/{A}/hugetlb.2MB.numa_stat": "total=0 N0=0\nhierarchical_total=2097152 N0=2097152\n",
            f"freezer/docker/{A}/freezer.state": "FREEZING\n",
            f"freezer/docker/{A}/freezer.self_freezing": "1\n",
            f"freezer/docker/{A}/tasks": "10\n12\n",
        },
    )
    group = read(root, f"/docker/{A}")
    assert group.cpu is not None
    assert group.memory is not None
    # Nanoseconds become microseconds, pages bytes; pages of hugetlb's numa_stat are bytes already.
    assert (group.cpu.throttled_usec, group.cpu.own_throttled_usec, group.cpu.burst_used_usec) == (2000, 1000, 1)
    assert (group.cpu.idle, group.cpu.rt_runtime_usec) == (False, 0)
    assert group.cpuset == Cpuset(cpus=CpuSet((0, 1)), exclusive_cpus=CpuSet((0, 1)), migrates_memory=False)
    assert group.memory.by_node == {"total": {0: 4 * 4096, 1: 4096}, "anon": {0: 4096, 1: 0}}
    assert group.memory.resident_by_node == {0: 4 * 4096, 1: 4096}
    assert group.huge_pages == (
        HugePages(page_bytes=2 << 20, current_bytes=2 << 20, max_bytes=UNLIMITED, max_events=6, by_node={0: 2 << 20}),
    )
    assert group.state == State(frozen=False, freeze=True, threads=2)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_clamp, "max\n", 100.0),
        (parse_clamp, "12.50\n", 12.5),
        (parse_stall, "full avg10=1.0 total=3\n", Stall(None, 3)),
        (parse_procs, "1\n20\n", (1, 20)),
        (parse_procs, "", ()),
        (parse_numa_stat, "anon N0=1 N12=2\n", {"anon": {0: 1, 12: 2}}),
        (parse_numa_stat, "total=3 N0=3\n", {"total": {0: 3}}),
    ],
)
def test_formats(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["anon N0\n", "anon N=1\n", "anon 0=1\n", "anon N0=x\n", "anon N9999=1\n", "\n", "anon N0=" + "9" * 40, "anon\n"]
)
def test_broken_numa_stat(text: str) -> None:
    with pytest.raises(Malformed):
        parse_numa_stat(text)


def test_a_group_that_is_gone_is_skipped_and_let_go_of(tmp_path: Path) -> None:
    name = f"{TOP}/docker/{A}"
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n", f"{name}/cgroup.procs": "1\n", f"{name}/cpu.weight": "5\n"})
    assert len(cgroup.read(root).groups) == 3
    fd = root.held[name].fd
    (tmp_path / name / "cgroup.procs").unlink()
    # Between two reads: the directory is still listed, its processes are not to be read.
    assert [group.path for group in cgroup.read(root).groups] == ["/", "/docker"]
    assert root.held[name].fd == fd
    (tmp_path / name / "cpu.weight").unlink()
    (tmp_path / name).rmdir()
    assert [group.path for group in cgroup.read(root).groups] == ["/", "/docker"]
    assert name not in root.held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def _made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "says another thing": lambda path: path.write_text("7\n" if path.read_text().strip().isdigit() else path.read_text()),
    "is empty": lambda path: path.write_text(""),
    "is gone": Path.unlink,
    "is no file any more": _made_a_directory,
    "cannot be understood": lambda path: path.write_text("nonsense\n"),
}


@pytest.mark.parametrize("whole", [True, False], ids=["document", "metrics"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name", ["cgroup.procs", "cgroup.controllers", "memory.current", "memory.numa_stat", "memory.events", "cpu.max", "pids.max"]
)
def test_what_was_read_before_changes_nothing(tmp_path: Path, name: str, change: str, whole: bool) -> None:
    """A pass over held directories, after one before the change, says what a first pass says; and so does the one after it."""

    def said(root: SysRoot) -> tuple[object, ...]:
        view = root.watch()
        try:
            found: object = cgroup.read(view, whole).groups
        except Malformed as error:
            found = str(error)
        return found, view.refusals

    files = {f"{TOP}/cgroup.controllers": "cpu memory pids\n", f"{TOP}/{HERE}/cgroup.procs": "3\n"}
    root = grow(tmp_path, files | {f"{TOP}/{HERE}/{file}": text for file, text in FILES.items()})
    path = tmp_path / TOP / HERE / name
    before, mode = said(root), path.read_text()
    CHANGES[change](path)
    first = said(SysRoot(tmp_path))
    assert said(root) == said(root) == first
    assert (first == before) == (change == "nothing" or (change == "says another thing" and path.read_text() == mode))
    if path.is_dir():
        path.rmdir()
    path.write_text(mode)
    assert said(root) == before


def test_what_a_broken_pass_had_read_is_no_answer_at_the_next(tmp_path: Path) -> None:
    files = {"cgroup.procs": "3\n", "memory.current": "1\n", "pids.current": "1\n"}
    grow(tmp_path, {f"{TOP}/cgroup.controllers": "memory pids\n"} | {f"{TOP}/{HERE}/{name}": text for name, text in files.items()})
    place, root = tmp_path / TOP / HERE, SysRoot(tmp_path)
    assert read(root, f"/{HERE}").pids == Pids(current=1)
    (place / "memory.current").write_text("nonsense\n")
    (place / "pids.current").write_text("2\n")
    with pytest.raises(Malformed):
        cgroup.read(root)
    (place / "memory.current").write_text("5\n")
    (place / "pids.current").write_text("3\n")
    group = read(root, f"/{HERE}")
    assert (group.pids, group.memory and group.memory.current_bytes) == (Pids(current=3), 5)


def test_a_group_that_says_what_it_said_is_the_same_record(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n", f"{TOP}/{HERE}/cgroup.procs": "3\n", f"{TOP}/{HERE}/cpu.weight": "5\n"})
    first, second = (cgroup.read(root).groups for _ in range(2))
    assert [one is other for one, other in zip(first, second, strict=True)] == [True, True, True]
    (tmp_path / TOP / HERE / "cpu.weight").write_text("6\n")
    third = cgroup.read(root).groups
    assert [one is other for one, other in zip(second, third, strict=True)] == [True, True, False]
    told = cgroup.read(root, told={f"/{HERE}": ("lab", "x")}).groups
    assert told == cgroup.read(SysRoot(tmp_path), told={f"/{HERE}": ("lab", "x")}).groups


def test_without_room_everything_is_read_all_the_same(tmp_path: Path) -> None:
    files = {f"{TOP}/cgroup.controllers": "cpu\n", f"{TOP}/docker/{A}/cgroup.procs": "1\n", f"{TOP}/docker/{A}/cpu.weight": "5\n"}
    root = grow(tmp_path, files)
    whole = cgroup.read(root)
    cramped = SysRoot(tmp_path)
    cramped.room = 1
    assert cgroup.read(cramped) == whole
    assert len(cramped.held) == 1


def test_files_that_are_no_files(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu memory\n", f"{TOP}/docker/{A}/cgroup.procs": "1\n"})
    place = tmp_path / TOP / "docker" / A
    (place / "cpu.weight").mkdir()
    (place / "cpu.stat").symlink_to("/proc/stat")
    (place / "memory.max").write_text("")
    group = read(root.watch(), f"/docker/{A}")
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
    groups = {group.path.rpartition("/")[2]: group.processes for group in cgroup.read(root).groups}
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
    whole = {group.path: group for group in cgroup.read(MemoryRoot(files)).groups}
    gone = f"/{HERE}"
    for reads in range(1000):
        tree = Vanishing(files, f"{TOP}/{HERE}/", reads, number)
        root = SysRoot("memory", tree)
        found = {group.path: group for group in cgroup.read(root).groups}
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
    whole = values(read(MemoryRoot(files), f"/{HERE}"))
    root = MemoryRoot({**files, f"{TOP}/{HERE}/{name}": b""})
    left = values(read(root, f"/{HERE}"))
    if name == "cgroup.threads":
        # An empty list of them is what the kernel writes of none.
        assert left.pop(".state.threads") == 0
    assert left.items() <= whole.items()
    assert root.refusals == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP, errno.ENODEV], ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_fails_takes_its_values_and_no_other(name: str, number: int) -> None:
    files = {f"{TOP}/cgroup.controllers": b"cpu memory\n"} | {f"{TOP}/{HERE}/{file}": text.encode() for file, text in FILES.items()}
    whole = values(read(MemoryRoot({**files}), f"/{HERE}"))
    root = MemoryRoot({**files, f"{TOP}/{HERE}/{name}": OSError(number, os.strerror(number))})
    left = values(read(root, f"/{HERE}"))
    assert left.items() <= whole.items()
    assert len(left) < len(whole) or not FILES[name].strip()
    said = {errno.EIO: ["failed"], errno.EOPNOTSUPP: ["unsupported"], errno.ENODEV: []}[number]
    assert [refusal.reason for refusal in root.refusals] == said
