"""What `agent topology` makes of recorded machines and of this one: texts that are read in review, and documents that hwloc reads.

A document has to load without a word of complaint, and then hold all that our model holds, one by one; test_peers holds the model
beside what hwloc itself finds on the same trees.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.sources import MACHINE
from agent.collect.take import take
from agent.config import Config
from agent.model.host import Host
from agent.normalise import normalise
from collectors.root import SysRoot
from exporters.views import console, hwloc_xml
from tests.hosts.trees import NAMES, RECORDED, TREES, unpack
from tests.lab.objects import differences, hwlocs, ours
from tests.need import SHARED, need, which

HOSTS = sorted(path.name.removesuffix(".tar.xz") for path in SHARED.glob("*.tar.xz"))


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param in NAMES:
        return unpack(request.param, tmp_path)
    subprocess.run(["tar", "-xJf", str(SHARED / f"{request.param}.tar.xz"), "-C", str(tmp_path)], check=True, timeout=60)
    return tmp_path


def host(root: str | Path) -> Host:
    return normalise(take(SysRoot(root), Config(root=str(root), only=MACHINE), Caches()))


def lstopo(*arguments: str, **environment: str) -> tuple[str, str]:
    """Its document, and what it complained of: its own checks are on."""
    need("lstopo-no-graphics")
    done = subprocess.run(
        [which("lstopo-no-graphics") or "", *arguments, "--of", "xml", "-"],
        env={**os.environ, "HWLOC_DEBUG_CHECK": "1", "HWLOC_XML_VERBOSE": "1", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout.decode(), done.stderr.decode() + (f"exit {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("tree", [*RECORDED, *HOSTS], indirect=True)
def test_hwloc_reads_of_our_document_what_we_know(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = host(tree)
    file = tmp_path_factory.mktemp("document") / "topology.xml"
    file.write_bytes(hwloc_xml.render(found))
    # With a parser of its own, and with libxml2.
    for parser in "01":
        read, complaints = lstopo("-i", str(file), HWLOC_LIBXML=parser)
        assert complaints == ""
        assert differences(ours(found.physical), hwlocs(read)) == {}


def test_hwloc_finds_the_same_on_this_host() -> None:
    theirs, mine = hwlocs(lstopo("--disallowed")[0]), hwlocs(hwloc_xml.render(host("/")).decode())
    # Memory may come and go meanwhile, and only hwloc tells kinds where there is one.
    assert {kind: each for kind, each in mine.items() if kind not in ("NUMANode", "CpuKind")} == {
        kind: each for kind, each in theirs.items() if kind not in ("NUMANode", "CpuKind")
    }
    assert [line.split(" bytes")[0].rsplit(" ", 1)[0] for line in mine["NUMANode"]] == [
        line.split(" bytes")[0].rsplit(" ", 1)[0] for line in theirs["NUMANode"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_golden_text(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tree = unpack(name, tmp_path)
    found = normalise(take(SysRoot(tree), Config(root=str(tree)), Caches()))
    text = console.render(found, width=100, terminal=False, encoding="utf-8", uncut=False, workloads=True).decode()
    golden = TREES / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert golden.is_file(), f"no {golden.name}: run pytest --update-golden"
    assert text.splitlines() == golden.read_text().splitlines()


@pytest.mark.shared
@pytest.mark.parametrize("tree", HOSTS, indirect=True)
def test_a_real_machine_is_two_screens_and_whole_if_asked(tree: Path) -> None:
    found = host(tree)
    short, whole = (
        console.render(found, width=100, terminal=False, encoding="utf-8", uncut=all_, workloads=False).decode() for all_ in (False, True)
    )
    assert len(short.splitlines()) <= 100
    drawn = whole.split("\nHardware\n")[1].split("\n\n")[0].splitlines()
    leaves = [int(line.rpartition("CPU ")[2]) for line in drawn if line.rpartition("CPU ")[2].isdecimal()]
    assert sorted(leaves) == list(found.physical.cpus.online)
