"""agent status of recorded hosts: what it prints is stored, and its document has the figures of its text."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from agent.cli import main
from agent.model.finding import Severity
from agent.model.status import Status
from agent.model.values import decode_value
from agent.overhead.status import status
from agent.session import Session, snapshot_of, take_window
from collectors.root import LATER, SysRoot
from exporters.views import json
from exporters.views.status import render
from tests.hosts.trees import replayed, unpack
from tests.unit.told import reviewed


def text(look: Status, width: int = 200, encoding: str = "utf-8") -> str:
    return render(look, width=width, terminal=False, encoding=encoding).decode(encoding)


def of_tree(name: str, path: Path) -> Status:
    tree = unpack(name, path)
    session = Session(root=SysRoot(tree), config=replayed(name, tree))
    seen = take_window(session)
    return status(seen, snapshot_of(seen, session.taken_at))


@pytest.mark.parametrize(("name", "width"), [("engines", 80), ("engines", 200), ("hybrid", 80), ("written", 80), ("memoryless", 120)])
def test_recorded_hosts(name: str, width: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    reviewed(f"status-{name}-{width}", text(of_tree(name, tmp_path / "tree"), width), request)


@pytest.mark.parametrize("name", ["engines", "hybrid", "written", "uma"])
def test_the_document_has_the_figures_of_the_text(name: str, tmp_path: Path) -> None:
    look = of_tree(name, tmp_path / "tree")
    again = msgspec.json.decode(json.render(look), type=Status, dec_hook=decode_value)
    assert again == look
    for width in (40, 80, 250):
        assert text(again, width) == text(look, width)


@pytest.mark.parametrize(("name", "worst"), [("memoryless", "info"), ("engines", "warning"), ("hybrid", "critical")])
def test_check_of_a_recorded_host(name: str, worst: Severity, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree, code = str(unpack(name, tmp_path / "tree")), {"info": 0, "warning": 1, "critical": 2}[worst]
    assert main(["status", "--root", tree, "--check"]) == code
    assert f"{worst}: " in capfd.readouterr().out
    # What is chosen of the rows changes nothing about what is wrong.
    assert main(["status", "--root", tree, "--check", "--kind", "sandbox", "--top", "1", "--json"]) == code
    assert main(["status", "--root", tree]) == 0
    assert capfd.readouterr().err == ""


def test_a_host_of_which_only_proc_can_be_read(tmp_path: Path) -> None:
    tree = unpack("engines", tmp_path / "tree")
    for directory in (tree, tree / LATER):
        shutil.rmtree(directory / "sys")
        shutil.rmtree(directory / "run", ignore_errors=True)
    session = Session(root=SysRoot(tree), config=replayed("engines", tree))
    seen = take_window(session)
    look = status(seen, snapshot_of(seen, session.taken_at))
    shown = text(look, 80)
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert "Gaps that can be mended" in shown
    assert look.machine.busy_cpus is not None
    assert look.machine.used_bytes is not None
    assert look.machine.hostname == "lab"
