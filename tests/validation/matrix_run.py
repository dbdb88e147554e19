"""One run of the matrix: loads run, the agent looks at them pass after pass as its daemon does, and every figure becomes a row."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from agent.config import Config
from agent.model.components import COMPONENTS, Component, Kind, Unit
from agent.model.snapshot import Prediction, Snapshot
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.window import Window
from agent.session import Session, advance, judged
from collectors.root import SysRoot
from tests.lab import host
from tests.lab.loads.generator import Generator, Load, Running, generator
from tests.lab.loads.groups import PERIOD_USEC
from tests.validation.matrix_plan import Change, Run

SETTLE_SECONDS = 1.0
AT_CHANGES = 3
"""Windows from one with a change on, that one included, that count as at changes."""

Figure = tuple[float, float, float]
"""Point, and the ends of its interval."""


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One component of one workload in one window.

    `ran`: CPU time of the workload, a second; None: not known. `measured`: the host's own figure; None: it said nothing. `estimate`: what
    the formulas say of this window, before anything was learnt; `shown`: what the document says, with where its interval comes from;
    `forecast`: what was said at the end of the window before. `most`: the physical bound. `change`: something changed in this window,
    or in one of the two before it.
    """

    run: int
    level: str
    behaviour: str
    paradigm: str
    workload: str
    window: int
    component: str
    unit: Unit
    kind: Kind
    ran: float | None = None
    most: float | None = None
    measured: float | None = None
    estimate: Figure | None = None
    shown: Figure | None = None
    interval: str | None = None
    forecast: Figure | None = None
    change: bool = False


def watched(
    run: Run, top: str, place: Path, program: Path, libvirt: host.Libvirt | None, windows: int, seconds: float
) -> Iterator[tuple[Row, ...]]:
    """The rows of each window of a run, as it ends. The loads end with the run, however it ends."""
    with generator(top, place, program, libvirt) as loads:
        running = {load.name: loads.start(load) for load in run.loads}
        if run.outside_cpus > 0.05:
            loads.outside(run.outside_cpus, run.number)
        time.sleep(SETTLE_SECONDS)
        session = Session(root=SysRoot(), config=_config(top, libvirt))
        _pass(session)
        began, changed = time.monotonic(), -AT_CHANGES
        before: dict[tuple[str, str], Prediction] = {}
        for window in range(windows):
            for change in run.changes:
                if change.window == window:
                    _apply(change, loads, running)
                    changed = window
            time.sleep(max(0.0, began + (window + 1) * seconds - time.monotonic()))
            span, document = _pass(session)
            rows, before = _rows(run, running, window, window - changed < AT_CHANGES, (span, document), before)
            yield rows


def _config(top: str, libvirt: host.Libvirt | None) -> Config:
    groups = re.compile(f"{re.escape(top)}/(?P<name>[^/]+)")
    return Config(libvirt=() if libvirt is None else (libvirt.uri,), workload_groups=(groups,))


def _pass(session: Session) -> tuple[Window, Snapshot]:
    window = advance(session, "metrics")
    session.snapshot = judged(session, window)
    return window, session.snapshot


def _apply(change: Change, loads: Generator, running: dict[str, Running]) -> None:
    if change.starts is not None:
        running[change.starts.name] = loads.start(change.starts)
    if change.stops is not None:
        loads.stop(running.pop(change.stops))
    if change.quota_of is not None:
        running[change.quota_of].limit(change.quota_cpus)


def _rows(
    run: Run,
    running: dict[str, Running],
    number: int,
    change: bool,
    seen: tuple[Window, Snapshot],
    before: dict[tuple[str, str], Prediction],
) -> tuple[tuple[Row, ...], dict[tuple[str, str], Prediction]]:
    """The window's rows, and its predictions by name of the load and component, for the next one."""
    window, document = seen
    shown = {(prediction.workload, prediction.component): prediction for prediction in document.predictions}
    estimates = {(prediction.workload, prediction.component): prediction for prediction in predict(window)}
    rows, predictions = [], {}
    for load in run.loads:
        workload = _workload(running[load.name], document.workloads)
        for component in COMPONENTS.values():
            if not applies(component, load, workload):
                continue
            key = (workload.id, component.name) if workload is not None else ("", "")
            prediction, estimate = shown.get(key), estimates.get(key)
            if prediction is not None:
                predictions[load.name, component.name] = prediction
            rows.append(
                Row(
                    run=run.number,
                    level=run.level,
                    behaviour=load.behaviour.name,
                    paradigm=load.paradigm,
                    workload=load.name,
                    window=number,
                    component=component.name,
                    unit=component.unit,
                    kind=component.kind,
                    ran=None if workload is None else _ran(window, workload),
                    most=None if workload is None else most(component, workload, window.seconds or math.inf),
                    measured=None if prediction is None else prediction.measured,
                    estimate=_figure(estimate),
                    shown=_figure(prediction),
                    interval=None if prediction is None else prediction.interval,
                    forecast=forecast(before.get((load.name, component.name)), prediction),
                    change=change,
                )
            )
    return tuple(rows), predictions


def forecast(before: Prediction | None, now: Prediction | None) -> Figure | None:
    """What was said of this window without its measurement: until documents have forecasts, the interval that was learnt before it."""
    return None if now is None or now.interval != "learned" else _figure(now)


def _figure(prediction: Prediction | None) -> Figure | None:
    """Plain numbers: some are limits, which JSON writes in another way."""
    return None if prediction is None else (float(prediction.value), float(prediction.lo), float(prediction.hi))


def applies(component: Component, load: Load, workload: Workload | None) -> bool:
    """Whether the host counts such a thing of such a workload; without a quota nobody is throttled."""
    paradigm = {"machine": "virtualization", "container": "containerization", "sandbox": "sandbox"}[load.paradigm]
    if paradigm not in component.layers or (component.measured_by and paradigm not in component.measured_by):
        return False
    if component.name.startswith("throttled"):
        return workload is not None and _quota_cpus(workload) is not None
    return True


def most(component: Component, workload: Workload, seconds: float) -> float | None:
    """The physical bound of a figure in a window of so many seconds, where it is a number: of a delay the threads, of a share the CPUs
    allowed and the quota. What a quota holds back in its last period, or lets go, may be counted in the next window."""
    edge = 1 + (workload.cpu.period_usec or PERIOD_USEC) * 1e-6 / seconds
    if component.name == "run_queue_delay":
        threads = len(workload.vcpus) or len(workload.threads)
        return threads * edge if threads else None
    if component.name == "cpu_share":
        allowed, quota = workload.placement.allowed_cpus, _quota_cpus(workload)
        bounds = [len(allowed) if allowed else None, None if quota is None else quota * edge]
        return min((float(bound) for bound in bounds if bound is not None), default=None)
    return component.most


def _quota_cpus(workload: Workload) -> float | None:
    quota, period = workload.cpu.quota_usec, workload.cpu.period_usec
    return float(quota) / period if quota is not None and period and math.isfinite(quota) else None


def _ran(window: Window, workload: Workload) -> float | None:
    """CPU time a second: of its group where that counts, so that dead children are in it, else of its threads."""
    activity = window.activity(workload)
    if activity is None:
        return None
    times = (activity.usage_seconds, activity.group_seconds), (activity.run_seconds, activity.seconds)
    return max((spent / seconds for spent, seconds in times if spent is not None), default=None)


def _workload(running: Running, workloads: tuple[Workload, ...]) -> Workload | None:
    """The agent's record of a load."""
    load = running.load
    if load.paradigm == "sandbox":
        return next((workload for workload in workloads if workload.paradigm == "sandbox" and workload.pid == running.pid), None)
    return next((workload for workload in workloads if workload.name == load.name and workload.paradigm != "sandbox"), None)
