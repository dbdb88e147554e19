"""A recording of this host replays to the same snapshot, and no file that is taken out of it changes a number."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import Session, snapshot_of, take_snapshot
from collectors.root import LATER, MARK, SysRoot
from collectors.root.recorder import Recorder
from exporters.views.json import render
from tests.need import TOP


def document(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render(take_snapshot(Session(root=SysRoot(root), config=Config(root=str(root))))))
    return found


def record(into: Path, config: Config) -> dict[str, Any]:
    """Record this host; the snapshot of the very pass that was recorded."""
    taken_at = time.time()
    recorder = Recorder("/", into, taken_at, "test")
    host = normalise(take(recorder, config, Caches()))
    recorder.close()
    found: dict[str, Any] = json.loads(render(snapshot_of(Window(after=host), taken_at)))
    return found


def figures(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and every set of CPUs by the path to it; things in lists go by what names them, not by their place."""
    match value:
        case dict():
            for key, inner in value.items():
                # What files say differently, or only some of them, is no number: like a gap, it may come with a file that is gone.
                if key not in ("gaps", "taken_at", "stack", "contradictions"):
                    yield from figures(inner, f"{path}.{key}")
        case list():
            for place, inner in enumerate(value):
                yield from figures(inner, f"{path}[{named(path, inner, place)}]")
        case bool() | int() | float():
            yield path, value
        case str() if path.rsplit(".", 1)[-1] in ("cpus", "online", "present", "possible", "allowed_cpus", "nodes_spanned", "affinity"):
            yield path, value


def named(path: str, thing: Any, place: int) -> str:
    if not isinstance(thing, dict):
        return str(place)
    for keys in (
        ("workload", "component"),
        ("paradigm", "id"),
        ("tid",),
        ("irq",),
        ("address",),
        ("slot", "handle"),
        ("number",),
        ("base",),
        ("level", "type", "cpus"),
        ("node", "name"),
    ):
        if all(key in thing for key in keys):
            return " ".join(str(thing[key]) for key in keys)
    keys = (
        ("os_index", "page_bytes")
        if ".nodes" in path
        else ("cpus",)
        if path.startswith((".physical.", ".logical.cpu.domains"))
        else ("cpu", "page_bytes", "name")
    )
    return ",".join(f"{key}={thing[key]}" for key in keys if key in thing)


JOINT = re.compile(r"\.placement\.sharing_workloads$|^\.predictions\[.* (?:cpu_share|run_queue_delay|cpu_pressure|steal)\]|^\.losses")
"""What a workload has with others: who is not there shares nothing, and competes with nobody."""


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Numbers that are there before and after and differ, and numbers that came from nowhere."""
    was, now = dict(figures(before)), dict(figures(after))
    difference = {path: (was.get(path), value) for path, value in now.items() if was.get(path, object()) != value}
    if len(after.get("workloads", ())) < len(before.get("workloads", ())):
        difference = {path: pair for path, pair in difference.items() if not JOINT.search(path)}
    return difference


Differences = dict[str, dict[str, tuple[Any, Any]]]
"""By file: the numbers that changed without it."""


def deletions(tree: Path, whole: dict[str, Any], copy: Path, step: int = 1) -> tuple[int, Differences]:
    """Take each file away in turn, of both passes, and put it back: every other one in a `copy` of the tree, by a process beside this one.

    With a `step`, one of so many files.
    """
    paths = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file() and not path.is_symlink() and path.name != MARK)
    files = sorted(path for path in paths if path.parts[0] != LATER)[::step]
    shutil.copytree(tree, copy, symlinks=True)
    told = json.dumps([whole, *map(str, files[1::2])])
    with subprocess.Popen([sys.executable, "-c", OTHERS, copy], cwd=TOP, stdin=PIPE, stdout=PIPE, text=True) as others:
        try:
            with ThreadPoolExecutor(1) as reader:
                answer = reader.submit(others.communicate, told)
                wrong = without_each(tree, whole, files[::2])
            return len(files), wrong | json.loads(answer.result()[0])
        finally:
            others.kill()


OTHERS = """
import json, sys
from pathlib import Path
from tests.real.test_recording import without_each
whole, *files = json.load(sys.stdin)
json.dump(without_each(Path(sys.argv[1]), whole, list(map(Path, files))), sys.stdout)
"""


def without_each(tree: Path, whole: dict[str, Any], files: list[Path]) -> Differences:
    wrong: Differences = {}
    for name in files:
        held = {file: file.read_bytes() for file in (tree / name, tree / LATER / name) if file.exists()}
        for file in held:
            file.unlink()
        try:
            difference = changed(whole, document(tree))
        finally:
            for file, data in held.items():
                file.write_bytes(data)
        if difference:
            wrong[str(name)] = difference
    return wrong


@pytest.mark.real
@pytest.mark.beside
def test_a_recording_replays_to_the_same_snapshot(tmp_path: Path) -> None:
    recorded = record(tmp_path, Config())
    assert document(tmp_path) == recorded


@pytest.mark.real
@pytest.mark.beside
def test_no_missing_file_changes_a_number(tmp_path: Path) -> None:
    whole = record(tmp_path / "tree", Config())
    count, wrong = deletions(tmp_path / "tree", whole, tmp_path / "copy")
    assert count > 100
    assert wrong == {}


@pytest.mark.real
@pytest.mark.beside
def test_without_its_mark_a_recording_is_a_foreign_tree(tmp_path: Path) -> None:
    """What was asked and not read is gone then, and the numbers that were read stay."""
    whole = record(tmp_path, Config())
    (tmp_path / MARK).unlink()
    assert changed(whole, document(tmp_path)) == {}
