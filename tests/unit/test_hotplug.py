"""collectors/hotplug.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.hotplug import CPU, NODE, Moment, Plugged, look, parse_states, read
from collectors.root import SysRoot
from collectors.text import Malformed
from tests.unit.tree import grow

STATES = "  0: offline\n  1: threads:prepare\n235: sched:active\n236: online\n"
LISTS = {f"{CPU}/online": "0-3\n", f"{CPU}/hotplug/states": STATES}


def test_nothing(tmp_path: Path) -> None:
    assert look(SysRoot(tmp_path)) == Moment(read(SysRoot(tmp_path))) == Moment(Plugged(online=None))


def test_what_is_plugged(tmp_path: Path) -> None:
    files = {
        f"{CPU}/online": "0-2\n",
        f"{CPU}/present": "0-3\n",
        f"{CPU}/isolated": "\n",
        f"{NODE}/online": "0\n",
        f"{NODE}/has_memory": "0\n",
        f"{CPU}/cpu0/microcode/version": "0x1\n",
        f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
    }
    root = grow(tmp_path, files)
    before = read(root)
    assert before == Plugged(
        online="0-2\n", present="0-3\n", isolated="\n", nodes="0\n", nodes_with_memory="0\n", microcode="0x1\n", max_freq="3500000\n"
    )
    for path in files:
        assert read(grow(tmp_path, {path: "x\n"})) != before, path
        grow(tmp_path, files)


@pytest.mark.parametrize(
    ("files", "moving"),
    [
        ({}, ""),
        ({"cpu1/hotplug/state": "236\n", "cpu1/hotplug/target": "0\n"}, ""),
        ({"cpu1/hotplug/state": "200\n", "cpu1/hotplug/target": "236\n", "cpu3/hotplug/state": "201\n"}, "1,3"),
        # Somebody wrote 150 to its target.
        ({"cpu1/hotplug/state": "150\n", "cpu1/hotplug/target": "150\n"}, ""),
        # All the way down since the list was read.
        ({"cpu1/hotplug/state": "0\n", "cpu1/hotplug/target": "0\n"}, "1"),
        ({"cpu0/cache/": "", "cpu1/topology/": "", "cpu2/cache/": ""}, "3"),
        # Not online: its topology and caches are nobody's.
        ({"cpu4/hotplug/state": "40\n", "cpu4/hotplug/target": "236\n"}, ""),
        ({"cpu1/hotplug/state": "200\n", "hotplug/states": "0: offline\n"}, ""),
    ],
)
def test_who_is_on_its_way(tmp_path: Path, files: dict[str, str], moving: str) -> None:
    root = grow(tmp_path, {**LISTS, **{f"{CPU}/{name}": text for name, text in files.items()}})
    assert look(root).plugged == Plugged(online="0-3\n")
    assert look(root).moving == CpuSet.parse_list(moving)


@pytest.mark.parametrize("shown", ["cache", "topology"])
def test_a_cpu_that_went_and_came_back_is_another(tmp_path: Path, shown: str) -> None:
    root = grow(tmp_path, {**LISTS, **{f"{CPU}/cpu{cpu}/{shown}/": "" for cpu in range(4)}})
    before = look(root)
    assert look(root) == before
    assert len(set(before.inodes)) == 4
    (tmp_path / CPU / "cpu3/again").mkdir()
    (tmp_path / CPU / f"cpu3/{shown}").rmdir()
    (tmp_path / CPU / "cpu3/again").rename(tmp_path / CPU / f"cpu3/{shown}")
    assert look(root).plugged == before.plugged
    assert look(root) != before


def test_states() -> None:
    assert parse_states(STATES) == 236
    assert parse_states("") is None
    with pytest.raises(Malformed):
        parse_states("x: online\n")


def test_this_host_is_at_rest() -> None:
    assert not look(SysRoot("/")).moving
