"""Code and switches, beside C that is compiled here: what generated code, its checks and interruptions cost, what a switch costs."""

from __future__ import annotations

import ctypes
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.calibrate.sandboxes import CONFIGURATIONS, program
from agent.model.snapshot import Param
from agent.overhead import parameters as p
from agent.overhead.bands import band
from agent.overhead.parameter_set import Parameters
from agent.overhead.wasm import execution_factor
from tests.need import need
from tests.real.experiments.kernels import KERNELS
from tests.real.experiments.rows import Row

CHUNK_SECONDS = 1e-3
CHUNKS = 30
NONE = Param(name="nothing", unit="ratio", lo=0.0, mode=0.0, hi=0.0, source="switched off")

# No vectors: the sandbox's programs have none.
FLAGS = ("-O2", "-fno-tree-vectorize", "-shared", "-fPIC")


def compiled(directory: Path) -> ctypes.CDLL:
    need("gcc")
    text = "#include <stdint.h>\nstatic _Alignas(64) uint8_t memory[1 << 18];\n"
    for number, one in enumerate(KERNELS):
        text += f"{one.helpers}\nuint32_t kernel{number}(uint32_t n) {{ {one.c} }}\n"
    (directory / "kernels.c").write_text(text)
    subprocess.run(["gcc", *FLAGS, "-o", str(directory / "kernels.so"), str(directory / "kernels.c")], check=True, timeout=60)
    return ctypes.CDLL(str(directory / "kernels.so"))


def tenth(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]


def in_turns(runs: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, the tenth percentile, in turn: what disturbs one disturbs all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(CHUNKS):
        for name, run in runs.items():
            began = time.perf_counter()
            run(rounds)
            seconds[name].append(time.perf_counter() - began)
    return {name: tenth(found) for name, found in seconds.items()}


def code(given: Parameters, directory: Path) -> Iterator[Row]:
    """Each kernel's time over the same in C; then what each way to check or interrupt adds, in the mean over the kernels."""
    native = compiled(directory)
    predicted = band(execution_factor, given[p.CODE], given[p.GUARDED_BOUNDS], NONE)
    extra: dict[str, list[float]] = {name: [] for name in CONFIGURATIONS}
    for number, one in enumerate(KERNELS):
        c = getattr(native, f"kernel{number}")
        c.restype = ctypes.c_uint32
        runs: dict[str, Callable[[int], object]] = {"C": c, **{name: program(one.wat, name) for name in ("plain", *CONFIGURATIONS)}}
        results = {name: int(str(run(3))) & 0xFFFFFFFF for name, run in runs.items()}
        assert len(set(results.values())) == 1, (one.name, results)
        rounds = 1
        while (once := tenth([_timed(c, rounds) for _ in range(5)])) < CHUNK_SECONDS / 2:
            rounds *= 2
        found = in_turns(runs, max(1, round(rounds * CHUNK_SECONDS / once)))
        yield Row(
            component="Wasm code",
            what=f"{one.name}, over gcc {' '.join(FLAGS[:2])}",
            predicted=predicted,
            measured=found["plain"] / found["C"],
            unit="times",
        )
        for name, ratios in extra.items():
            ratios.append(found[name] / found["plain"])
    for name, param in (("checked_bounds", p.CHECKED_BOUNDS), ("epochs", p.EPOCHS), ("fuel", p.FUEL)):
        known = given[param]
        measured = math.prod(extra[name]) ** (1 / len(extra[name]))
        interval = 1 + known.mode, 1 + known.lo, 1 + known.hi
        yield Row(
            component="Wasm code",
            what=f"{name}, mean of {len(KERNELS)} kernels",
            predicted=interval,
            measured=measured,
            unit="times",
            calibrated=known.origin == "calibrated",
        )


def _timed(run: Callable[[int], object], rounds: int) -> float:
    began = time.perf_counter()
    run(rounds)
    return time.perf_counter() - began
