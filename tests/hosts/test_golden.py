"""Recordings of the lab's machines render to stored texts; `pytest --update-golden` rewrites them, and the difference is the review.

`python -m tests.lab.tiny record` makes the recordings.
"""

from __future__ import annotations

import lzma
import re
import tarfile
from pathlib import Path

import pytest

from agent.config import Config
from agent.service import once
from collectors.root import SysRoot
from exporters.views.json import render
from tests.lab.shapes import SHAPES
from tests.lab.tiny import TREES, pack
from tests.met import meet
from tests.real.test_recording import changed, deletions, document

NAMES = sorted(path.name.removesuffix(".tar.xz") for path in TREES.glob("*.tar.xz"))


def unpack(name: str, into: Path) -> Path:
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            place = into / member.name
            if member.isdir():
                place.mkdir()
            elif (content := archive.extractfile(member)) is not None:
                place.write_bytes(content.read())
    return into


def test_every_shape_is_recorded_and_nothing_else() -> None:
    assert sorted(shape.name for shape in SHAPES) == NAMES
    assert {path.name.partition(".")[0] for path in TREES.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tree = unpack(name, tmp_path)
    rendered = render(once(SysRoot(tree), Config(root=str(tree))), pretty=True).decode()
    golden = TREES / f"{name}.json"
    if request.config.getoption("--update-golden"):
        golden.write_text(rendered)
    assert golden.is_file(), f"no {golden.name}: run pytest --update-golden"
    assert rendered.splitlines() == golden.read_text().splitlines()
    meet("recorded trees", name)


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_depends_on_names_and_contents_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    again = tmp_path / "again.tar.xz"
    pack(unpack(name, tmp_path / "tree"), again)
    assert lzma.decompress(again.read_bytes()) == lzma.decompress((TREES / f"{name}.tar.xz").read_bytes())


@pytest.mark.parametrize("name", ["dimms", "hmat", "offline"])
def test_no_missing_file_changes_a_number(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    tree = unpack(name, tmp_path / "tree")
    count, wrong = deletions(tree, document(tree), tmp_path / "copy")
    assert count > 100
    assert wrong == {}


# A node's directory comes and goes with the node, so the machine without it is one with a node less.
NODE = re.compile(r"sys/devices/system/node/node\d+")


@pytest.mark.parametrize("name", NAMES)
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
