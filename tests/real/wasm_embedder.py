"""Runs as a program of its own: an embedder with a thread for each store, which publishes as docs/webassembly.md shows, as fast as it can.

Fuel and ticks are made of the rest, so that a reader sees whether all of a statement is of one moment. A line on stdin is a command:
"stop" ends the threads at the end of their calls, "lie" states what is not so.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from typing import Any

import wasmtime

from collectors.wasm_stats import Slot, publish

THREADS = 4
INSTANCES = 16
PAGES = 24
GROW = '(module (memory (export "m") 1 24) (func (export "f") (param i32) (result i32) (memory.grow (local.get 0))))'
stop = threading.Event()


def seal(base: int, size: int, number: int) -> tuple[int, int]:
    """Fuel and ticks that belong to these."""
    fuel = (base * 31 + size * 7 + number) & (1 << 60) - 1
    return fuel, (fuel * 1_000_003 + size) & (1 << 60) - 1


class Guest:
    """An instance with its slot. Of those that churn, the slot is withdrawn before the memory goes."""

    def __init__(self, engine: Any, module: Any, number: int, life: int) -> None:
        self.store = wasmtime.Store(engine)
        exports: Any = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory, self.grow = exports["m"], exports["f"]
        self.number = number
        self.slot: Slot = publish(
            f"guest {number}.{life}", module=f"m{number}.wasm", tenant=f"tenant {number}", store=number, maximum_pages=PAGES
        )
        self.publish()

    def publish(self) -> None:
        base = ctypes.addressof(self.memory.data_ptr(self.store).contents)
        fuel, ticks = seal(base, self.memory.data_len(self.store), self.number)
        self.slot.update(self.memory, self.store, fuel=fuel, epoch_deadline=self.number, epoch_ticks=ticks)

    def end(self) -> None:
        self.slot.withdraw()
        self.store.close()


def work(engine: Any, module: Any, guests: list[Guest], ready: threading.Barrier) -> None:
    ready.wait()
    turn = life = 0
    while not stop.is_set():
        for at, guest in enumerate(guests):
            guest.grow(guest.store, 1 if (turn + at) % 50 == 0 else 0)
            guest.publish()
        turn += 1
        if turn % 1200 == 0:
            life += 1
            guests[0].end()
            guests[0] = Guest(engine, module, guests[0].number, life)


def cost(guest: Guest, rounds: int = 5000) -> float:
    """Microseconds of CPU for one update, the median of some runs."""
    runs = []
    for _ in range(9):
        began = time.thread_time()
        for _ in range(rounds):
            guest.slot.update(guest.memory, guest.store)
        runs.append((time.thread_time() - began) / rounds * 1e6)
    return sorted(runs)[4]


def main() -> None:
    engine = wasmtime.Engine()
    module = wasmtime.Module(engine, GROW)
    every = [[Guest(engine, module, thread * INSTANCES + at, 0) for at in range(INSTANCES)] for thread in range(THREADS)]
    microseconds = cost(every[0][0])
    ready = threading.Barrier(THREADS + 1)
    threads = [threading.Thread(target=work, args=(engine, module, guests, ready)) for guests in every]
    for thread in threads:
        thread.start()
    tids = sorted(thread.native_id or 0 for thread in threads)
    ready.wait()
    print(json.dumps({"pid": os.getpid(), "microseconds": microseconds, "tids": tids}), flush=True)
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    for guest in (one for guests in every for one in guests):
        guest.publish()
    truth = [
        (guest.number, ctypes.addressof(guest.memory.data_ptr(guest.store).contents), guest.memory.data_len(guest.store))
        for guests in every
        for guest in guests
    ]
    print(json.dumps(truth), flush=True)
    sys.stdin.readline()
    liar, loser, *_ = (guests[0] for guests in every)
    liar.slot.tell(ctypes.addressof(liar.memory.data_ptr(liar.store).contents), 1 << 40)
    loser.slot.tell(65536, 65536)
    print(json.dumps([liar.number, loser.number]), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
