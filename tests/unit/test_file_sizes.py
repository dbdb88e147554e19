"""How much of a file is read, by what it is a file of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.root import SysRoot


@pytest.mark.parametrize(
    ("path", "mib"),
    [
        ("proc/interrupts", 16),
        ("proc/meminfo", 1),
        ("proc/4711/status", 1),
        ("proc/4711/maps", 32),
        ("sys/devices/system/node/node0/meminfo", 1),
        ("sys/fs/cgroup/system.slice/cgroup.procs", 4),
        ("run/containerd/runc/k8s.io/0a/state.json", 4),
        ("var/lib/kubelet/cpu_manager_state", 4),
    ],
)
def test_a_file_is_read_up_to_the_size_that_its_kind_can_have(tmp_path: Path, path: str, mib: int) -> None:
    for name, size in (("fits", mib << 20), ("over", (mib << 20) + 1)):
        file = tmp_path / name / path
        file.parent.mkdir(parents=True)
        file.touch()
        os.truncate(file, size)
    assert len(SysRoot(tmp_path / "fits").raw(path) or b"") == mib << 20
    root = SysRoot(tmp_path / "over")
    assert root.raw(path) is None
    assert [(refusal.path, refusal.detail) for refusal in root.refusals] == [(path, f"larger than {mib} MiB")]
