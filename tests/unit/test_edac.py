"""collectors/edac.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.edac import EdacDimm, MemoryController
from collectors.edac import MC, parse_location, read
from collectors.root import SysRoot
from collectors.text import Malformed
from tests.unit.tree import grow


def dimm(place: str, label: str, location: str, size: int = 16384, errors: int = 0) -> dict[str, str]:
    values = {
        "dimm_label": label,
        "dimm_location": location,
        "size": size,
        "dimm_mem_type": "Registered-DDR4",
        "dimm_edac_mode": "S4ECD4ED",
        "dimm_ce_count": errors,
        "dimm_ue_count": 0,
    }
    return {f"{MC}/{place}/{name}": f"{value}\n" for name, value in values.items()}


def controller(number: int, name: str, size: int, errors: int = 0) -> dict[str, str]:
    values = {"mc_name": name, "size_mb": size, "ce_count": errors, "ue_count": 0, "ce_noinfo_count": 1, "ue_noinfo_count": 0}
    return {f"{MC}/mc{number}/{key}": f"{value}\n" for key, value in values.items()}


def test_dimms(tmp_path: Path) -> None:
    files = {
        **controller(10, "Skylake Socket#0 IMC#0", 16384, 4),
        **controller(2, "other", 0),
        **dimm("mc10/dimm0", "CPU_SrcID#0_MC#0_Chan#1_DIMM#0", "channel 1 slot 0 ", errors=3),
        f"{MC}/mc10/csrow0/ch0_ce_count": "99\n",  # the same DIMM once more, for old programs
        f"{MC}/power/control": "auto\n",
    }
    first, second = read(grow(tmp_path, files))
    assert (first.os_index, first.dimms) == (2, ())
    assert second == MemoryController(
        os_index=10,
        name="Skylake Socket#0 IMC#0",
        size_bytes=16 << 30,
        correctable_errors=4,
        uncorrectable_errors=0,
        unplaced_correctable_errors=1,
        unplaced_uncorrectable_errors=0,
        dimms=(
            EdacDimm(
                name="dimm0",
                label="CPU_SrcID#0_MC#0_Chan#1_DIMM#0",
                location="channel 1 slot 0",
                channel="mc10 channel 1",
                size_bytes=16 << 30,
                mem_type="Registered-DDR4",
                edac_mode="S4ECD4ED",
                correctable_errors=3,
                uncorrectable_errors=0,
            ),
        ),
    )


def test_ranks_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {name: text for number in (10, 9) for name, text in dimm(f"mc0/rank{number}", "", f"csrow {number} channel 0 ").items()}
    assert [rank.name for rank in read(grow(tmp_path, files))[0].dimms] == ["rank9", "rank10"]


def test_rows_of_old_kernels(tmp_path: Path) -> None:
    row = f"{MC}/mc0/csrow1"
    files = {
        f"{row}/mem_type": "Unbuffered-DDR3\n",
        f"{row}/edac_mode": "SECDED\n",
        f"{row}/size_mb": "8192\n",
        f"{row}/ue_count": "2\n",
        f"{row}/ch0_ce_count": "5\n",
        f"{row}/ch0_dimm_label": "A1\n",
        f"{row}/ch1_ce_count": "0\n",
    }
    # What both channels share is not one's own.
    assert read(grow(tmp_path, files))[0].dimms == (
        EdacDimm(
            name="csrow1/ch0",
            label="A1",
            location="csrow 1 channel 0",
            channel="mc0 channel 0",
            size_bytes=None,
            mem_type="Unbuffered-DDR3",
            edac_mode="SECDED",
            correctable_errors=5,
        ),
        EdacDimm(
            name="csrow1/ch1",
            label=None,
            location="csrow 1 channel 1",
            channel="mc0 channel 1",
            size_bytes=None,
            mem_type="Unbuffered-DDR3",
            edac_mode="SECDED",
            correctable_errors=0,
        ),
    )
    for name in ("ch1_ce_count",):
        (tmp_path / row / name).unlink()
    assert read(SysRoot(tmp_path))[0].dimms == (
        EdacDimm(
            name="csrow1/ch0",
            label="A1",
            location="csrow 1 channel 0",
            channel="mc0 channel 0",
            size_bytes=8 << 30,
            mem_type="Unbuffered-DDR3",
            edac_mode="SECDED",
            correctable_errors=5,
            uncorrectable_errors=2,
        ),
    )


def test_no_driver(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path)) == ()


def test_locations() -> None:
    assert parse_location("branch 0 channel 1 slot 2 \n") == {"branch": 0, "channel": 1, "slot": 2}
    for text in ("channel", "channel x", "channel 1 slot"):
        with pytest.raises(Malformed):
            parse_location(text)
