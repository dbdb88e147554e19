"""What a sandbox costs in wasmtime: instances, calls into it and out of it, bounds checks, epochs and fuel."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic, perf_counter

from wasmtime import Config, Engine, Func, FuncType, Instance, Linker, Module, Store, WasiConfig

from agent.calibrate.bench import Bench, Findings
from agent.calibrate.chunks import CHUNKS, Spread, sampled, slope, spread
from agent.calibrate.kernels import exported
from agent.model.calibration import Figure

_AGAIN = "(br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))"

_EMPTY = '(module (func (export "nothing")))'

# A descriptor that is not open: the host call fails at once.
_HOST = f"""(module
(import "wasi_snapshot_preview1" "fd_tell" (func $tell (param i32 i32) (result i32)))
(memory (export "memory") 1)
(func (export "run") (param $n i32)
  (loop $again (drop (call $tell (i32.const 1000) (i32.const 0))) {_AGAIN})))"""

_CALLBACK = f"""(module
(import "host" "nothing" (func $nothing))
(func (export "run") (param $n i32)
  (loop $again (call $nothing) {_AGAIN})))"""

# Programs with different costs of checks: bytes hashed in a loop, a sieve of stores, short recursive calls.
_PROGRAMS = {
    "hash": f"""(module (memory 4) (func (export "run") (param $n i32) (result i32) (local $i i32) (local $h i32)
  (loop $again
    (local.set $i (i32.const 0))
    (loop $byte
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.load8_u (local.get $i))) (i32.const 16777619)))
      (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256))))
    {_AGAIN})
  (local.get $h)))""",
    "sieve": f"""(module (memory 4) (func (export "run") (param $n i32) (local $i i32) (local $j i32)
  (loop $again
    (local.set $i (i32.const 2))
    (loop $prime
      (local.set $j (i32.mul (local.get $i) (local.get $i)))
      (loop $multiple
        (i32.store8 (local.get $j) (i32.const 1))
        (br_if $multiple (i32.lt_u (local.tee $j (i32.add (local.get $j) (local.get $i))) (i32.const 4096))))
      (br_if $prime (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
    {_AGAIN})))""",
    "calls": f"""(module (memory 4)
(func $fib (param $n i32) (result i32)
  (if (result i32) (i32.lt_u (local.get $n) (i32.const 2)) (then (local.get $n)) (else
    (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1))) (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
(func (export "run") (param $n i32)
  (loop $again (drop (call $fib (i32.const 10))) {_AGAIN})))""",
}


def edges(bench: Bench) -> Findings:
    """Costs of instances, entries and host calls. Instances and entries include Python's own cost; the native host call does not."""
    engine = Engine()
    module = Module(engine, _EMPTY)

    def instantiate() -> None:
        Instance(Store(engine), module, [])

    store = Store(engine)
    nothing = exported(store, Instance(store, module, []), "nothing")
    return Findings(
        (
            sampled(instantiate, bench.until, 200).figure("instantiate_through_python"),
            sampled(nothing, bench.until, 200).figure("entry_through_python"),
            _native_call(bench, engine).figure("host_call_native"),
            _python_call(bench, engine).figure("host_call_python"),
        )
    )


def _native_call(bench: Bench, engine: Engine) -> Spread:
    store, linker = Store(engine), Linker(engine)
    linker.define_wasi()
    store.set_wasi(WasiConfig())
    return slope(exported(store, linker.instantiate(store, Module(engine, _HOST)), "run"), bench.until)


def _python_call(bench: Bench, engine: Engine) -> Spread:
    store = Store(engine)
    called = Func(store, FuncType([], []), lambda: None)
    return slope(exported(store, Instance(store, Module(engine, _CALLBACK), [called]), "run"), bench.until)


def code(bench: Bench) -> Findings:
    """How much slower programs run with bounds checks, epochs and fuel, compared with none: geometric mean, lowest, highest."""
    ratios: dict[str, list[float]] = {name: [] for name in CONFIGURATIONS}
    fewest = CHUNKS
    for text in _PROGRAMS.values():
        runs = {name: program(text, name) for name in ("plain", *CONFIGURATIONS)}
        # One round takes a few microseconds at most: with this many rounds the cost of the entry does not matter.
        rounds = max(8, int(0.4e-3 / slope(runs["plain"], bench.until, 12).point))
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        # The configurations alternate, so that a disturbance affects all of them.
        for _ in range(CHUNKS):
            for name, run in runs.items():
                if monotonic() >= bench.until:
                    break
                began = perf_counter()
                run(rounds)
                seconds[name].append(perf_counter() - began)
        plain = spread(seconds["plain"])
        fewest = min(fewest, plain.chunks)
        for name, of_configuration in ratios.items():
            of_configuration.append(spread(seconds[name]).point / plain.point)
    return Findings(tuple(_extra(name, of_configuration, fewest) for name, of_configuration in ratios.items()))


def _extra(name: str, ratios: list[float], chunks: int) -> Figure:
    mean = math.prod(ratios) ** (1 / len(ratios))
    point, low, high = (max(0.0, ratio - 1) for ratio in (mean, min(ratios), max(ratios)))
    return Figure(name=name, unit="ratio", value=point, lo=low, hi=high, chunks=chunks)


def _checked(config: Config) -> None:
    """Without reserved addresses behind the memory, wasmtime checks bounds by instructions."""
    config.memory_reservation = 0
    config.memory_guard_size = 0


def _epochs(config: Config) -> None:
    config.epoch_interruption = True


def _fuel(config: Config) -> None:
    config.consume_fuel = True


CONFIGURATIONS: dict[str, Callable[[Config], None]] = {"checked_bounds": _checked, "epochs": _epochs, "fuel": _fuel}


def program(text: str, configuration: str) -> Callable[[int], object]:
    """The function "run" of a module, compiled as plain code or in one of `CONFIGURATIONS`."""
    config = Config()
    if configuration in CONFIGURATIONS:
        CONFIGURATIONS[configuration](config)
    engine = Engine(config)
    store = Store(engine)
    if configuration == "epochs":
        store.set_epoch_deadline(1 << 30)
    if configuration == "fuel":
        store.set_fuel((1 << 63) - 1)
    return exported(store, Instance(store, Module(engine, text), []), "run")
