"""All that outlives a pass, and the passes over a host that read it and leave it: a daemon's, a document's, a recording's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from msgspec.structs import replace

from agent import __version__
from agent.collect.caches import Caches
from agent.collect.hung import supervised
from agent.collect.sample import Sample
from agent.collect.take import take
from agent.config import Config, calibration_file
from agent.model.host import Host
from agent.model.snapshot import Agent, Prediction, Snapshot
from agent.model.values import Detail, Gap, ReadTimes
from agent.normalise import normalise
from agent.normalise.containers import ContainerCache
from agent.overhead.calibrated import busy_calibration
from agent.overhead.claims import claims
from agent.overhead.compose import predict
from agent.overhead.habits import Habits, learned
from agent.overhead.lost import losses
from agent.overhead.parameter_set import DEFAULTS, Parameters
from agent.overhead.residuals import Histories, judge, misses, scores
from agent.overhead.standing import Standings, steady
from agent.overhead.troubles import troubles
from agent.overhead.window import Window
from collectors.root import SysRoot
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache

PATIENCE_SECONDS = 1.0
"""How long a pass waits for other programs, unless it is told to hurry."""


@dataclass(kw_only=True)
class Session:
    """What one pass leaves for the next, and `root`, the tree that the next one reads. One pass at a time uses it.

    `caches` are the readers', with what stays until something is plugged and the questions that are still out, `containers` those of the
    join, `texts` those of the exposition. `host` and `read_at` are what the last pass read, and when; `began` (time.monotonic) and
    `taken_at` (Unix seconds) are when it began, `run` is what it cost, `snapshot` its document, if one was made. `histories` are what
    predictions were off by, stored last at `stored` (time.monotonic); `histories_gap` says why what was stored is not in use. `habits` are
    how threads slept, `standings` the findings that stand, and since when. `logged_gaps` are the gaps that the log has named.
    """

    root: SysRoot
    config: Config
    caches: Caches = field(default_factory=Caches)
    containers: ContainerCache = field(default_factory=ContainerCache)
    texts: TextCache = field(default_factory=TextCache)
    host: Host | None = None
    read_at: ReadTimes = field(default_factory=dict)
    began: float = 0.0
    taken_at: float = 0.0
    run: Run = field(default_factory=Run)
    snapshot: Snapshot | None = None
    histories: Histories = field(default_factory=dict)
    histories_gap: Gap | None = None
    habits: Habits = field(default_factory=dict)
    standings: Standings = field(default_factory=dict)
    stored: float = field(default_factory=time.monotonic)
    logged_gaps: tuple[Gap, ...] = ()


def take_sample(session: Session, detail: Detail = "document", patience_seconds: float = PATIENCE_SECONDS) -> Sample:
    """One pass over the sources. Of a recording, it was taken when the recording was."""
    mark = session.root.mark
    session.began, session.taken_at = time.monotonic(), time.time() if mark is None else mark.taken_at
    config, caches = session.config, session.caches
    return supervised(session.root, lambda root: take(root, config, caches, patience_seconds, detail), caches.hung)


def take_host(session: Session) -> Host:
    """The host as one pass finds it: without rates, for which it takes a window, and without this host's own calibration."""
    return normalise(take_sample(session), session.containers)


def advance(session: Session, detail: Detail = "document", patience_seconds: float = PATIENCE_SECONDS) -> Window:
    """One pass: the window from the last one to it, or, of the first, the host alone."""
    sample = take_sample(session, detail, patience_seconds)
    host, parameters = _with_parameters(normalise(sample, session.containers), session.config)
    window = Window.between(host, sample.read_at, session.host, session.read_at, given=parameters, habits=session.habits)
    session.host, session.read_at, session.run = host, sample.read_at, Run(seconds=sample.seconds, ages=sample.ages)
    return window


def take_window(session: Session, wait: Callable[[float], None] = time.sleep) -> Window:
    """The window that one document is about. Where workloads run on a live host, `wait` passes the interval before its second pass.

    The second pass of a recording is the one that was recorded; without one, the window has one end.
    """
    window = advance(session)
    if session.root.mark is not None:
        later = session.root.later()
        if later is None:
            return window
        session.root = later
    elif window.after.workloads and session.config.interval_seconds > 0:
        wait(session.config.interval_seconds)
    else:
        return window
    return advance(session)


def take_snapshot(session: Session, wait: Callable[[float], None] = time.sleep) -> Snapshot:
    """One document, of the window that `take_window` gives."""
    window = take_window(session, wait)
    return snapshot_of(window, session.taken_at)


def snapshot_of(window: Window, taken_at: float) -> Snapshot:
    """The document of the host at the window's end (read at `taken_at`, Unix seconds), with predictions for the window."""
    predictions = predict(window)
    return _document(window, taken_at, predictions, predictions)


def judged(session: Session, window: Window) -> Snapshot:
    """The document of a window, with what the windows before have taught: intervals, their scores, and what was missed again."""
    estimates = predict(window)
    predictions, session.histories = judge(estimates, window, session.histories)
    session.habits = learned(session.habits, map(window.activity, window.after.workloads))
    document, scored = _document(window, session.taken_at, predictions, estimates), scores(session.histories)
    now = (*document.findings, *misses(predictions, session.histories, scored))
    findings, session.standings = steady(now, session.standings, document.taken_at, window.after.workloads)
    return replace(document, findings=findings, scores=scored)


def _document(window: Window, taken_at: float, predictions: tuple[Prediction, ...], estimates: tuple[Prediction, ...]) -> Snapshot:
    """`estimates` are the predictions before anything was learned: claims are of the model, and not of what it was off by."""
    after = window.after
    return Snapshot(
        schema="stratascope/1",
        taken_at=datetime.fromtimestamp(taken_at, UTC),
        agent=Agent(__version__),
        host=after.identity,
        physical=after.physical,
        logical=after.logical,
        devices=after.devices,
        workloads=after.workloads,
        findings=(*after.findings, *troubles(window)),
        predictions=predictions,
        losses=losses(predictions, window),
        claims=claims(after.workloads, estimates, window.given),
        gaps=(*after.gaps, *window.gaps),
        parameters=window.given.better,
    )


def _with_parameters(host: Host, config: Config) -> tuple[Host, Parameters]:
    """The parameters that a calibration measured, else the defaults. Why a calibration cannot be used is a gap of the host.

    A host that was never calibrated, and need not be, has no such gap; another tree than the host's is not measured by its file.
    """
    path = config.calibration or (calibration_file() if config.root == "/" else None)
    if path is None or not (config.calibration or os.path.exists(path)):
        return host, DEFAULTS
    from agent.calibrate.use import parameters

    measured, gap = parameters(path, host)
    gaps, findings = () if gap is None else (gap,), busy_calibration(measured)
    if gaps or findings:
        host = replace(host, gaps=(*host.gaps, *gaps), findings=(*host.findings, *findings))
    return host, measured
