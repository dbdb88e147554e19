"""agent/collect/sources.py: the table names what is asked, and every reader that there is."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from agent.collect import host_facts, static_facts, take, workload_facts
from agent.collect.ask import Pass, ask
from agent.collect.sources import FOR_ROOT, MACHINE, SOURCES, TABLE, WORKLOADS, Source
from agent.model.values import Detail
from collectors import docker_engine, taskstats
from collectors.root import SysRoot, Unavailable
from tests.need import TOP
from tests.unit.tree import recorded


def asked_in(module: ModuleType) -> set[str]:
    """Sources that a module asks by name: in `ask("name", read)` and in `begin(current, "name", read, queries)`."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    asking = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in ("ask", "begin")]
    arguments = [argument.value for call in asking for argument in call.args if isinstance(argument, ast.Constant)]
    return {argument for argument in arguments if isinstance(argument, str)}


def test_every_source_is_asked_when_the_table_says_so() -> None:
    static = {source.name for source in TABLE if source.asked in ("until plugged", "by the daemon")} | {"hotplug"}
    assert asked_in(static_facts) == static
    assert asked_in(take) | asked_in(host_facts) | asked_in(workload_facts) == SOURCES.keys() - static


@pytest.mark.parametrize("source", TABLE, ids=lambda source: source.name)
def test_every_source_has_a_reader(source: Source) -> None:
    reader = import_module(f"collectors.{source.module}")
    assert callable(reader.read)


def test_names_are_unique() -> None:
    assert len(SOURCES) == len(TABLE)
    assert {*MACHINE} | WORKLOADS == SOURCES.keys()
    assert {*MACHINE} & WORKLOADS == set()


_BECOME_ROOT = re.compile(r"\b(run|be|become|as|needs) (as )?root\b|\bsudo\b")


def remedies() -> set[str]:
    """Each remedy that the product states: the table's, and the texts of readers."""
    texts = {
        node.value
        for path in sorted((TOP / "collectors").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value
    }
    return {text for source in TABLE for text in source.remedies.values()} | texts


def test_root_is_never_told_to_become_root() -> None:
    told = {text for text in remedies() if _BECOME_ROOT.search(text)}
    assert len(told) >= 5
    assert told <= FOR_ROOT.keys()
    assert not [text for text in FOR_ROOT.values() if _BECOME_ROOT.search(text)]


@pytest.mark.parametrize(("user", "mended"), [(0, False), (1000, True)])
@pytest.mark.parametrize("source", ["proc_task", "taskstats", "docker_engine", "smbios"])
def test_a_remedy_is_for_who_runs_the_agent(source: str, user: int, mended: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stated = {"taskstats": taskstats.DENIED, "docker_engine": docker_engine.DENIED}.get(source)

    def read(_root: SysRoot) -> None:
        raise Unavailable("denied", "closed", stated)

    monkeypatch.setattr("os.geteuid", lambda: user)
    (gap,) = ask(SysRoot(tmp_path), source, read).gaps
    assert bool(_BECOME_ROOT.search(gap.remedy or "")) is mended
    # A recording says the same to everybody.
    recording = recorded(tmp_path / "recording", {})
    (gap,) = ask(recording, source, read).gaps
    assert _BECOME_ROOT.search(gap.remedy or "")


@pytest.mark.parametrize(
    ("only", "detail", "wanted"),
    [
        ((), "document", {"proc_stat", "proc_limits"}),
        ((), "metrics", {"proc_stat"}),
        (("proc_limits",), "document", {"proc_limits"}),
        (("proc_limits",), "metrics", set()),
        (("cgroup",), "document", set()),
    ],
)
def test_a_pass_asks_what_it_should(only: tuple[str, ...], detail: Detail, wanted: set[str]) -> None:
    asking = Pass(SysRoot("/"), only, detail)
    assert {source for source in ("proc_stat", "proc_limits") if asking.wants(source)} == wanted
