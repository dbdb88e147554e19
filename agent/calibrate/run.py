"""One calibration run: its steps in order, its limits, its result.

A run is limited in time, of which each step has a share, in memory (room.py), and by the priority of its caller.
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
    """A run is not possible; the text says why and what to do."""


def host_of(root: SysRoot) -> Host:
    """The host without workloads."""
    return normalise(take(root, Config(only=MACHINE), Caches()))


def measured(seconds: float = SECONDS, with_exits: bool = False, say: Say = lambda step, share: None) -> Calibration:
    """One niced run on this host. For a process that does nothing else, because it cannot raise its priority again."""
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
    """Runs all steps in at most `seconds`. `say` is called with each step that begins and the share of the time that is over.

    Call it in a process with one thread, whose affinity it may change.
    """
    began = time.monotonic()
    # The last chain may be laid out beyond its time.
    end = began + 0.9 * seconds
    allowed = proc_self.read(root).cpus or CpuSet()
    if not allowed:
        raise Unable("the CPUs that this process may use are not known")
    # The first CPU usually serves most interrupts.
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
    """Results of the steps, and the steps without any. A step that runs several times counts as skipped only if every run was."""
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
        # These two fork, so they run before wasmtime is loaded, which may start threads.
        run("context switch", 0.1, switches.switch)
        run("wake-up", 0.1, switches.wake)
        if with_exits:
            from agent.calibrate.exits import exits

            run("exits", 0.1, exits)
        for name, share, step in _sandboxed(bench):
            run(name, share, step)
    return findings, tuple(step for name, step in skipped.items() if name not in done)


def at_their_fastest(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """One figure for each name: the lowest value and lower bound of repeated measurements, and the highest upper bound."""
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
    """The steps that run in wasmtime, each with its share of the time. Raises Unable without wasmtime."""
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
    # Code beside a busy sibling thread takes twice as long as on a core of its own, and a hypervisor may keep such a neighbour there for
    # longer than a step takes. This step is short, so it is repeated between the others.
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
