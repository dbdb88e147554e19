"""A file or a directory that is taken out of a recorded machine takes its own numbers with it, and changes no other one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.root import LATER
from tests.hosts.trees import TINY, unpack
from tests.real.test_recording import changed, deletions, document

# Of large recordings one of so many files is taken away.
STEPS = {"dimms": 2, "hmat": 2, "offline": 2, "hybrid": 23}


@pytest.mark.parametrize("name", STEPS)
def test_no_missing_file_changes_a_number(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    tree = unpack(name, tmp_path / "tree")
    count, wrong = deletions(tree, document(tree), tmp_path / "copy", STEPS[name])
    assert count > 50
    assert wrong == {}


# A node's directory comes and goes with the node, so the machine without it is one with a node less.
NODE = re.compile(r"sys/devices/system/node/node\d+")


@pytest.mark.parametrize("name", TINY)
def test_no_missing_directory_changes_a_number(name: str, tmp_path: Path) -> None:
    """As where a container was not given all of /sys, or the kernel was built without a part."""
    (tmp_path / "tree").mkdir()
    tree = unpack(name, tmp_path / "tree")
    whole, aside, wrong = document(tree), tmp_path / "aside", {}
    aside.mkdir()
    directories = [str(path.relative_to(tree)) for path in sorted(tree.rglob("*")) if path.is_dir() and LATER not in path.parts]
    for path in directories:
        passes = {"first": tree / path, "second": tree / LATER / path}
        moved = [(directory, aside / name) for name, directory in passes.items() if directory.is_dir()]
        for directory, place in moved:
            directory.rename(place)
        try:
            less = document(tree)
        finally:
            for directory, place in moved:
                place.rename(directory)
        difference = changed(whole, less)
        architectures = {None, whole["physical"]["architecture"]}
        if NODE.fullmatch(path):
            difference.pop(".devices.memory.nodes", None)
            architectures |= {"smp"} if len(whole["physical"]["nodes"]) == 2 else set()
        if difference or less["physical"].get("architecture") not in architectures:
            wrong[path] = difference
    assert wrong == {}
