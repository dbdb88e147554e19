"""Outputs that the documents show are what the agent prints of a recorded host.

<!-- sample: agent VERB ... --root NAME --> stands before the block; a line of three dots stands for any lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.trees import unpack
from tests.need import TOP

SAMPLES = [
    pytest.param(command, block, id=f"{path.name} {command}")
    for path in (TOP / "README.md", *sorted((TOP / "docs").glob("*.md")))
    for command, block in re.findall(r"^<!-- sample: agent (.*) -->\n```\w*\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(("command", "block"), SAMPLES)
def test_sample_is_what_the_agent_prints(command: str, block: str, tmp_path: Path) -> None:
    arguments = command.split()
    tree = arguments.index("--root") + 1
    arguments[tree] = str(unpack(arguments[tree], tmp_path))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    printed = subprocess.run(
        [sys.executable, "-m", "agent", *arguments], cwd=TOP, capture_output=True, text=True, check=True, timeout=60, env=environment
    ).stdout
    first, *others = re.split(r"^\.\.\.\n", block, flags=re.MULTILINE)
    assert printed.startswith(first) if others else printed == block
    position = len(first)
    for part in others:
        position = f"\n{printed}".find(f"\n{part}", position)
        assert position >= 0, f"not printed, or not in this order:\n{part}"
        position += len(part)


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 2
