"""Commands that judge so many broken hosts, each made by a seed, in several processes."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

SHOWN = 3
"""Faults of one seed that are printed."""


def main(module: str, description: str | None, judge: Callable[[int], list[str]], what: str, fault: str) -> int:
    """Prints the faults that `judge` finds for each seed, and how many seeds have some: '200 <what> from seed 0 in 9 s: 1 <fault>'."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help=f"how many {what}")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the others follow (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a CPU)")
    parsed = parser.parse_args()
    began, failed = time.monotonic(), 0
    with ProcessPoolExecutor(parsed.jobs) as pool:
        for faults in pool.map(judge, range(parsed.seed, parsed.seed + parsed.count), chunksize=20):
            failed += bool(faults)
            for line in faults[:SHOWN]:
                print(line[:800], flush=True)
    print(f"{parsed.count} {what} from seed {parsed.seed} in {time.monotonic() - began:.0f} s: {failed} {fault}")
    return int(failed > 0)
