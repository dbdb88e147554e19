"""Broken trees by the thousand: a model or a gap, never a fall, and the laws of every machine hold. `fuzz.py` says how to run more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from tests.hosts.fuzz import MUTATIONS, TREE_NAMES, broken, judge, look, tree, wrong
from tests.hosts.memory_root import MACHINE
from tests.hosts.trees import unpack

BROKEN = 2500


@pytest.mark.parametrize("name", TREE_NAMES)
def test_a_tree_in_memory_is_the_tree(name: str, tmp_path: Path) -> None:
    root = unpack(name, tmp_path)
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
