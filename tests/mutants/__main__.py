"""Faults planted in copies of this tree, one at a time, to see whether tests/unit and tests/hosts find them.

`make mutants`, or with ARGS="COUNT SEED". Half of the mutants exchange two fields of one type of a record, the others change an operator.
Each runs the tests that reach its function, the fastest first, until one fails. Who survives is printed as a difference, to be judged.
"""

from __future__ import annotations

import difflib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.laws.source import files
from tests.mutants.faults import Mutant, mutants
from tests.need import TOP

ROOMS = ("agent/normalise", "collectors/cgroup", "exporters/metrics")
KINDS = ("swap", "operator")
TESTS = ("tests/unit", "tests/hosts")
OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--hypothesis-profile=check", "--tb=no")
LIMIT_SECONDS = 600


def copied(into: Path) -> Path:
    for name in files():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, into / name)
    return into


def reached(trees: list[Path]) -> dict[str, list[str]]:
    """The tests that reach each place, the fastest first; those that fail as it is are left out, and named."""
    command = (sys.executable, "-m", "tests.mutants.reach")
    runs = [subprocess.Popen([*command, "reach", ",".join(ROOMS), tests], cwd=tree) for tree, tests in zip(trees, TESTS, strict=True)]
    tests: dict[str, list[str]] = defaultdict(list)
    for run, tree in zip(runs, trees, strict=True):
        run.wait()
        found = json.loads((tree / "reach").read_text())
        print(f"fails as it is: {found['failed']}" if found["failed"] else "", end="")
        for place, names in found["tests"].items():
            tests[place] += names
    return tests


def killer(tree: Path, mutant: Mutant, tests: list[str]) -> str:
    """The first test that fails, or that they did not end; "" when all of them pass."""
    (tree / mutant.path).write_bytes(mutant.text)
    (tree / "tests.txt").write_text("\n".join(tests))
    command = [sys.executable, "-B", "-m", "pytest", *OPTIONS, "@tests.txt"]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "no end"
    finally:
        shutil.copy(TOP / mutant.path, tree / mutant.path)
    return next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")


def main(count: int, seed: int) -> None:
    print(f"{count} mutants, drawn by seed {seed}", flush=True)
    began, chance, every = time.monotonic(), random.Random(seed), list(mutants(*ROOMS))
    drawn: list[Mutant] = []
    for kind in KINDS:
        for room in ROOMS:
            pool = [mutant for mutant in every if mutant.kind == kind and mutant.path.startswith(room)]
            drawn += chance.sample(pool, min(len(pool), count // len(KINDS) // len(ROOMS)))
    outcomes: Counter[tuple[str, bool]] = Counter()
    with tempfile.TemporaryDirectory() as top, ThreadPoolExecutor(len(TESTS)) as workers:
        trees = [copied(Path(top, str(number))) for number in range(len(TESTS))]
        tests = reached(trees)

        def judged(mutant: Mutant) -> str:
            tree = trees.pop()
            try:
                return killer(tree, mutant, tests[mutant.place]) if tests.get(mutant.place) else ""
            finally:
                trees.append(tree)

        for number, (mutant, by) in enumerate(zip(drawn, workers.map(judged, drawn), strict=True), 1):
            outcomes[mutant.kind, bool(by)] += 1
            print(f"{number} {mutant.kind} {mutant.place}: {by or f'SURVIVED {len(tests.get(mutant.place, ()))} tests'}", flush=True)
            if not by:
                before, after = ((text.decode().splitlines()) for text in ((TOP / mutant.path).read_bytes(), mutant.text))
                print("\n".join(difflib.unified_diff(before, after, mutant.path, mutant.path, lineterm="", n=2)), flush=True)
    for kind in KINDS:
        print(f"{kind}: {outcomes[kind, True]} of {outcomes[kind, True] + outcomes[kind, False]} killed")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    count, seed, *_ = *map(int, sys.argv[1:]), *(216, random.randrange(1 << 30))[len(sys.argv) - 1 :]
    main(count, seed)
