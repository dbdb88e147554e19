"""One run: its steps in their order, its bounds, what it says of the machine.

Bounded by a time for the whole run, of which each step has its part, by memory (room.py), and by the priority that the caller has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from agent import __version__
from agent.calibrate import switches
from agent.calibrate.bench import Bench, Findings, Skip, pinned
from agent.calibrate.chunks import NoTime
from agent.calibrate.conditions import between, counters
from agent.calibrate.machine import machine_of
from agent.calibrate.room import room_bytes
from agent.collect.caches import Caches
from agent.collect.sources import MACHINE
from agent.collect.take import take
from agent.config import Config
from agent.model.calibration import Calibration, Figure, Skipped
from agent.model.host import Host
from agent.model.values import CpuSet
from agent.normalise import normalise
from collectors import proc_self
from collectors.root import SysRoot

SECONDS = 30.0
NICE = 5
Step = Callable[[Bench], Findings]
Say = Callable[[str, float], None]


class Unable(Exception):
    """There is nothing to measure with, and what to do about it."""


def host_of(root: SysRoot) -> Host:
    """The machine alone."""
    return normalise(take(root, Config(only=MACHINE), Caches()))


def measured(seconds: float = SECONDS, with_exits: bool = False, say: Say = lambda step, share: None) -> Calibration:
    """One run on this host, niced. For a process that does nothing else: priority does not come back."""
    end = time.monotonic() + seconds
    os.nice(NICE)
    root = SysRoot("/")
    host = host_of(root)
    return measure(root, host, end - time.monotonic(), with_exits, say)


def measure(
    root: SysRoot,
    host: Host,
    seconds: float = SECONDS,
    with_exits: bool = False,
    say: Say = lambda step, share: None,
) -> Calibration:
    """Takes at most `seconds`. `say` hears which step begins, and what share of the time is over.

    Call it in a process of one thread that may change its affinity.
    """
    began = time.monotonic()
    # The last chain that is laid out may take a while.
    end = began + 0.9 * seconds
    allowed = proc_self.read(root).cpus or CpuSet()
    if not allowed:
        raise Unable("the CPUs that this process may use are not known")
    # The first CPU has most of the interrupts.
    cpu = max(allowed)
    bench = Bench(root=root, physical=host.physical, allowed=allowed, cpu=cpu, room_bytes=room_bytes(root), until=end)
    before = counters(root)
    findings, skipped = _run_steps(bench, began, seconds, with_exits, say)
    took = time.monotonic() - began
    return Calibration(
        schema="stratascope-calibration/1",
        taken_at=datetime.now(UTC),
        version=__version__,
        machine=machine_of(host),
        cpu=cpu,
        seconds=took,
        conditions=between(before, counters(root), took),
        figures=at_their_fastest(figure for step in findings for figure in step.figures),
        ladder=tuple(rung for step in findings for rung in step.ladder),
        plateaus=tuple(level for step in findings for level in step.plateaus),
        nodes=tuple(pair for step in findings for pair in step.nodes),
        skipped=skipped,
    )


def _run_steps(bench: Bench, began: float, seconds: float, with_exits: bool, say: Say) -> tuple[list[Findings], tuple[Skipped, ...]]:
    """What the steps found, and which of them have found nothing. A step that is run more than once may be skipped once."""
    findings: list[Findings] = []
    done: set[str] = set()
    skipped: dict[str, Skipped] = {}

    def run(name: str, share: float, step: Step) -> None:
        now = time.monotonic()
        say(name, (now - began) / seconds)
        try:
            findings.append(step(replace(bench, until=min(bench.until, now + share * seconds))))
            done.add(name)
        except Skip as why:
            skipped[name] = Skipped(name, str(why))
        except NoTime:
            skipped[name] = Skipped(name, "no time was left: the host is busy, or the run was too short")

    with pinned(CpuSet((bench.cpu,))):
        # These two before wasmtime is there: it may make threads, and a fork copies one only.
        run("context switch", 0.1, switches.switch)
        run("wake-up", 0.1, switches.wake)
        if with_exits:
            from agent.calibrate.exits import exits

            run("exits", 0.1, exits)
        for name, share, step in _sandboxed(bench):
            run(name, share, step)
    return findings, tuple(step for name, step in skipped.items() if name not in done)


def at_their_fastest(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """Of times that were taken more than once in a run the least; up to the most that one took."""
    fastest: dict[str, Figure] = {}
    for figure in figures:
        previous = fastest.get(figure.name)
        fastest[figure.name] = (
            figure
            if previous is None
            else Figure(
                name=figure.name,
                unit=figure.unit,
                value=min(previous.value, figure.value),
                lo=min(previous.lo, figure.lo),
                hi=max(previous.hi, figure.hi),
                chunks=previous.chunks + figure.chunks,
            )
        )
    return tuple(fastest.values())


def _sandboxed(bench: Bench) -> list[tuple[str, float, Step]]:
    """The steps that run in wasmtime, with their parts of the time."""
    try:
        from agent.calibrate import latency, nodes, sandboxes
        from agent.calibrate.kernels import Chase, WasmtimeError
    except ImportError:
        raise Unable("wasmtime is not installed: pip install 'stratascope[calibrate]'") from None
    try:
        chase = Chase(bench.room_bytes)
    except WasmtimeError as error:
        why = str(error).partition("\n")[0]
        raise Unable(f"wasmtime: {why}: it needs 4 GiB of addresses, and memory that may become code") from None
    # Code that has a core for itself takes half of the time that it takes beside a busy sibling, whom the hypervisor may have put there for
    # longer than a step takes: this one is short, and is taken again after others.
    edges: tuple[str, float, Step] = ("sandbox edges", 0.1, sandboxes.edges)
    steps: list[tuple[str, float, Step]] = [
        ("clock", 0.05, lambda bench: latency.clock(bench, chase)),
        edges,
        ("sandbox code", 0.15, sandboxes.code),
        edges,
    ]
    if not bench.room_bytes:
        return steps
    return [
        *steps,
        ("latency", 0.5, lambda bench: latency.ladder(bench, chase)),
        edges,
        ("nodes", 0.3, lambda bench: nodes.pairs(bench, chase)),
        ("page walks", 0.5, lambda bench: latency.walks(bench, chase)),
        edges,
    ]
