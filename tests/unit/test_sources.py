"""agent/collect/sources.py: the table names what is asked, and every reader that there is."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from types import ModuleType

import pytest

from agent.collect import host_facts, static_facts, take, workload_facts
from agent.collect.ask import Pass
from agent.collect.sources import MACHINE, SOURCES, TABLE, WORKLOADS, Source
from agent.model.values import Detail
from collectors.root import SysRoot


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
