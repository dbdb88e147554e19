"""A program of its own: WebAssembly guests of wasmtime that work and sleep in turn, for ever.

`python sandbox.py KIND COUNT ON_US OFF_US JITTER SEED`: as the C program beside this has it, for "spin", "stream", "chase" and "sleep".
Each of COUNT threads has a store and an instance of its own. It ends with its parent.
"""

from __future__ import annotations

import ctypes
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

import wasmtime

MODULE = """(module (memory 520)
  (func (export "spin") (param $n i32) (result i32) (local $x i32)
    (local.set $x (i32.const 88172645))
    (loop
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    local.get $x)
  (global $place (mut i32) (i32.const 0))
  (func (export "stream") (param $n i32) (result i32) (local $p i32)
    (local.set $p (global.get $place))
    (loop
      (i64.store (local.get $p) (i64.add (i64.load (local.get $p)) (i64.const 1)))
      (local.set $p (i32.and (i32.add (local.get $p) (i32.const 8)) (i32.const 0x1ffffff)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.set $place (local.get $p))
    local.get $p)
  (func (export "chase") (param $n i32) (result i32) (local $p i32)
    (local.set $p (global.get $place))
    (loop
      (local.set $p (i32.and (i32.const 0x1ffffc0) (i32.add (i32.load (local.get $p))
        (i32.add (i32.const 1013904192) (i32.mul (local.get $p) (i32.const 1664525))))))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.set $place (local.get $p))
    local.get $p))"""

# Some twenty microseconds of each.
ROUNDS = {"spin": 10_000, "stream": 10_000, "chase": 200}

_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29


def instance(kind: str) -> Callable[[], object]:
    """One piece of work."""
    store = wasmtime.Store(wasmtime.Engine())
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, MODULE), []).exports(store)
    function = exports[kind]
    assert isinstance(function, wasmtime.Func)
    rounds = ROUNDS[kind]
    return lambda: function(store, rounds)


def run(piece: Callable[[], object], times: tuple[float, float, float], dice: random.Random) -> None:
    on, off, jitter = times
    while True:
        end = time.thread_time() + on * dice.uniform(1 - jitter, 1 + jitter)
        while time.thread_time() < end:
            piece()
        if off:
            time.sleep(off * dice.uniform(1 - jitter, 1 + jitter))


def main(kind: str, count: int, on_us: int, off_us: int, jitter: int, seed: int) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    pieces = [instance("spin" if kind == "sleep" else kind) for _ in range(count)]
    print("ready", flush=True)
    if kind == "sleep":
        signal.pause()
    times = on_us * 1e-6, off_us * 1e-6, jitter * 1e-3
    for number, piece in enumerate(pieces[1:], 1):
        threading.Thread(target=run, args=(piece, times, random.Random(seed + number)), daemon=True).start()
    run(pieces[0], times, random.Random(seed))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
