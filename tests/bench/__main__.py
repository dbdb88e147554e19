"""`make bench`: whole processes beside their peers on this host, in turn, so that a drifting machine meets all of them alike."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from tests.bench import records
from tests.need import TOP, which

COMMANDS = {
    "agent snapshot": [sys.executable, "-m", "agent", "snapshot", "--interval", "0"],
    "lstopo-no-graphics --of xml": ["lstopo-no-graphics", "--of", "xml"],
    "lscpu -J": ["lscpu", "-J"],
    "numactl -H": ["numactl", "-H"],
    "python -c pass (the floor)": [sys.executable, "-c", "pass"],
}


def wall_and_cpu_ms(command: list[str]) -> tuple[float, float]:
    """One run of a whole process: wall time, and CPU time of it and its children."""
    before = os.times()
    began = time.perf_counter()
    subprocess.run(command, cwd=TOP, stdout=subprocess.DEVNULL, check=True, timeout=60)
    wall = time.perf_counter() - began
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1e3, cpu * 1e3


def snapshot(runs: int) -> None:
    found = {name: [which(command[0]) or command[0], *command[1:]] for name, command in COMMANDS.items() if which(command[0])}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for command in found.values():
        wall_and_cpu_ms(command)
    for number in range(runs):
        for name, command in found.items():
            times[name].append(wall_and_cpu_ms(command))
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{runs}", end="", file=sys.stderr)
    own = statistics.median(wall for wall, _ in times["agent snapshot"])
    title = f"whole process, {runs} runs in turn"
    print(f"\n{title:34} {'wall ms: min':>13} {'median':>8} {'max':>8} {'cpu ms':>8} {'agent/it':>9}")
    for name, measured in times.items():
        walls = [wall for wall, _ in measured]
        middle = statistics.median(walls)
        cpu = statistics.median(cpu for _, cpu in measured)
        print(f"{name:34} {min(walls):13.1f} {middle:8.1f} {max(walls):8.1f} {cpu:8.1f} {own / middle:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="runs of each command (default 21)")
    parsed = parser.parse_args()
    snapshot(parsed.runs)
    records.main()


if __name__ == "__main__":
    main()
