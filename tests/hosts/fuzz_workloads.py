"""Breaks recorded hosts with workloads, ten files a pass, and holds document and metrics against the laws of every number.

python -m tests.hosts.fuzz_workloads 10000          so many passes of ten mutations; each failure prints the seed that makes it again
python -m tests.hosts.fuzz_workloads 1 --seed 4711  that one
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import MARK
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import json as document
from tests.hosts import fuzz, seeds
from tests.hosts.isolation import KINDS, broken
from tests.hosts.memory_root import Files, MemoryTree
from tests.hosts.owned import HOSTS, Replay, trees

MUTATIONS = 10
PASS_SECONDS = 2.0
LARGEST = (1 << 63) - 1
# Of the machine's own mutations those that take whole directories away would leave nothing to break.
OF_THE_MACHINE = tuple(mutation for mutation in fuzz.MUTATIONS if mutation not in (fuzz.directory_gone, fuzz.alike_everywhere))


def mutated(seed: int) -> tuple[str, list[str], Replay]:
    """The host that a seed stands for: which one it was, what was done to it, and both of its passes."""
    chance = random.Random(seed)
    name = chance.choice(HOSTS)
    passes: list[Files] = [dict(tree.files) for tree in trees(name)]
    done = []
    for _ in range(MUTATIONS):
        files = chance.choice(passes)
        if chance.random() < 0.2:
            mutation = chance.choice(OF_THE_MACHINE)
            mutation(chance, files)
            done.append(mutation.__name__)
            continue
        path = chance.choice(sorted(path for path in files if path[-1] != "/" and path != MARK))
        kind = chance.choice(KINDS)
        content = files[path]
        files[path] = broken(chance, kind, content if isinstance(content, bytes) else b"")
        done.append(f"{kind} {path}")
    first, second = map(MemoryTree, passes)
    return name, done, Replay(first, second)


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of a document, with its place."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from numbers(part, f"{path}.{key}")


def wrong(found: dict[str, Any], text: str) -> Iterator[str]:
    """What breaks a law, in a document and in the metrics of the same pass."""
    yield from (f"a reader fell: {gap['source']}: {gap['detail']}" for gap in found["gaps"] if fuzz.FELL.search(gap["detail"]))
    yield from (f"beyond 2^63: {place} {number}" for place, number in numbers(found) if _is_beyond(number))
    lines = text.removesuffix("\n").split("\n")
    kinds = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    samples = [line.rpartition(" ")[::2] for line in lines if line[0] != "#"]
    yield from (f"twice: {series}" for series, count in Counter(series for series, _ in samples).items() if count > 1)
    for series, value in samples:
        if kinds[series.partition("{")[0]] == "counter" and not float(value) >= 0:
            yield f"a negative counter: {series} {value}"
        if _is_beyond(int(value) if value.lstrip("-").isdecimal() else float(value)):
            yield f"beyond 2^63: {series} {value}"


def _is_beyond(number: float) -> bool:
    """As a float, the largest integer is 2^63 itself."""
    return LARGEST + isinstance(number, float) < abs(number) < float("inf")


def judge(seed: int) -> list[str]:
    name, done, root = mutated(seed)
    began = time.process_time()
    try:
        snapshot = take_snapshot(Session(root=root, config=Config(root="memory")))
        faults = list(wrong(json.loads(document.render(snapshot)), exposition(snapshot, Run(), TextCache()).decode()))
    except Exception as error:
        faults = [f"{type(error).__name__}: {error}"]
    took = time.process_time() - began
    if took > PASS_SECONDS:
        faults.append(f"took {took:.1f} s")
    return [f"seed {seed} ({name}): {fault}\n  {'; '.join(done)}" for fault in faults]


if __name__ == "__main__":
    sys.exit(seeds.main("tests.hosts.fuzz_workloads", __doc__, judge, "passes of ten mutations", "break a law"))
