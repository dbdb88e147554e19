"""Faults planted in copies of this tree, one at a time, to see whether tests/unit and tests/hosts find them.

`make mutants`, or with ARGS="COUNT SEED". Half of the mutants exchange two fields of one type of a record, the others change an operator.
Each runs the tests that reach its function, the fastest first, until one fails. Who survives is printed as a difference, to be judged.
"""

from __future__ import annotations

import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from pathlib import Path

from tests.laws.source import files, modules
from tests.mutants.faults import Mutant, mutants
from tests.mutants.reach import tests_by_place
from tests.need import TOP

ROOMS = ("agent/normalise", "collectors/cgroup", "exporters/metrics")
KINDS = ("swap", "operator")
TESTS = ("tests/unit", "tests/hosts")
OPTIONS = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--hypothesis-profile=check", "--tb=no")
LIMIT_SECONDS = 600
# Of each mutant's file another time: compiled modules are told apart by it, and by their size.
STAMPS = count(1)


def copied(into: Path) -> Path:
    for name in files():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, into / name)
    return into


def killer(tree: Path, mutant: Mutant, tests: list[str]) -> str:
    """The first test that fails, or that they did not end; "" when all of them pass."""
    (tree / mutant.path).write_bytes(mutant.text)
    os.utime(tree / mutant.path, (stamp := next(STAMPS), stamp))
    (tree / "tests.txt").write_text("\n".join(tests))
    command = [sys.executable, "-m", "pytest", "-x", *OPTIONS, "@tests.txt"]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "no end"
    finally:
        shutil.copy2(TOP / mutant.path, tree / mutant.path)
    return next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")


def main(number: int, seed: int) -> None:
    print(f"{number} mutants, drawn by seed {seed}", flush=True)
    began, chance, every = time.monotonic(), random.Random(seed), list(mutants(*ROOMS))
    drawn: list[Mutant] = []
    for kind, room in product(KINDS, ROOMS):
        pool = [mutant for mutant in every if mutant.kind == kind and mutant.path.startswith(room)]
        drawn += chance.sample(pool, min(len(pool), number // len(KINDS) // len(ROOMS)))
    outcomes: Counter[tuple[str, bool]] = Counter()
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(len(TESTS)) as workers:
        tests = tests_by_place([copied(Path(top, tests)) for tests in TESTS], TESTS, modules(*ROOMS), OPTIONS)
        trees = [copied(Path(top, tests)) for tests in TESTS]

        def judged(mutant: Mutant) -> str:
            tree = trees.pop()
            try:
                return killer(tree, mutant, tests[mutant.place]) if tests.get(mutant.place) else ""
            finally:
                trees.append(tree)

        for mutant, by in zip(drawn, workers.map(judged, drawn), strict=True):
            outcomes[mutant.kind, bool(by)] += 1
            print(f"{mutant.kind} {mutant.place}: {by or f'SURVIVED {len(tests.get(mutant.place, ()))} tests'}", flush=True)
            if not by:
                before, after = (text.decode().splitlines() for text in ((TOP / mutant.path).read_bytes(), mutant.text))
                print(*difflib.unified_diff(before, after, mutant.path, mutant.path, lineterm="", n=2), sep="\n", flush=True)
    for kind in KINDS:
        print(f"{kind}: {outcomes[kind, True]} of {outcomes[kind, True] + outcomes[kind, False]} killed")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*given, *(216, random.randrange(1 << 30))[len(given) :])
