"""collectors/dmi.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.dmi import Dmi
from collectors.dmi import DMI, read
from collectors.root import SysRoot, Unavailable
from tests.unit.tree import grow


def test_through_the_link(tmp_path: Path) -> None:
    here = "sys/devices/virtual/dmi/id"
    files = {
        "sys_vendor": "QEMU\n",
        "product_name": " Standard PC \n",
        "board_name": "\n",
        "product_serial": "S3CRET\n",
        "product_uuid": "S3CRET\n",
    }
    root = grow(tmp_path, {"sys/class/dmi/": "", **{f"{here}/{name}": text for name, text in files.items()}})
    (tmp_path / DMI).symlink_to("../../devices/virtual/dmi/id")
    found = read(root)
    assert found == Dmi(sys_vendor="QEMU", product_name="Standard PC")
    assert "S3CRET" not in str(found)


@pytest.mark.parametrize("files", [{}, {f"{DMI}/sys_vendor": "\n"}, {f"{DMI}/bios_date": "01/01/2020\n"}])
def test_none(tmp_path: Path, files: dict[str, str]) -> None:
    grow(tmp_path, files)
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"
