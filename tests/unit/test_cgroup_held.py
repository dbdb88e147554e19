"""collectors/cgroup/held.py and the cache of groups: what stays open and known from one pass to the next."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.facts.cgroup import Pids, WorkloadMemory
from agent.model.values import Detail
from collectors import cgroup
from collectors.cgroup import CgroupCache
from collectors.cgroup.held import GroupFiles, HeldDirectories
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.cgroup_tree import FILES, HERE, TOP, A, read_groups
from tests.unit.tree import grow, malformed, plant


def test_files_of_a_directory_are_closed_with_it() -> None:
    held = HeldDirectories(8)
    directory = held.hold("sys/fs/cgroup/a", 7, os.open("/proc", os.O_DIRECTORY))
    fd = os.open("/proc/self/stat", os.O_RDONLY)
    held.hold_file(directory, "cpu.stat", fd)
    assert (held.files, held.has_room) == ({fd}, True)
    held.close("sys/fs/cgroup/a")
    assert (held.files, directory.files, directory.fd) == (set(), {}, -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize(("capacity", "directories", "files"), [(3, 1, 2), (15, 1, 14), (16, 1, 14), (32, 1, 29), (32, 5, 25)])
def test_files_leave_a_sixteenth_to_directories(capacity: int, directories: int, files: int) -> None:
    held = HeldDirectories(capacity)
    first, *_ = [held.hold(f"sys/fs/cgroup/{number}", number, os.open("/proc", os.O_DIRECTORY)) for number in range(directories)]
    for number in range(files):
        assert held.has_room_for_files
        held.hold_file(first, f"{number}", os.open("/proc/self/stat", os.O_RDONLY))
    assert not held.has_room_for_files
    assert held.has_room == (capacity >= 16)
    # What is closed makes room.
    held.close_file(first, "0")
    assert held.has_room_for_files


@pytest.mark.parametrize(
    ("max_files", "capacity", "others", "files"),
    [(0, 8, 0, 0), (1, 8, 0, 1), (3, 8, 0, 3), (8, 8, 0, 4), (8, 4, 0, 3), (8, 1, 0, 0), (8, 16, 12, 2)],
)
def test_so_many_files_are_held_of_a_directory_and_in_all(max_files: int, capacity: int, others: int, files: int) -> None:
    """Of four files that are read again, in a directory that is held as are `others`. All say what they say, held or not."""
    reader = GroupFiles(SysRoot(), HeldDirectories(capacity))
    for number in range(others):
        reader.held.hold(f"sys/fs/cgroup/{number}", number, os.open("/proc", os.O_DIRECTORY))
    directory = reader.enter("proc/self")
    assert directory is not None
    directory.max_files = max_files
    names = ("cmdline", "comm", "limits", "oom_score_adj")
    first, second, third = ([reader.parse(directory, name, len) for name in names] for _ in range(3))
    assert first == second == third
    assert len(reader.held.files) == len(directory.files) == files


@pytest.mark.parametrize(("hierarchies", "files"), [(1, 8), (2, 4), (3, 2), (5, 1), (7, 1)])
def test_hierarchies_of_a_group_share_out_its_files(tmp_path: Path, hierarchies: int, files: int) -> None:
    names = ("cpu", "cpuacct", "cpuset", "memory", "pids", "hugetlb", "freezer")[:hierarchies]
    root, cache = grow(tmp_path, {f"{TOP}/{name}{path}/cgroup.procs": "" for name in names for path in ("", "/docker")}), CgroupCache()
    read_groups(root, cache)
    assert len(cache.held.directories) == 2 * hierarchies
    assert {directory.max_files for directory in cache.held.directories.values()} == {files}


def test_a_group_that_is_gone_is_skipped_and_let_go_of(tmp_path: Path) -> None:
    name = f"{TOP}/docker/{A}"
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n", f"{name}/cgroup.procs": "1\n", f"{name}/cpu.weight": "5\n"})
    cache = CgroupCache()
    assert len(read_groups(root, cache)) == 3
    fd = cache.held.directories[name].fd
    (tmp_path / name / "cgroup.procs").unlink()
    # Between two reads: the directory is still listed, its processes are not to be read.
    assert list(read_groups(root, cache)) == ["/", "/docker"]
    assert cache.held.directories[name].fd == fd
    (tmp_path / name / "cpu.weight").unlink()
    (tmp_path / name).rmdir()
    assert list(read_groups(root, cache)) == ["/", "/docker"]
    assert name not in cache.held.directories
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_group_whose_hierarchies_are_gone_is_forgotten(tmp_path: Path) -> None:
    """And one that comes again under its name is another."""
    name = f"{TOP}/docker/{A}"
    files = {f"{name}/cgroup.procs": "1\n", f"{name}/cpu.weight": "5\n"}
    root, cache = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n"} | files), CgroupCache()
    first = read_groups(root, cache)[f"/docker/{A}"]
    assert ({*cache.groups}, {*cache.owners}) == ({"/", "/docker", f"/docker/{A}"}, {"/", "/docker", f"/docker/{A}"})
    for file in files:
        (tmp_path / file).unlink()
    (tmp_path / name).rmdir()
    read_groups(root, cache)
    assert ({*cache.groups}, {*cache.owners}) == ({"/", "/docker"}, {"/", "/docker"})
    grow(tmp_path, files | {f"{name}/cpu.weight": "6\n"})
    again = read_groups(root, cache)[f"/docker/{A}"]
    assert first.cpu is not None
    assert again.cpu is not None
    assert (first.cpu.weight, again.cpu.weight) == (5, 6)


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


@pytest.mark.parametrize("detail", ["document", "metrics"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name", ["cgroup.procs", "cgroup.controllers", "memory.current", "memory.numa_stat", "memory.events", "cpu.max", "pids.max"]
)
def test_what_was_read_before_changes_nothing(tmp_path: Path, name: str, change: str, detail: Detail) -> None:
    """A pass over held directories, after one before the change, says what a first pass says; and so does the one after it."""

    def answer(cache: CgroupCache) -> tuple[object, ...]:
        root = SysRoot(tmp_path)
        try:
            groups: object = read_groups(root, cache, detail)
        except Malformed as error:
            groups = str(error)
        return groups, root.refusals

    files = {f"{TOP}/cgroup.controllers": "cpu memory pids\n", f"{TOP}/{HERE}/cgroup.procs": "3\n"}
    grow(tmp_path, files | {f"{TOP}/{HERE}/{file}": text for file, text in FILES.items()})
    path, cache = tmp_path / TOP / HERE / name, CgroupCache()
    before, text = answer(cache), path.read_text()
    CHANGES[change](path)
    first = answer(CgroupCache())
    assert answer(cache) == answer(cache) == first
    assert (first == before) == (change == "nothing" or (change == "says another thing" and path.read_text() == text))
    if path.is_dir():
        path.rmdir()
    path.write_text(text)
    assert answer(cache) == before


def test_a_malformed_file_is_named_at_each_pass_and_costs_no_other(tmp_path: Path) -> None:
    files = {"cgroup.procs": "3\n", "memory.current": "1\n", "pids.current": "1\n"}
    grow(tmp_path, {f"{TOP}/cgroup.controllers": "memory pids\n"} | {f"{TOP}/{HERE}/{name}": text for name, text in files.items()})
    directory, root, cache = tmp_path / TOP / HERE, SysRoot(tmp_path), CgroupCache()
    assert read_groups(root, cache)[f"/{HERE}"].pids == Pids(current=1)
    (directory / "memory.current").write_text("nonsense\n")
    (directory / "pids.current").write_text("2\n")
    for again in range(1, 3):
        group = read_groups(root, cache)[f"/{HERE}"]
        assert (group.pids, group.memory) == (Pids(current=2), None)
        assert malformed(root) == [f"{TOP}/{HERE}/memory.current"] * again
    (directory / "memory.current").write_text("5\n")
    (directory / "pids.current").write_text("3\n")
    group = read_groups(root, cache)[f"/{HERE}"]
    assert (group.pids, group.memory and group.memory.current_bytes) == (Pids(current=3), 5)


def test_an_unchanged_group_is_the_same_record(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TOP}/cgroup.controllers": "cpu\n", f"{TOP}/{HERE}/cgroup.procs": "3\n", f"{TOP}/{HERE}/cpu.weight": "5\n"})
    cache = CgroupCache()
    first, second = (cgroup.read(root, cache).groups for _ in range(2))
    assert [group is again for group, again in zip(first, second, strict=True)] == [True, True, True]
    (tmp_path / TOP / HERE / "cpu.weight").write_text("6\n")
    third = cgroup.read(root, cache).groups
    assert [group is again for group, again in zip(second, third, strict=True)] == [True, True, False]
    owners = {f"/{HERE}": ("lab", "x")}
    assert cgroup.read(root, cache, stated_owners=owners) == cgroup.read(root, CgroupCache(), stated_owners=owners)


def test_without_room_everything_is_read_all_the_same(tmp_path: Path) -> None:
    files = {f"{TOP}/cgroup.controllers": "cpu\n", f"{TOP}/docker/{A}/cgroup.procs": "1\n", f"{TOP}/docker/{A}/cpu.weight": "5\n"}
    root = grow(tmp_path, files)
    cramped = CgroupCache(capacity=1)
    assert cgroup.read(root, cramped) == cgroup.read(root, CgroupCache())
    assert len(cramped.held.directories) == 1


def test_a_group_that_is_another_one_in_one_hierarchy_only(tmp_path: Path) -> None:
    """Its other directories say what they said: the record is made anew all the same."""
    files = {"cpu/cgroup.procs": "1\n", "cpu/docker/cgroup.procs": "1\n", "cpu/docker/cpu.shares": "7\n"}
    files |= {"memory/cgroup.procs": "1\n", "memory/docker/cgroup.procs": "1\n", "memory/docker/memory.usage_in_bytes": "7\n"}
    root, cache = grow(tmp_path, {f"{TOP}/{path}": text for path, text in files.items()}), CgroupCache()
    for _ in range(2):
        assert read_groups(root, cache)["/docker"].memory == WorkloadMemory(current_bytes=7)
    directory = tmp_path / TOP / "memory/docker"
    directory.rename(tmp_path / "another")
    plant(tmp_path, {f"{TOP}/memory/docker/memory.usage_in_bytes": "8\n"})
    assert read_groups(root, cache)["/docker"].memory == WorkloadMemory(current_bytes=8)


def test_descriptors_are_closed_with_the_cache() -> None:
    """Of this host, as files are held of no other."""
    cache = CgroupCache()
    try:
        for _ in range(2):
            cgroup.read(SysRoot(), cache, "metrics")
    except Unavailable as error:
        pytest.skip(f"no control groups: {error.detail}")
    held = {*cache.held.files, *(directory.fd for directory in cache.held.directories.values())}
    assert len(held) == len(cache.held.files) + len(cache.held.directories) > 0
    names = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in held}
    assert all("cgroup" in name for name in names.values())
    del cache
    gc.collect()
    assert not [fd for fd, name in names.items() if os.path.exists(f"/proc/self/fd/{fd}") and os.readlink(f"/proc/self/fd/{fd}") == name]


def test_a_file_that_never_ends() -> None:
    """It grows faster than it is read: no pass waits for its end, nor keeps what was read."""
    root = SysRoot()
    files = GroupFiles(root, HeldDirectories())
    directory = files.enter("dev")
    assert directory is not None
    assert files.text(directory, "zero") is None
    assert [(refusal.path, refusal.reason) for refusal in root.refusals] == [("dev/zero", "failed")]


def test_a_file_that_grows_is_read_to_some_end_of_it(tmp_path: Path) -> None:
    line, path = b"0123456789abcde\n", tmp_path / "sys/list"
    root, ends = grow(tmp_path, {"sys/list": line * 1000}), threading.Event()
    files = GroupFiles(root, HeldDirectories())
    directory = files.enter("sys")

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not ends.is_set():
                file.write(line)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert directory is not None
        texts = [text for _ in range(20) for text in (root.text("sys/list"), files.text(directory, "list"))]
    finally:
        ends.set()
        writer.join()
    sizes = [len(text or "") for text in texts]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 1000 * len(line)
    assert set("".join(text or "" for text in texts[-2:]).split("\n")) == {line.decode().strip(), ""}
    assert root.refusals == []
