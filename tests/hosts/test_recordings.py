"""What recordings of the lab may hold: machines that are anybody's, and nothing of the machine that made them."""

from __future__ import annotations

import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.trees import NAMES, RECORDED, TREES, unpack
from tests.lab.recordings import RECORDERS, pack

TOTAL_BYTES = 3 << 20
HOSTNAMES = {"lab", "tiny", "vm"}

# Of who made a recording: directories of people and of checkouts, registries, credentials.
THEIRS = re.compile(
    rb"/(?:home|root|work|Users|builds|workspace)/\w|/tmp/pytest|https?://|\bindex-url\b|"
    rb"(?i:password|passwd=|secret|api_?key|authorization|bearer |token=)|BEGIN [A-Z ]*PRIVATE KEY|[\w.+-]+@[\w-]+\.\w{2,}"
)
# Words of the kernel's and of Debian's that look like it.
OURS = re.compile(rb"systemd-.*@|\w+@\.service|/proc/1/|CONFIG_\w+")


def contents(name: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                yield member.name, file.read()


def test_every_recording_can_be_made_again_and_there_is_nothing_else() -> None:
    assert set(RECORDERS) - {"pods"} == set(RECORDED)
    assert {path.name.partition(".")[0] for path in TREES.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", RECORDED)
def test_an_archive_depends_on_names_and_contents_only(name: str) -> None:
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    heads = {(member.mtime, member.uid, member.gid, member.uname, member.gname, oct(member.mode)) for member in members}
    assert heads == {(0, 0, 0, "", "", "0o644"), (0, 0, 0, "", "", "0o755")}


def test_packing_again_makes_the_same_archive(tmp_path: Path) -> None:
    again = tmp_path / "again.tar.xz"
    pack(unpack("uma", tmp_path / "tree"), again)
    assert lzma.decompress(again.read_bytes()) == lzma.decompress((TREES / "uma.tar.xz").read_bytes())


def test_they_are_small() -> None:
    assert sum((TREES / f"{name}.tar.xz").stat().st_size for name in RECORDED) < TOTAL_BYTES


@pytest.mark.parametrize("name", RECORDED)
def test_nothing_of_its_maker_is_in_it(name: str) -> None:
    found = {
        (path, match[0])
        for path, data in contents(name)
        for match in THEIRS.finditer(data)
        if not OURS.search(data[max(0, match.start() - 40) : match.end() + 40])
    }
    assert found == set()
    hostnames = {data.decode().strip() for path, data in contents(name) if path.endswith("proc/sys/kernel/hostname")}
    assert hostnames <= HOSTNAMES


@pytest.mark.parametrize("name", ["engines", "hybrid"])
def test_a_recording_has_two_passes(name: str) -> None:
    paths = {path for path, _ in contents(name)}
    first = {path for path in paths if not path.startswith("later/")}
    assert {f"later/{path}" for path in first if path.startswith("sys/devices/system/")} <= paths
    assert any(path.startswith("later/sys/fs/cgroup/") for path in paths)
