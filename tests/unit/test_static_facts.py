"""agent/collect: what is read once, and when it is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.collect import static_facts
from agent.collect.caches import Caches
from agent.collect.sample import Sample
from agent.collect.static_facts import Statics
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from collectors.root import SysRoot, Tree
from collectors.uevents import Uevent, Uevents, UeventSocket
from tests.unit.tree import grow

CPU, NODE = "sys/devices/system/cpu", "sys/devices/system/node"
SIBLINGS = f"{CPU}/cpu0/topology/thread_siblings_list"
TREE = {
    f"{CPU}/online": "0-1\n",
    f"{CPU}/hotplug/states": "0: offline\n236: online\n",
    **{f"{CPU}/cpu{cpu}/hotplug/state": "236\n" for cpu in (0, 1)},
    **{f"{CPU}/cpu{cpu}/hotplug/target": "236\n" for cpu in (0, 1)},
    **{f"{CPU}/cpu{cpu}/topology/thread_siblings_list": "0-1\n" for cpu in (0, 1)},
    **{f"{CPU}/cpu{cpu}/topology/core_id": "0\n" for cpu in (0, 1)},
    f"{CPU}/cpu0/cache/index0/level": "2\n",
    f"{CPU}/cpu0/cache/index0/shared_cpu_list": "0-1\n",
    f"{NODE}/online": "0\n",
    f"{NODE}/node0/cpulist": "0-1\n",
    f"{NODE}/node0/distance": "10\n",
    f"{NODE}/node0/meminfo": "Node 0 MemTotal: 1024 kB\nNode 0 MemFree: 512 kB\n",
    f"{NODE}/node0/numastat": "numa_hit 7\n",
    "sys/class/dmi/id/product_name": "Tree\n",
}
ONLY = ("hotplug", "proc_cpuinfo", "cpuid", "sys_cpu", "sys_node", "dmi", "uevents")


class NotedTree(Tree):
    """A tree that notes which files are read, and lets things happen before it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.asked: list[str] = []
        self.happens: Callable[[str], None] = lambda _path: None

    def read(self, path: str) -> bytes:
        self.asked.append(path)
        self.happens(path)
        return super().read(path)


class Notebook(SysRoot):
    """A root of such a tree."""

    tree: NotedTree

    def __init__(self, path: Path) -> None:
        super().__init__(path, NotedTree.at(path))
        self.asked = self.tree.asked
        self.asked.clear()


@pytest.fixture
def root(tmp_path: Path) -> Notebook:
    grow(tmp_path, TREE)
    return Notebook(tmp_path)


def look(root: Notebook, known: Statics | None = None, listening: UeventSocket | None = None) -> Sample:
    root.asked.clear()
    return take(root, Config(only=ONLY), Caches(statics=known, uevents=listening))


def test_a_second_pass_reads_what_changes_and_no_more(root: Notebook, tmp_path: Path) -> None:
    first = look(root)
    assert SIBLINGS in root.asked
    grow(
        tmp_path, {f"{NODE}/node0/meminfo": "Node 0 MemTotal: 1024 kB\nNode 0 MemFree: 256 kB\n", f"{NODE}/node0/numastat": "numa_hit 8\n"}
    )
    second = look(root, first.statics)
    assert {path.rpartition("/")[2] for path in root.asked} == {
        *("online", "present", "isolated", "has_memory", "version", "cpuinfo_max_freq", "meminfo", "numastat")
    }
    assert (second.statics, second.gaps) == (first.statics, first.gaps)
    assert second.seconds.keys() == first.seconds.keys()
    assert second.host.nodes is not None
    assert (second.host.nodes.nodes[0].free_bytes, second.host.nodes.nodes[0].numastat) == (256 << 10, {"numa_hit": 8})
    assert second.host.nodes.nodes[0].distances == (10,)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{CPU}/online", "0\n"),
        (f"{CPU}/present", "0-2\n"),
        (f"{CPU}/isolated", "1\n"),
        (f"{NODE}/online", "0-1\n"),
        (f"{NODE}/has_memory", "0\n"),
        (f"{CPU}/cpu0/microcode/version", "0x2\n"),
    ],
)
def test_a_list_that_changed_is_news(root: Notebook, tmp_path: Path, path: str, text: str) -> None:
    first = look(root)
    grow(tmp_path, {path: text})
    second = look(root, first.statics)
    assert SIBLINGS in root.asked
    look(root, second.statics)
    assert SIBLINGS not in root.asked


@pytest.mark.parametrize(
    ("announced", "again"),
    [
        (Uevents(), False),
        (Uevents((Uevent("add", "/devices/virtual/net/veth0", "net"),)), False),
        (Uevents((Uevent("offline", "/devices/system/cpu/cpu1", "cpu"),)), True),
        (Uevents((Uevent("offline", "/devices/system/memory/memory40", "memory"),)), True),
        (Uevents((Uevent("add", "/devices/system/node/node1", "node"),)), True),
        (Uevents(lost=True), True),
    ],
)
def test_an_event_is_news(root: Notebook, announced: Uevents, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, listening = [announced], UeventSocket()
    monkeypatch.setattr("collectors.uevents.read", lambda _root, _socket: waiting.pop() if waiting else Uevents())
    known = look(root).statics
    look(root, known, listening)
    assert waiting == []
    assert (SIBLINGS in root.asked) is again
    look(root, known, listening)
    assert SIBLINGS not in root.asked


def test_a_refused_socket_is_a_gap_and_the_lists_remain(root: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.uevents._KOBJECT_UEVENT", 99)
    listening = UeventSocket()
    first = look(root, None, listening)
    assert [(gap.source, gap.reason) for gap in first.gaps if gap.source == "uevents"] == [("uevents", "denied")]
    look(root, first.statics, listening)
    assert SIBLINGS not in root.asked
    grow(tmp_path, {f"{CPU}/online": "0\n"})
    assert [str(core.cpus) for core in normalise(look(root, first.statics, listening)).physical.cores] == ["0"]


def test_without_a_list_nothing_is_kept(root: Notebook, tmp_path: Path) -> None:
    (tmp_path / CPU / "online").unlink()
    look(root, look(root).statics)
    assert SIBLINGS in root.asked


def test_what_broke_is_read_again(root: Notebook, tmp_path: Path) -> None:
    grow(tmp_path, {SIBLINGS: "x\n"})
    first = look(root)
    assert [gap.reason for gap in first.gaps if gap.source == "sys_cpu"] == ["failed"]
    grow(tmp_path, TREE)
    second = look(root, first.statics)
    assert second.statics.cpus is not None
    assert [gap for gap in second.gaps if gap.source == "sys_cpu"] == []


def test_a_cpu_that_goes_while_it_is_read(root: Notebook, tmp_path: Path) -> None:
    """It leaves `online` when half of the siblings are read: all is read again."""

    def leave(path: str) -> None:
        if path == SIBLINGS:
            grow(tmp_path, {f"{CPU}/online": "0\n", SIBLINGS: "0\n", f"{CPU}/cpu0/cache/index0/shared_cpu_list": "0\n"})
            root.tree.happens = lambda _path: None

    root.tree.happens = leave
    found = look(root)
    assert root.asked.count(SIBLINGS) == 2
    assert found.statics.plugged is not None
    physical = normalise(found).physical
    assert (str(physical.cpus.online), [str(core.cpus) for core in physical.cores]) == ("0", ["0"])
    assert [str(cache.cpus) for cache in physical.caches] == ["0"]


def test_a_cpu_that_goes_and_comes_back_while_it_is_read(root: Notebook, tmp_path: Path) -> None:
    """`online` says the same before and after: what the CPU shows of itself is new."""
    topology, looks = tmp_path / CPU / "cpu1/topology", iter(range(100))

    def flap(path: str) -> None:
        if path == SIBLINGS and next(looks) == 0:
            topology.rename(tmp_path / "gone")
        if path == "sys/class/dmi/id/product_name" and not topology.exists():
            grow(tmp_path, TREE)

    root.tree.happens = flap
    found = look(root)
    assert root.asked.count(SIBLINGS) == 2
    assert found.statics.cpus is not None
    assert len(found.statics.cpus.topology) == 2


def test_a_cpu_whose_caches_are_not_there_yet(root: Notebook, tmp_path: Path) -> None:
    """It is online and two states short of being up: the pass waits for it."""
    grow(tmp_path, {f"{CPU}/cpu1/hotplug/state": "190\n", f"{CPU}/cpu0/cache/index0/shared_cpu_list": "0\n"})
    looks = iter(range(100))

    def arrive(path: str) -> None:
        if path == f"{CPU}/cpu1/hotplug/state" and next(looks) == 2:
            grow(tmp_path, {f"{CPU}/cpu1/hotplug/state": "236\n", f"{CPU}/cpu0/cache/index0/shared_cpu_list": "0-1\n"})

    root.tree.happens = arrive
    found = look(root)
    assert [str(cache.cpus) for cache in normalise(found).physical.caches] == ["0-1"]
    assert found.statics.plugged is not None


def test_one_reading_that_takes_too_long_is_not_the_last(root: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow host the time is up after one: what changed within it is read again, and again."""
    monkeypatch.setattr(static_facts, "_SETTLED_SECONDS", 0.0)
    grow(tmp_path, {f"{CPU}/cpu1/hotplug/state": "190\n"})
    looks = iter(range(100))

    def arrive(path: str) -> None:
        if path == f"{CPU}/cpu1/hotplug/state" and next(looks) == 2 * (static_facts._SETTLED_READINGS - 1):
            grow(tmp_path, {f"{CPU}/cpu1/hotplug/state": "236\n"})

    root.tree.happens = arrive
    found = look(root)
    assert next(looks) == 2 * static_facts._SETTLED_READINGS
    assert found.statics.cpus is not None
    assert found.statics.plugged is not None


def test_sets_that_never_settle_are_not_told(root: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_facts, "_SETTLED_SECONDS", 0.05)
    grow(tmp_path, {f"{CPU}/cpu1/hotplug/state": "190\n"})
    found = look(root)
    assert (found.statics.cpus, found.host.nodes, found.statics.plugged) == (None, None, None)
    assert {(gap.source, gap.reason) for gap in found.gaps} >= {("sys_cpu", "late"), ("sys_node", "late")}
    grow(tmp_path, TREE)
    assert look(root, found.statics).statics.cpus is not None
