"""What a run of the matrix is scored by: a row for each component of each workload in each window.

The windows are judged as the daemon judges them, one after the other, whether the passes are of this moment or of a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from msgspec import Struct

from agent.config import Config
from agent.model.components import COMPONENTS, Component, Kind, Unit
from agent.model.snapshot import ByContention, Forecast, Prediction
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.prediction import NOT_ASKED
from agent.overhead.window import Window
from agent.session import Session, judged
from collectors.root import SysRoot
from tests.lab.loads.generator import Load
from tests.lab.loads.groups import PERIOD_USEC
from tests.validation.matrix_plan import Run
from tests.validation.matrix_run import Pass

AT_CHANGES = 3
"""Windows from one with a change on, that one included, that count as at changes."""

Figure = tuple[float, float, float]
"""Point, and the ends of its interval."""


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One component of one workload in one window.

    `ran`: CPU time of the workload, a second; None: not known. `measured`: the host's own figure; None: it said nothing, or of a share
    that was not asked for. `estimate`: what the formulas say of this window, before anything was learnt; `shown`: what the document says,
    with where its interval comes from, and `contention`: the same by who competes alone; `forecast`: what was said at the end of the window
    before. `most`: the physical bound. `change`: something changed in this window, or in one of the two before it.
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
    contention: Figure | None = None
    interval: str | None = None
    forecast: Figure | None = None
    change: bool = False


Predictions = dict[tuple[str, str], Prediction]
"""By name of the load and component."""


def rows(run: Run, passes: Iterable[Pass]) -> Iterator[tuple[Row, ...]]:
    """Those of each window, by an agent that knows nothing before the first pass."""
    session = Session(root=SysRoot(), config=Config())
    changing = {change.window for change in run.changes}
    before: Predictions = {}
    for number, taken in enumerate(passes, -1):
        window = Window.between(taken.host, taken.read_at, session.host, session.read_at, habits=session.habits)
        session.host, session.read_at, session.taken_at = taken.host, taken.read_at, taken.taken_at
        document = judged(session, window)
        if number < 0:
            continue
        change = any(number - AT_CHANGES < of <= number for of in changing)
        shown = {(prediction.workload, prediction.component): prediction for prediction in document.predictions}
        estimates = {(prediction.workload, prediction.component): prediction for prediction in predict(window)}
        workloads = {workload.id: workload for workload in document.workloads}
        of_window: list[Row] = []
        now: Predictions = {}
        for load in run.loads:
            id_ = taken.ids.get(load.name, "")
            workload = workloads.get(id_)
            for component in COMPONENTS.values():
                if not applies(component, load, workload):
                    continue
                prediction, estimate = shown.get((id_, component.name)), estimates.get((id_, component.name))
                if prediction is not None:
                    now[load.name, component.name] = prediction
                of_window.append(
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
                        measured=None if prediction is None or NOT_ASKED in prediction.validity else prediction.measured,
                        estimate=_figure(estimate),
                        shown=_figure(prediction),
                        contention=_figure(prediction if prediction is None else prediction.by_contention or prediction),
                        interval=None if prediction is None else prediction.interval,
                        forecast=forecast(before.get((load.name, component.name))),
                        change=change,
                    )
                )
        before = now
        yield tuple(of_window)


def forecast(before: Prediction | None) -> Figure | None:
    """What was said of this window at the end of the one before."""
    return None if before is None else _figure(before.forecast)


def _figure(prediction: Prediction | Forecast | ByContention | None) -> Figure | None:
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
