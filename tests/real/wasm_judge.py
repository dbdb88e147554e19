"""Wasm processes that say where their memories are, and how far what the agent says of them is from that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, NamedTuple

from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache
from tests.need import TOP, lack

SUBJECT = Path(__file__).with_name("wasm_subject.py")


LOCK = Path(__file__).with_name("runtimes.lock")
LOCKED = [line.partition(" ")[0] for line in LOCK.read_text().splitlines()]


def installed(name: str) -> Path:
    """A directory with this package and nothing else, kept from run to run."""
    place = TOP / ".cache" / name.replace("==", "-")
    if not place.is_dir():
        line = next(line for line in LOCK.read_text().splitlines() if line.startswith(f"{name} "))
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "lock").write_text(line)
            made = f"{directory}/made"
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--target",
                made,
                "-r",
                f"{directory}/lock",
            ]
            if subprocess.run(command, capture_output=True, check=False, timeout=200).returncode:
                lack(name, f"pip install {name}, from an index that has it for this platform")
            place.parent.mkdir(exist_ok=True)
            shutil.move(made, place)
    return place


class Refused(Exception):
    """The engine does not do what was asked."""


class Score(NamedTuple):
    """Memories found that are there, found that are not, and there that are not found; `wrong`: found with another size."""

    hits: int = 0
    false: int = 0
    missed: int = 0
    wrong: int = 0

    def __add__(self, other: object) -> Score:
        assert isinstance(other, Score)
        return Score(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.false) if self.hits + self.false else 1.0

    @property
    def recall(self) -> float:
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else 1.0

    def __str__(self) -> str:
        return f"found {self.hits}, precision {self.precision:.4f}, recall {self.recall:.4f}, sizes wrong {self.wrong}"


PERFECT = (0, 0, 0)


def judge(process: wasm_maps.WasmProcess | None, truth: list[tuple[int, int]]) -> Score:
    found = {memory.base: memory.size_bytes for memory in process.memories} if process else {}
    # A memory of smaller pages than the host's fills its last one in part.
    true = {base: -(-size // PAGESIZE) * PAGESIZE for base, size in truth}
    both = found.keys() & true.keys()
    return Score(len(both), len(found) - len(both), len(true) - len(both), sum(1 for base in both if found[base] != true[base]))


class Subject:
    """A server of processes with memories."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def scores(self, request: dict[str, Any], steps: list[int]) -> list[Score]:
        found = []
        answer = self.ask(json.dumps(request))
        for step in [*steps, None]:
            if "error" in answer:
                raise Refused(answer["error"])
            (process,) = wasm_maps.read(SysRoot(), {answer["pid"]: None}, WasmCache()).processes or (None,)
            found.append(judge(process, [(base, size) for base, size in answer["truth"]]))
            if found[-1].false and process:
                true = {base for base, _ in answer["truth"]}
                print(f"not there: {[memory for memory in process.memories if memory.base not in true]}")
            if step is not None:
                answer = self.ask(str(step))
        self.end()
        return found


@contextmanager
def subject(path: Path | None = None) -> Iterator[Subject]:
    command = [sys.executable, str(SUBJECT)]
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    # What an engine says when it gives up is not for this terminal.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            yield Subject(process)
        finally:
            process.kill()
