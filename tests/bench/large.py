"""A machine of 256 CPUs, made for it: whole processes beside hwloc's, and a pass of the service with and without what it knows."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agent.collect.caches import Caches
from agent.collect.static_facts import Statics
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from collectors.root import SysRoot
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.bench.processes import compare
from tests.hosts.machine import Machine


def grow(into: Path) -> Path:
    for path, content in Machine(packages=2, dies=4, cores=16, nodes=8).files().items():
        place = into / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
    return into


def milliseconds(work: Callable[[], object], runs: int) -> float:
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


def passes(tree: Path, runs: int) -> None:
    """What a scrape costs the service: a pass over all sources, the model, the text."""
    root, config = SysRoot(tree), Config(root=str(tree))
    statics = take(root, config, Caches()).statics

    def scrape(known: Statics | None) -> bytes:
        sample = take(root, config, Caches(statics=known))
        return exposition(snapshot_of(Window(after=normalise(sample)), 0.0), Run(seconds=sample.seconds), TextCache())

    cold, warm = milliseconds(lambda: scrape(None), runs), milliseconds(lambda: scrape(statics), runs)
    print(f"\n{f'a scrape of 256 CPUs, {runs} of each':34} {'median ms':>13}")
    print(f"{'all is read':34} {cold:13.1f}")
    print(f"{'static facts are known':34} {warm:13.1f}")
    print(f"{'all / known':34} {cold / warm:13.1f}")


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = grow(Path(name))
        agent = [sys.executable, "-m", "agent"]
        commands = {
            "agent snapshot --root": [*agent, "snapshot", "--interval", "0", "--root", str(tree)],
            "lstopo-no-graphics --of xml": ["lstopo-no-graphics", "--of", "xml"],
        }
        compare("a tree of 256 CPUs", commands, runs, HWLOC_FSROOT=str(tree), HWLOC_COMPONENTS="linux,stop")
        passes(tree, runs)
