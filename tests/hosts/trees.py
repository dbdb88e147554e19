"""The recorded machines of tests/trees, and how each is replayed. `python -m tests.lab.recordings` makes the recordings."""

from __future__ import annotations

import tarfile
from pathlib import Path

from agent.config import Config
from tests.hosts import written
from tests.lab.shapes import SHAPES
from tests.need import TOP
from tests.unit.tree import plant

TREES = TOP / "tests" / "trees"

RECORDED = tuple(sorted(path.name.removesuffix(".tar.xz") for path in TREES.glob("*.tar.xz")))
NAMES = (*RECORDED, written.NAME)
TINY = tuple(sorted(shape.name for shape in SHAPES))
"""Those of tiny guests: machines of any topology, and three containers on each."""

LABELS = ("com.example.team",)
"""Labels of containers that recordings are made with, and replayed with."""


def unpack(name: str, into: Path) -> Path:
    """The files of a recording, in this directory."""
    into.mkdir(exist_ok=True)
    if name == written.NAME:
        plant(into, written.files())
        return into
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            place = into / member.name
            if member.isdir():
                place.mkdir()
            elif (content := archive.extractfile(member)) is not None:
                place.write_bytes(content.read())
    return into


def replayed(name: str, tree: Path) -> Config:
    """How a recording is read: with the calibration of its machine, where there is one."""
    calibration = TREES / f"{name}.calibration.json"
    return Config(root=str(tree), labels=LABELS, calibration=str(calibration) if calibration.exists() else None)
