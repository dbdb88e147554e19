"""collectors/kernel_config.py."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from collectors.kernel_config import KernelConfig, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow

CONFIG = '# Linux\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n# CONFIG_PSI is not set\nCONFIG_NUMA=y\nCONFIG_LOCALVERSION="-x"\n'


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (CONFIG, KernelConfig({"CONFIG_HZ": "250", "CONFIG_NUMA": "y"}, 250)),
        ("", KernelConfig({})),
        ("\nCONFIG_HZ=", KernelConfig({})),
        ("\nCONFIG_HZ=25", KernelConfig({})),  # cut: it was 250
        ("\nCONFIG_HZ_100=y\n", KernelConfig({})),
        ('\nCONFIG_PREEMPT_RT="y"\n\udcff', KernelConfig({"CONFIG_PREEMPT_RT": "y"})),
    ],
)
def test_options(text: str, config: KernelConfig) -> None:
    assert parse(text) == config


def test_a_bad_number() -> None:
    with pytest.raises(Malformed):
        parse("\nCONFIG_HZ=y\n")


def test_the_kernels_own_copy_is_before_the_distributions(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/sys/kernel/osrelease": "6.1.0-49-amd64\n", "boot/config-6.1.0-49-amd64": CONFIG})
    assert read(root).hz == 250
    assert read(grow(tmp_path, {"proc/config.gz": gzip.compress(CONFIG.replace("=250", "=1000").encode())})).hz == 1000


@pytest.mark.parametrize("release", ["../../etc/passwd", "", "a" * 129, "a/b"])
def test_a_release_that_is_no_name(tmp_path: Path, release: str) -> None:
    with pytest.raises(Unavailable):
        read(grow(tmp_path, {"proc/sys/kernel/osrelease": release, "boot/config-": CONFIG, "etc/passwd": CONFIG}))


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


def test_a_cut_archive_gives_what_it_holds(tmp_path: Path) -> None:
    packed = gzip.compress(CONFIG.encode())
    for length in range(len(packed)):
        assert read(grow(tmp_path, {"proc/config.gz": packed[:length]})).hz in (None, 250)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b"\n" * (64 << 20) + CONFIG.encode())
    assert read(grow(tmp_path, {"proc/config.gz": packed})) == KernelConfig({})


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"config\.gz"):
        read(grow(tmp_path, {"proc/config.gz": b"CONFIG_HZ=250"}))
