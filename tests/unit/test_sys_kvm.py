"""collectors/sys_kvm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_kvm import Kvm
from collectors.root import SysRoot, Unavailable
from collectors.sys_kvm import read
from tests.unit.tree import grow

M = "sys/module"


@pytest.mark.parametrize(
    ("files", "kvm"),
    [
        (
            {
                f"{M}/kvm_intel/parameters/ept": "Y\n",
                f"{M}/kvm_intel/parameters/nested": "N\n",
                f"{M}/kvm/parameters/halt_poll_ns": "200000\n",
            },
            Kvm("kvm_intel", True, False, 200000),
        ),
        ({f"{M}/kvm_amd/parameters/npt": "0\n", f"{M}/kvm_amd/parameters/nested": "1\n", f"{M}/kvm/": ""}, Kvm("kvm_amd", False, True)),
        ({f"{M}/kvm/parameters/halt_poll_ns": "0\n"}, Kvm(halt_poll_ns=0)),
        ({f"{M}/kvm_hv/parameters/nested": "Y\n"}, Kvm("kvm_hv", None, True)),
        ({f"{M}/kvm_intel/": ""}, Kvm("kvm_intel")),
        ({f"{M}/kvm_pvm/": "", f"{M}/kvm/parameters/halt_poll_ns": "200000\n"}, Kvm("kvm_pvm", False, halt_poll_ns=200000)),
    ],
)
def test_modules(tmp_path: Path, files: dict[str, str], kvm: Kvm) -> None:
    assert read(grow(tmp_path, files)) == kvm


@pytest.mark.parametrize("files", [{}, {f"{M}/zswap/": ""}, {f"{M}/kvmgt/": ""}])
def test_none(tmp_path: Path, files: dict[str, str]) -> None:
    grow(tmp_path, files)
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"
