"""The matrix on control groups v2: in a full guest, whose CPUs are emulated. Containers and sandboxes; for machines there is no KVM."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.guest import parts
from tests.lab import full, full_image
from tests.lab.loads.generator import compiled
from tests.need import TOP

JOB = """set -eu
PYTHONPATH=/lab/site:/lab python3 -m tests.validation.matrix --no-machines --program /lab/load --keep /out/passes {words}
"""
START_SECONDS = 600
_SLOWER = 1.5
"""Passes and starts of loads take longer where they are emulated."""


def main(words: Sequence[str], seconds: float, keep: Path | None) -> int:
    """The matrix with these arguments, of which the windows take so many seconds; its passes come to `keep`."""
    with tempfile.TemporaryDirectory(prefix="stratascope-matrix-") as directory:
        place = Path(directory)
        site = full_image.site(place)
        shutil.unpack_archive(full_image.wheel("wasmtime"), site, "zip")
        files = {"site": site, "load": compiled(place)} | {name: TOP / name for name in parts()}
        limit = START_SECONDS + seconds * _SLOWER
        result = full.run(JOB.format(words=" ".join(words)), files, place, limit_seconds=limit, shape=full.CROWD)
        print(result.log)
        if result.code:
            print(f"matrix: the guest's job ended with {result.code}", file=sys.stderr)
        elif keep is not None:
            shutil.copy(result.out / "passes", keep)
        return result.code
