"""The containers' bench on control groups v2: `python -m tests.bench.guest`.

In a full guest, whose CPUs are emulated, so that only its ratios say something: both sides are slower by about as much.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.bench.containers import compiled
from tests.lab import full, full_image
from tests.need import TOP

JOB = """set -eu
ulimit -n 65536
PYTHONPATH=/lab/site:/lab python3 -m tests.bench.containers /lab/floor 3 1
"""
LIMIT_SECONDS = 1500  # ten minutes are usual


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        floor = compiled(place)
        if floor is None:
            print("the guest's containers: needs gcc", file=sys.stderr)
            return
        files = {"site": full_image.site(place), "floor": floor} | {name: TOP / name for name in parts()}
        result = full.run(JOB, files, place, limit_seconds=LIMIT_SECONDS, shape=full.CROWD)
        print(result.log)
        if result.code:
            sys.exit(f"the guest's job ended with {result.code}")


def parts() -> list[str]:
    """The tests' own modules that run in the guest."""
    return [str(path.relative_to(TOP)) for path in sorted((TOP / "tests").glob("**/*.py")) if "__pycache__" not in path.parts]


if __name__ == "__main__":
    main()
