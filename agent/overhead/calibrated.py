"""Calibration -> parameters: what the host measured of itself in place of the default, each for itself, nothing else moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agent.model.calibration import BUSY, TOLERANCE, Calibration, Figure, NodePair
from agent.model.finding import Finding
from agent.model.physical import Node
from agent.model.snapshot import Param
from agent.overhead import parameters as p
from agent.overhead.parameter_set import Parameters

_LOCAL_DISTANCE = 10

DIRECT: dict[str, Param] = {
    "latency_l1": p.L1_SECONDS,
    "latency_l2": p.L2_SECONDS,
    "latency_l3": p.L3_SECONDS,
    "latency_dram": p.DRAM_SECONDS,
    "switch_process": p.SWITCH_PROCESS,
    "host_call_native": p.INSTANCE_SWITCH,
    "checked_bounds": p.CHECKED_BOUNDS,
    "epochs": p.EPOCHS,
    "fuel": p.FUEL,
    "exit_kernel": p.EXIT_KERNEL,
    "exit_user": p.EXIT_USER,
}
"""Figures that are a parameter as they stand. What was measured through Python (instances, entries) is not: other embedders are faster."""

_INTERPRETED = 1.5
"""What Python adds at most to a switch, where the measuring program is not machine code: 20 to 50 % over one between C programs."""


def parameters_of(calibration: Calibration, nodes: Sequence[Node] = ()) -> Parameters:
    """`nodes`: of this host, for the firmware's distances beside the measured ones.

    A run that others disturbed may be off by as much as they took: each interval is stretched by that share at both ends.
    """
    figures = {entry.name: entry for entry in calibration.figures}
    conditions = calibration.conditions
    busy = "unknown" if conditions.cpu_pressure is None else f"{conditions.cpu_pressure:.0%}"
    disturbed = conditions.load if conditions.load is not None and conditions.busy else None
    wider = 1 + (disturbed or 0.0)
    source = f"measured on this host at {calibration.taken_at:%Y-%m-%d %H:%M} UTC under CPU pressure of {busy}"

    def better() -> Iterable[Param]:
        for name, default in DIRECT.items():
            if name in figures:
                figure = figures[name]
                # Seconds come out otherwise in another run, on a quiet host as well.
                apart = wider * (1 + TOLERANCE if default.unit == "seconds" else 1.0)
                slower = _INTERPRETED if name == "switch_process" and calibration.machine.architecture != "x86_64" else 1.0
                yield _in_place_of(default, figure.lo / apart / slower, figure.value, figure.hi * apart, source)
        yield from _wakes(figures, wider, source)
        interruptions = [figures[name].value for name in ("epochs", "fuel") if name in figures]
        if len(interruptions) == 2:
            yield _in_place_of(p.INTERRUPTION, 0.0, 0.0, wider * max(interruptions), source)
        yield from _distances(calibration.nodes, nodes, wider, source)

    return Parameters(tuple(better()), disturbed)


def busy_calibration(given: Parameters) -> tuple[Finding, ...]:
    """That the parameters were measured on a busy host."""
    if given.busy_at is None:
        return ()
    return (
        Finding.of(
            kind="busy_calibration",
            workload=None,
            text="the calibration was made on a busy host: its intervals, and those of predictions, are wider than they could be",
            evidence=f"others took {given.busy_at:.0%} of the run's time, more than {BUSY:.0%}; intervals are stretched by as much",
            remedy="agent calibrate, when the host is quieter: a better run replaces this one",
        ),
    )


def _in_place_of(default: Param, lo: float, mode: float, hi: float, source: str) -> Param:
    return replace(default, lo=lo, mode=mode, hi=hi, source=source, origin="calibrated")


def _wakes(figures: dict[str, Figure], wider: float, source: str) -> Iterable[Param]:
    """As the kernel counts it in the run delay. On Linux 6.18 that is nothing where the sleeper preempts at once, on its own CPU and on
    another: the clock of a run queue does not move between both stamps (rq_clock_skip_update in wakeup_preempt)."""
    delays = [figures[name] for name in ("wake_delay", "wake_delay_other_cpu") if name in figures]
    if delays:
        lo, mode, hi = min(delay.lo for delay in delays), max(delay.value for delay in delays), max(delay.hi for delay in delays)
        for default in (p.WAKE, p.WAKE_GUEST):
            yield _in_place_of(default, lo / wider, mode, hi * wider, source)


def _distances(pairs: Sequence[NodePair], nodes: Sequence[Node], wider: float, source: str) -> Iterable[Param]:
    """Measured latency over local latency, over what the firmware's distance says; over all remote pairs."""
    measured = {(pair.cpu_node, pair.memory_node): pair.latency_seconds for pair in pairs}
    slit = {(node.os_index, target): distance for node in nodes for target, distance in node.distances.items()}
    ratios = sorted(
        latency / measured[cpu_node, cpu_node] / (slit[cpu_node, memory_node] / _LOCAL_DISTANCE)
        for (cpu_node, memory_node), latency in measured.items()
        if cpu_node != memory_node and measured.get((cpu_node, cpu_node)) and slit.get((cpu_node, memory_node))
    )
    if ratios:
        yield _in_place_of(p.DISTANCE_LATENCY, ratios[0] / wider, ratios[len(ratios) // 2], ratios[-1] * wider, source)
