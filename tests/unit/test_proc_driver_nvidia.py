"""collectors/proc_driver_nvidia.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_driver_nvidia import DRIVER, GPUS, parse_node, read
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import grow

STATUS = "Node:      255\nStatus:    online\nAddress:   40000000000\nSize:      3f0000000\n"


def test_gpus(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{GPUS}/0004:05:00.0/numa_status": STATUS, f"{GPUS}/0004:06:00.0/information": "Model: V100\n"})
    assert read(root) == {255: "0004:05:00.0"}


@pytest.mark.parametrize(
    ("text", "node"), [(STATUS, 255), ("Node: -1\n", None), ("Node: 9999999\n", None), ("Nodes: 1\n", None), ("", None)]
)
def test_node(text: str, node: int | None) -> None:
    assert parse_node(text) == node


def test_no_gpus_and_no_drivers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
    assert read(grow(tmp_path, {f"{DRIVER}/rtc": ""})) == {}
