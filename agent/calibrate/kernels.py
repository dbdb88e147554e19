"""The measuring programs, as WebAssembly: wasmtime compiles them to machine code, so that the host needs no compiler.

On x86-64, our own machine code follows a chain: WebAssembly adds the memory's base to each loaded address, and an indexed load from L1
takes 5 cycles on Intel's cores, a plain one 4 (1.61 and 1.29 ns; a C program: 1.29 ns on Cascade Lake). On other architectures,
WebAssembly follows the chain, with 64-bit addresses: the code generator extends 32-bit ones before use, which costs a cycle a load on
some cores. The bounds check of a 64-bit memory is not on the critical path of the loads once its speculation mask is off.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Callable
from functools import partial

from wasmtime import Config, Engine, Func, Global, Instance, Memory, Module, Store, WasmtimeError

from agent.calibrate.chunks import NoTime
from agent.calibrate.machine_code import FOLLOW, LOADS, function

LINE_BYTES = 64
PAGE_BYTES = 4096
HUGE_PAGE_BYTES = 2 << 20
_WASM_PAGE = 1 << 16

MULTIPLIES = 16
"""Multiplications in one round of `multiply`. LOADS are the loads in one round of `follow`."""

_AGAIN = "(br_if $again (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))"


def _nested(step: str, start: str, times: int) -> str:
    for _ in range(times):
        start = step.replace("_", start)
    return start


# A chain is a cycle through units of `unit` bytes: the cell of each unit holds the address of the next cell, relative to the start of the
# memory minus `origin`. The cell is at a hashed line of its unit, or all cells would share a set of each cache. `mix` is Sattolo's
# algorithm, upwards and in place. `thread` links `lines` - 1 further lines of each unit after its cell, at distances that a prefetcher does
# not predict. All of them work from `i` up to `to`.
_CHASE = f"""(module
(memory (export "memory") i64 PAGES 65536)
(global $origin (export "origin") (mut i64) (i64.const 0))
(func (export "multiply") (param $n i64) (param $by i64) (result i64) (local $x i64)
  (local.set $x (i64.const 3))
  (loop $again (local.set $x {_nested("(i64.mul _ (local.get $by))", "(local.get $x)", MULTIPLIES)}) {_AGAIN})
  (local.get $x))
(func (export "follow") (param $at i64) (param $n i64) (result i64)
  (loop $again (local.set $at {_nested("(i64.load _)", "(local.get $at)", LOADS)}) {_AGAIN})
  (local.get $at))
(func $hash (param $u i64) (param $unit i64) (result i64)
  (i64.and (i64.shr_u (i64.mul (local.get $u) (i64.const 0x9E3779B97F4A7C15)) (i64.const 40))
    (i64.sub (i64.shr_u (local.get $unit) (i64.const 6)) (i64.const 1))))
(func $cell (param $base i64) (param $u i64) (param $unit i64) (result i64)
  (i64.add (i64.add (local.get $base) (i64.mul (local.get $u) (local.get $unit)))
    (i64.shl (call $hash (local.get $u) (local.get $unit)) (i64.const 6))))
(func (export "cell") (param $base i64) (param $u i64) (param $unit i64) (result i64)
  (call $cell (local.get $base) (local.get $u) (local.get $unit)))
(func (export "fill") (param $base i64) (param $unit i64) (param $i i64) (param $to i64) (local $a i64)
  (loop $again
    (local.set $a (call $cell (local.get $base) (local.get $i) (local.get $unit)))
    (i64.store (local.get $a) (i64.add (local.get $a) (global.get $origin)))
    (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $to)))))
(func (export "mix") (param $base i64) (param $unit i64) (param $i i64) (param $to i64) (param $seed i64) (result i64)
  (local $j i64) (local $a i64) (local $b i64) (local $next i64)
  (loop $again
    (local.set $seed (i64.add (i64.mul (local.get $seed) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
    (local.set $j (i64.rem_u (i64.shr_u (local.get $seed) (i64.const 33)) (local.get $i)))
    (local.set $a (call $cell (local.get $base) (local.get $i) (local.get $unit)))
    (local.set $b (call $cell (local.get $base) (local.get $j) (local.get $unit)))
    (local.set $next (i64.load (local.get $a)))
    (i64.store (local.get $a) (i64.load (local.get $b)))
    (i64.store (local.get $b) (local.get $next))
    (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $to))))
  (local.get $seed))
(func (export "thread") (param $base i64) (param $unit i64) (param $i i64) (param $to i64) (param $lines i64)
  (local $j i64) (local $a i64) (local $b i64) (local $next i64)
  (loop $again
    (local.set $a (call $cell (local.get $base) (local.get $i) (local.get $unit)))
    (local.set $next (i64.load (local.get $a)))
    (local.set $j (i64.const 1))
    (loop $line
      (local.set $b (i64.add (i64.add (local.get $base) (i64.mul (local.get $i) (local.get $unit)))
        (i64.shl (i64.xor (call $hash (local.get $i) (local.get $unit))
          (i64.and (i64.mul (local.get $j) (i64.const 37)) (i64.const 63))) (i64.const 6))))
      (i64.store (local.get $a) (i64.add (local.get $b) (global.get $origin)))
      (local.set $a (local.get $b))
      (br_if $line (i64.lt_u (local.tee $j (i64.add (local.get $j) (i64.const 1))) (local.get $lines))))
    (i64.store (local.get $a) (local.get $next))
    (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $to)))))
(func (export "stream") (param $at i64) (param $n i64) (result i64) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
  (loop $again
    (local.set $a (i64x2.add (local.get $a) (v128.load (local.get $at))))
    (local.set $b (i64x2.add (local.get $b) (v128.load offset=16 (local.get $at))))
    (local.set $c (i64x2.add (local.get $c) (v128.load offset=32 (local.get $at))))
    (local.set $d (i64x2.add (local.get $d) (v128.load offset=48 (local.get $at))))
    (local.set $at (i64.add (local.get $at) (i64.const 64)))
    {_AGAIN})
  (i64x2.extract_lane 0 (i64x2.add (i64x2.add (local.get $a) (local.get $b)) (i64x2.add (local.get $c) (local.get $d))))))"""

_NAMES = ("multiply", "follow", "cell", "fill", "mix", "thread", "stream")
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
_SEED = 88172645463325252
_PIECE = 1 << 15


class Chase:
    """A linear memory of `room_bytes` (a multiple of 2 MiB) and the programs that work on it. No page is touched before `lay`."""

    def __init__(self, room_bytes: int) -> None:
        config = Config()
        config.wasm_memory64 = True
        config.cranelift_flag_set("enable_heap_access_spectre_mitigation", "false")
        engine = Engine(config)
        self._store = Store(engine)
        pages = (room_bytes + HUGE_PAGE_BYTES) // _WASM_PAGE
        instance = Instance(self._store, Module(engine, _CHASE.replace("PAGES", str(pages))), [])
        memory = instance.exports(self._store)["memory"]
        if not isinstance(memory, Memory):
            raise TypeError("memory")
        where = ctypes.addressof(memory.data_ptr(self._store).contents)
        self._base = -where % HUGE_PAGE_BYTES
        self.address = where + self._base
        """The virtual address of the room in this process."""
        self.room_bytes = room_bytes
        self._at = 0
        self._call = {name: exported(self._store, instance, name) for name in _NAMES}
        self._origin = 0
        follow, origin = function(FOLLOW, 2), instance.exports(self._store)["origin"]
        if follow and isinstance(origin, Global):
            self._origin = where
            origin.set_value(self._store, where)
            self._call["follow"] = follow

    def multiply(self, rounds: int) -> None:
        """The multiplier is an argument: with a constant the compiler would fold the steps into one."""
        self._call["multiply"](rounds, _MULTIPLIER)

    def lay(self, count: int, until: float, unit_bytes: int = LINE_BYTES, lines: int = 1) -> None:
        """Lays a random cycle through `count` units, piece by piece. Raises NoTime if it is not complete by `until` (time.monotonic)."""
        self._pieces(until, count, lambda start, end: self._call["fill"](self._base, unit_bytes, start, end))
        seed = _SEED

        def mix(start: int, end: int) -> None:
            nonlocal seed
            seed = self._call["mix"](self._base, unit_bytes, max(1, start), end, seed)

        if count > 1:
            self._pieces(until, count, mix)
        if lines > 1:
            self._pieces(until, count, lambda start, end: self._call["thread"](self._base, unit_bytes, start, end, lines))
        self._at = self._call["cell"](self._base, 0, unit_bytes) + self._origin

    def _pieces(self, until: float, count: int, work: Callable[[int, int], object]) -> None:
        for start in range(0, count, _PIECE):
            if time.monotonic() >= until:
                raise NoTime
            work(start, min(count, start + _PIECE))

    def follow(self, rounds: int) -> None:
        """Follows the chain from where the last call ended."""
        self._at = self._call["follow"](self._at, rounds)

    def warm(self, loads: int, until: float) -> None:
        self._pieces(until, loads, lambda start, end: self.follow(-(-(end - start) // LOADS)))

    def stream(self, size_bytes: int) -> None:
        self._call["stream"](self._base, size_bytes // LINE_BYTES)

    def fresh(self, size_bytes: int, huge: bool) -> None:
        """Frees the pages, so that the next touch allocates small ones, or with `huge` huge ones where the kernel grants them."""
        for advice in (mmap.MADV_DONTNEED, mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE):
            # A kernel without transparent huge pages refuses the advice; the pages stay small.
            _LIBC.madvise(ctypes.c_void_p(self.address), ctypes.c_size_t(size_bytes), advice)


def exported(store: Store, instance: Instance, name: str) -> Callable[..., int]:
    """An exported function of an instance, bound to its store."""
    function = instance.exports(store)[name]
    if not isinstance(function, Func):
        raise TypeError(name)
    return partial(function, store)


_LIBC = ctypes.CDLL(None, use_errno=True)

__all__ = ["LOADS", "Chase", "WasmtimeError", "exported"]
