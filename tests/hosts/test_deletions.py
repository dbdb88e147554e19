"""A file or a directory that is taken out of a recorded machine takes its own numbers with it, and changes no other one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hosts.trees import AT_REST, unpack
from tests.real.test_recording import changed, deletions, document


@pytest.mark.parametrize("name", ["dimms", "hmat", "offline"])
def test_no_missing_file_changes_a_number(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    tree = unpack(name, tmp_path / "tree")
    count, wrong = deletions(tree, document(tree), tmp_path / "copy")
    assert count > 100
    assert wrong == {}


# A node's directory comes and goes with the node, so the machine without it is one with a node less.
NODE = re.compile(r"sys/devices/system/node/node\d+")


@pytest.mark.parametrize("name", AT_REST)
def test_no_missing_directory_changes_a_number(name: str, tmp_path: Path) -> None:
    """As where a container was not given all of /sys, or the kernel was built without a part."""
    (tmp_path / "tree").mkdir()
    tree = unpack(name, tmp_path / "tree")
    whole, aside, wrong = document(tree), tmp_path / "aside", {}
    for directory in [path for path in sorted(tree.rglob("*")) if path.is_dir()]:
        path = str(directory.relative_to(tree))
        directory.rename(aside)
        try:
            less = document(tree)
        finally:
            aside.rename(directory)
        difference = changed(whole, less)
        architectures = {None, whole["physical"]["architecture"]}
        if NODE.fullmatch(path):
            difference.pop(".devices.memory.nodes", None)
            architectures |= {"smp"} if len(whole["physical"]["nodes"]) == 2 else set()
        if difference or less["physical"].get("architecture") not in architectures:
            wrong[path] = difference
    assert wrong == {}
