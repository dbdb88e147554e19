"""What it costs to find linear memories, beside the bare cost of the kernel's files."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache

SUBJECT = Path(__file__).parents[1] / "real" / "wasm_subject.py"


def cpu_ms(work: Callable[[], object], runs: int) -> float:
    """Median CPU time of this thread: a busy machine adds nothing to it."""
    times = []
    for _ in range(runs):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1e3


def found_anew(root: SysRoot, pid: int) -> None:
    wasm_maps.read(root, {pid: 1.0}, WasmCache())


@contextmanager
def memories(request: dict[str, object]) -> Iterator[int]:
    command = [sys.executable, str(SUBJECT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            yield json.loads(process.stdout.readline())["pid"]
        finally:
            process.kill()


def bare(pid: int) -> None:
    for name in ("maps", "numa_maps"):
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
        while os.read(fd, 1 << 20):
            pass
        os.close(fd)


def main(runs: int = 51) -> None:
    root = SysRoot()
    print(f"\n{'linear memories, CPU ms':34} {'bare files':>11} {'found':>8} {'ratio':>6}")
    requests: dict[str, dict[str, object]] = {
        "50 memories": {"memories": [{"count": 50}]},
        "a pool of 1,000 slots": {"engines": [{"pool": {}}], "memories": [{"count": 50}]},
    }
    for name, request in requests.items():
        with memories(request) as pid:
            (process,) = wasm_maps.read(root, {pid: None}, WasmCache()).processes
            assert len(process.memories) == 50
            cache = WasmCache()
            wasm_maps.read(root, {pid: 1.0}, cache)
            floor, found = cpu_ms(partial(bare, pid), runs), cpu_ms(partial(found_anew, root, pid), runs)
            again = cpu_ms(partial(wasm_maps.read, root, {pid: 1.0}, cache), runs)
        print(f"{name:34} {floor:11.2f} {found:8.2f} {found / floor:6.1f}")
        print(f"{'  once more, its map unchanged':34} {floor:11.2f} {again:8.2f} {again / floor:6.1f}")
    with idle(500) as pids:
        started = dict.fromkeys(pids, 1.0)
        cache = WasmCache()
        wasm_maps.read(root, started, cache)
        once = cpu_ms(lambda: wasm_maps.read(root, started, WasmCache()), 5)
        again = cpu_ms(lambda: wasm_maps.read(root, started, cache), 21)
    print(f"{'500 processes without, all new':34} {'':11} {once:8.2f}")
    print(f"{'500 processes without, unchanged':34} {'':11} {again:8.2f}")


@contextmanager
def idle(count: int) -> Iterator[list[int]]:
    """Processes that wait, as small as a fork makes them."""
    reader, writer = os.pipe()
    pids = []
    try:
        for _ in range(count):
            if (pid := os.fork()) == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            pids.append(pid)
        yield pids
    finally:
        os.close(writer)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(reader)
