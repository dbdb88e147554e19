"""Outputs that the documents show are what the agent prints of a recorded host; `pytest --update-golden` writes them anew.

A comment stands before each block:

<!-- sample: agent VERB ... --root TREE; lines 1-22, 46-49 -->   these lines of the output (all, where none are named), "..." between them
<!-- part of: tests/trees/TREE.json -->                          a part of this document; of another file, some of its lines
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.trees import unpack
from tests.need import TOP

DOCUMENTS = (TOP / "README.md", *sorted((TOP / "docs").glob("*.md")))
SAMPLE = re.compile(r"(<!-- sample: agent ([^;\n]*)(?:; lines ([\d, -]+))? -->\n```\n)(.*?)^```$", re.MULTILINE | re.DOTALL)
PART = re.compile(r"^<!-- part of: (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SAMPLES = [
    pytest.param(path, *match.groups(), id=f"{path.name} {match[2]}") for path in DOCUMENTS for match in SAMPLE.finditer(path.read_text())
]
PARTS = [pytest.param(*match.groups(), id=f"{path.name} {match[1]}") for path in DOCUMENTS for match in PART.finditer(path.read_text())]


@pytest.mark.parametrize(("document", "head", "command", "ranges", "block"), SAMPLES)
def test_sample_is_what_the_agent_prints(
    document: Path, head: str, command: str, ranges: str | None, block: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected = chosen(printed(command.split(), tmp_path / "tree"), ranges)
    if request.config.getoption("--update-golden"):
        document.write_text(document.read_text().replace(head + block, head + expected))
    else:
        assert block.splitlines() == expected.splitlines()


@pytest.mark.parametrize(("name", "block"), PARTS)
def test_part_is_in_the_document(name: str, block: str) -> None:
    document = (TOP / name).read_text()
    if name.endswith(".json"):
        assert missing(json.loads(block), json.loads(document), "") == []
    else:
        assert [line for line in block.splitlines() if line not in document.splitlines()] == []


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 6
    assert len(PARTS) >= 1


def printed(arguments: list[str], into: Path) -> list[str]:
    """The lines that a verb prints of a tree, which is named after --root."""
    tree = arguments.index("--root") + 1
    arguments[tree] = str(unpack(arguments[tree], into))
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    ).stdout.splitlines(keepends=True)


def chosen(lines: list[str], ranges: str | None) -> str:
    """The lines "1-22, 46-49", from 1 on, and what is left out as three dots; all lines where there are no ranges."""
    if ranges is None:
        return "".join(lines)
    parts = [tuple(map(int, part.split("-"))) for part in ranges.split(", ")]
    end = "" if parts[-1][1] >= len(lines) else "...\n"
    return "...\n".join("".join(lines[first - 1 : last]) for first, last in parts) + end


def missing(part: Any, whole: Any, path: str) -> list[str]:
    """Paths of what a part has, and the document has not.

    An item of a list may be a part of any item there. Fractions may be rounded, and a text may end early, with "…".
    """
    match part, whole:
        case dict(), dict():
            return [at for name, value in part.items() for at in missing(value, whole.get(name), f"{path}.{name}")]
        case list(), list():
            return [f"{path}[{at}]" for at, item in enumerate(part) if all(missing(item, other, path) for other in whole)]
        case float(), float():
            return [] if math.isclose(part, whole, rel_tol=0.01) else [path]
        case str(), str() if part.endswith("…"):
            return [] if whole.startswith(part[:-1]) else [path]
        case _:
            return [] if part == whole else [path]
