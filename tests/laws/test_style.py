"""The habits that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.source import TOPS, dotted, files, modules
from tests.need import PACKAGES, TOP, need, which

DOOR = "collectors/root/"
# Who else may open a file, and why.
OPENS = {
    "agent/cli/__init__.py": "standard output goes to /dev/null when its reader is gone",
    "agent/service.py": "writes what it serves",
    "agent/calibrate/exits.py": "/dev/kvm, on request",
    "agent/calibrate/store.py": "keeps what was measured",
    "collectors/wasm_stats/embedder.py": "makes the memfd of an embedder, in its process",
}
READS = {"open", "read_text", "read_bytes", "open_code", "fdopen", "memfd_create", "FileIO"}
RUNS = {"subprocess", "pty", "multiprocessing", "popen2"}
# Who may make a second process of this same program, and why.
FORKS = {"agent/calibrate/child.py": "somebody to switch to; a run beside the daemon"}
RUNNERS = re.compile(r"os\.(system|popen|fork|forkpty|posix_spawnp?|exec[lv]p?e?|spawn[lv]p?e?|startfile)")


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=lambda command: " ".join(command),
)
def test_linter(command: list[str]) -> None:
    need(command[0])
    done = subprocess.run([which(command[0]) or "", *command[1:]], cwd=TOP, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_door() -> None:
    found = {name for name, tree in modules().items() if any(reads(tree))}
    beside = {name for name in found if not name.startswith(DOOR)}
    assert beside < found
    assert beside <= OPENS.keys(), {name: list(reads(modules()[name])) for name in beside - OPENS.keys()}


def test_nobody_runs_commands() -> None:
    found = {name: runners for name, tree in modules().items() if (runners := list(runs(tree)))}
    assert found.keys() <= FORKS.keys()
    assert all(runner.endswith(": os.fork") for runners in found.values() for runner in runners), found


def test_only_the_configuration_knows_the_environment() -> None:
    found = {
        name: node.lineno
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if name != "agent/config.py"
        and (
            (isinstance(node, ast.Attribute) and dotted(node) in {"os.environ", "os.environb", "os.getenv", "os.getenvb"})
            or (isinstance(node, ast.ImportFrom) and node.module == "os" and {n.name for n in node.names} & {"environ", "getenv"})
        )
    }
    assert found == {}


def test_one_broad_except() -> None:
    found = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and {"Exception", "BaseException", None} & caught(node)
    ]
    assert found == ["agent/collect/ask.py"]


def test_top_level() -> None:
    assert {Path(name).parts[0] for name in files()} <= TOPS


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(".".join(Path(name).parts[:-1]) for name in modules() if name.endswith("/__init__.py"))


def test_both_commands_are_the_same_program() -> None:
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"agent": "agent.cli:main", "stratascope": "agent.cli:main"}


def test_locks_name_no_place() -> None:
    for name in ("build.lock", "runtime.lock", "test.lock"):
        text = (TOP / name).read_text()
        assert not re.search(r"://|^-|(^|\s)/|@ ", text, re.MULTILINE), name
        assert text.count("\n    --hash=sha256:") > 0


def test_make_installs_what_tests_need() -> None:
    listed = re.search(r"^PACKAGES := ((?:.*\\\n)*.*)$", (TOP / "Makefile").read_text(), re.MULTILINE)
    assert listed
    assert set(PACKAGES.values()) <= set(listed[1].split())


def reads(tree: ast.Module) -> Iterator[str]:
    """Calls that open a file, whatever they hang on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in READS:
            yield f"{node.lineno}: {dotted(node.func)}"


def runs(tree: ast.Module) -> Iterator[str]:
    """Imports and calls that start another program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names = {dotted(node)}
        else:
            continue
        yield from (f"{node.lineno}: {name}" for name in names if name in RUNS or RUNNERS.fullmatch(name) or name == "asyncio.subprocess")


def caught(handler: ast.ExceptHandler) -> set[str | None]:
    match handler.type:
        case None:
            return {None}
        case ast.Tuple(elts=kinds):
            return {dotted(kind) for kind in kinds}
        case kind:
            return {dotted(kind)}
