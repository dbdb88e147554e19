"""Which functions each test calls: copies of the tree whose functions say so, and the plugin of pytest that listens.

What fixtures and imports call counts for all tests of their file. What other processes call is not known.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import cast

import pytest

REACHED = "reached.json"

called: set[str] = set()
_seconds: dict[str, float] = defaultdict(float)
_by_test: dict[str, set[str]] = defaultdict(set)
_failed: set[str] = set()


class _Marks(ast.NodeTransformer):
    """Puts first in each function that it notes its place, "path:line"."""

    def __init__(self, path: str) -> None:
        self.path = path

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        lines = [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]
        self.generic_visit(node)
        node.body.insert(1 if ast.get_docstring(node) else 0, ast.parse(f"_called.add({f'{self.path}:{min(lines)}'!r})").body[0])
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        self.generic_visit(node)
        marked = cast("ast.Lambda", ast.parse(f"lambda: _called.add({f'{self.path}:{node.lineno}'!r}) or 0", mode="eval").body)
        cast("ast.BoolOp", marked.body).values[1] = node.body
        node.body = marked.body
        return node


def mark(top: Path, path: str) -> None:
    tree = ast.parse((top / path).read_text())
    _Marks(path).visit(tree)
    places = [number for number, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    tree.body.insert(max(places, default=-1) + 1, ast.parse("from tests.mutants.reach import called as _called").body[0])
    (top / path).write_text(ast.unparse(ast.fix_missing_locations(tree)))


def tests_by_place(trees: Sequence[Path], tests: Sequence[str], paths: Collection[str], options: Sequence[str]) -> dict[str, list[str]]:
    """The tests that reach each place of these files, the fastest first, of one directory of tests in each copy of the tree.

    Those that fail without a fault are left out, and named. The copies are spoilt.
    """
    for tree, path in product(trees, paths):
        mark(tree, path)
    command = (sys.executable, "-m", "pytest", "-p", "tests.mutants.reach", *options)
    runs = [subprocess.Popen([*command, part], cwd=tree, stdout=subprocess.DEVNULL) for tree, part in zip(trees, tests, strict=True)]
    found: dict[str, list[str]] = defaultdict(list)
    for run, tree in zip(runs, trees, strict=True):
        run.wait()
        reached = json.loads((tree / REACHED).read_text())
        for test in reached["failed"]:
            print(f"fails without a fault: {test}", flush=True)
        for place, names in reached["tests"].items():
            found[place] += names
    return found


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _take(report.nodeid.partition("::")[0])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    test = report.nodeid.partition("[")[0]
    _seconds[test] += report.duration
    if report.failed:
        _failed.add(test)
    _take(test if report.when == "call" else test.partition("::")[0])


def _take(test: str) -> None:
    _by_test[test] |= called | {place.partition(":")[0] for place in called}
    called.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the tests by what they reach, the fastest first; those that fail as it is are left out."""
    tests: dict[str, list[str]] = defaultdict(list)
    for test in sorted(_seconds.keys() - _failed, key=_seconds.__getitem__):
        for place in _by_test[test] | _by_test[test.partition("::")[0]]:
            tests[place].append(test)
    (session.config.rootpath / REACHED).write_text(json.dumps({"tests": tests, "failed": sorted(_failed)}))
