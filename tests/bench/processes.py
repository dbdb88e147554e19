"""Whole processes in turn, so that a drifting machine meets all of them alike."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

from tests.need import TOP, which


def wall_and_cpu_ms(command: list[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """One run of a whole process: wall time, and CPU time of it and its children."""
    before = os.times()
    began = time.perf_counter()
    subprocess.run(command, cwd=TOP, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    wall = time.perf_counter() - began
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1e3, cpu * 1e3


def compare(title: str, commands: Mapping[str, list[str]], runs: int, **variables: str) -> None:
    """A table of those commands that are there, and how much longer the first one takes than each."""
    environment = {**os.environ, **variables}
    found = {name: [which(command[0]) or command[0], *command[1:]] for name, command in commands.items() if which(command[0])}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for command in found.values():
        wall_and_cpu_ms(command, environment)
    for number in range(runs):
        for name, command in found.items():
            times[name].append(wall_and_cpu_ms(command, environment))
        if sys.stderr.isatty():
            print(f"\r{number + 1}/{runs}", end="", file=sys.stderr)
    own = statistics.median(wall for wall, _ in next(iter(times.values())))
    print(f"\n{f'{title}, {runs} runs in turn':34} {'wall ms: min':>13} {'median':>8} {'max':>8} {'cpu ms':>8} {'agent/it':>9}")
    for name, measured in times.items():
        walls = [wall for wall, _ in measured]
        middle = statistics.median(walls)
        cpu = statistics.median(cpu for _, cpu in measured)
        print(f"{name:34} {min(walls):13.1f} {middle:8.1f} {max(walls):8.1f} {cpu:8.1f} {own / middle:9.2f}")
