"""Broken trees by the thousand: a model or a gap, never a fall, and the laws of every machine hold. `fuzz.py` says how to run more."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import LATER, SysRoot
from tests.hosts import fuzz_workloads
from tests.hosts.fuzz import MUTATIONS, TREE_NAMES, broken, judge, look, tree, wrong
from tests.hosts.memory_root import MACHINE
from tests.hosts.trees import unpack

BROKEN = 2500
BROKEN_HOSTS = 40


@pytest.mark.parametrize("name", TREE_NAMES)
def test_a_tree_in_memory_is_the_tree(name: str, tmp_path: Path) -> None:
    root = unpack(name, tmp_path)
    # In memory there is one pass.
    shutil.rmtree(root / LATER, ignore_errors=True)
    found = look(dict(tree(name)))
    assert found.physical == take_snapshot(Session(root=SysRoot(root), config=Config(root=str(root), only=MACHINE))).physical
    assert list(wrong(found)) == []


def test_a_seed_makes_the_same_tree_again() -> None:
    for seed in range(20):
        one, other = broken(seed), broken(seed)
        assert one[:2] == other[:2]
        assert {path: str(content) for path, content in one[2].items()} == {path: str(content) for path, content in other[2].items()}


def test_every_mutation_breaks_something() -> None:
    done = Counter(name for seed in range(500) for name in broken(seed)[1])
    assert done.keys() == {mutation.__name__ for mutation in MUTATIONS}
    assert min(done.values()) > 20


def test_broken_trees() -> None:
    assert [fault for seed in range(BROKEN) for fault in judge(seed)] == []


def test_broken_hosts_with_workloads() -> None:
    assert [fault for seed in range(BROKEN_HOSTS) for fault in fuzz_workloads.judge(seed)] == []


def test_a_seed_breaks_the_same_files_of_a_host_again() -> None:
    assert [fuzz_workloads.mutated(seed)[:2] for seed in range(10)] == [fuzz_workloads.mutated(seed)[:2] for seed in range(10)]


@pytest.mark.parametrize(
    ("found", "text", "fault"),
    [
        ({"gaps": [], "host": {"x": [1 << 63]}}, "", "beyond 2^63: .host.x.0 9223372036854775808"),
        ({"gaps": []}, "x_total 1\nx_total 2\n", "twice: x_total"),
        ({"gaps": []}, "x_total -1\n", "a negative counter: x_total -1"),
        ({"gaps": []}, "x_total NaN\n", "a negative counter: x_total NaN"),
        ({"gaps": []}, "x_total 18446744073709551615\n", "beyond 2^63: x_total 18446744073709551615"),
        ({"gaps": [{"source": "cgroup", "detail": "KeyError: 'x' (cpu.py:7)"}]}, "", "a reader fell: cgroup: KeyError: 'x' (cpu.py:7)"),
    ],
)
def test_what_breaks_a_law_is_seen(found: dict[str, Any], text: str, fault: str) -> None:
    assert list(fuzz_workloads.wrong(found, "# TYPE x_total counter\n" + text)) == [fault]
    assert list(fuzz_workloads.wrong({"gaps": []}, "# TYPE x_total counter\nx_total 1\n")) == []
