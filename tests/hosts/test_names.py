"""The word that views print for a workload of a recorded host means that workload again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.session import Session, take_host
from collectors.root import SysRoot
from tests.hosts.trees import NAMES as TREES
from tests.hosts.trees import replayed, unpack
from tests.unit.overhead_hosts import container, machine, sandbox
from tests.unit.test_names import printed

BOX, GUEST, WASM = container(), machine(), sandbox()


@pytest.mark.parametrize("tree", TREES)
def test_the_word_for_a_workload_means_it_on_recorded_hosts(tree: str, tmp_path: Path) -> None:
    config = replayed(tree, unpack(tree, tmp_path / "tree"))
    printed(take_host(Session(root=SysRoot(config.root), config=config)).workloads)
