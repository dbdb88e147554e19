"""The only state: the last host, the last snapshot and the static facts, behind one lock. A pass is taken when the last one is stale."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from datetime import UTC, datetime

from msgspec.structs import replace

from agent import __version__
from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config, calibration_file
from agent.model.host import Host
from agent.model.snapshot import Agent, Snapshot
from agent.model.values import Gap, ReadTimes
from agent.normalise import normalise
from agent.normalise.containers import Known
from agent.overhead.claims import claims
from agent.overhead.compose import predict
from agent.overhead.parameters import DEFAULTS, Parameters
from agent.overhead.residuals import Residuals, judge, misses
from agent.overhead.window import Window
from collectors import hotplug, own_cost
from collectors.root import SysRoot
from collectors.uevents import Watch
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0

log = logging.getLogger("stratascope")


def snapshot(window: Window, taken_at: float) -> Snapshot:
    """The document of the host at the window's end, its predictions taken over the window."""
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
        findings=after.findings,
        predictions=(predictions := predict(window)),
        claims=claims(after.workloads, predictions, window.given),
        gaps=after.gaps,
        parameters=window.given.better,
    )


def once(root: SysRoot, config: Config) -> Snapshot:
    """One document. Where workloads run, a second pass turns counters into rates: after the interval, or as it was recorded."""
    window, taken_at = watch(root, config)
    return snapshot(window, taken_at)


def watch(root: SysRoot, config: Config) -> tuple[Window, float]:
    """The window that one document is about, and when its end was read (Unix seconds)."""
    caches = Caches()
    taken_at = _taken_at(root)
    before = take(root, config, caches, PATIENCE_SECONDS)
    host, given = _with_parameters(normalise(before), config)
    later = _later(root, host, config)
    if later is None:
        return Window(after=host, given=given), taken_at
    taken_at = _taken_at(later)
    after = take(later, config, caches, PATIENCE_SECONDS)
    end, given = _with_parameters(normalise(after), config)
    return Window.between(end, after.read_at, host, before.read_at, given), taken_at


def _taken_at(root: SysRoot) -> float:
    """When a pass that begins now sees its host, in Unix seconds: of a recording, when it was made."""
    return time.time() if root.mark is None else root.mark.taken_at


def _later(root: SysRoot, host: Host, config: Config) -> SysRoot | None:
    """The tree of the second pass: of a live host the same one, after the interval. None where there is one pass only."""
    if root.mark is not None:
        return root.later()
    if not host.workloads or config.interval_seconds <= 0:
        return None
    time.sleep(config.interval_seconds)
    return root


def _with_parameters(host: Host, config: Config) -> tuple[Host, Parameters]:
    """Why a calibration is of no use is a gap of the host's like any other.

    A host that was never calibrated, and need not be, has none; another tree than the host's is not measured by its file.
    """
    path = config.calibration or (calibration_file() if config.root == "/" else None)
    if path is None or not (config.calibration or os.path.exists(path)):
        return host, DEFAULTS
    from agent.calibrate.use import parameters

    given, gap = parameters(path, host)
    return (host if gap is None else replace(host, gaps=(*host.gaps, gap))), given


def collect_rarely() -> None:
    """For a daemon. A pass over a thousand workloads makes a hundred thousand records, none of them in a circle: counting references
    frees them, and to look for circles after each seven hundred of them takes a tenth of the pass.
    """
    gc.set_threshold(100_000, 10, 10)


class Service:
    """Scrapes ask `metrics`; whoever comes while a pass is taken waits for it and shares it."""

    def __init__(self, root: SysRoot, config: Config) -> None:
        self._root = root
        self._config = config
        self._caches = Caches(uevents=Watch())
        self._lock = threading.Lock()
        self._known: Known = {}
        self._host: Host | None = None
        self._snapshot: Snapshot | None = None
        self._run = Run()
        self._texts = TextCache()
        self._began = 0.0
        self._read_at: ReadTimes = {}
        self._said: frozenset[Gap] = frozenset()
        self._residuals: Residuals = {}

    @property
    def ready(self) -> bool:
        return self._snapshot is not None

    def metrics(self, openmetrics: bool, patience_seconds: float) -> bytes:
        return exposition(*self.latest(patience_seconds), self._texts, openmetrics)

    def latest(self, patience_seconds: float = PATIENCE_SECONDS) -> tuple[Snapshot, Run]:
        """The last snapshot and what its pass cost. Where it is stale, a new pass is taken, which waits at most `patience_seconds`."""
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._began >= FRESH_SECONDS or self._replugged():
                self._take(min(PATIENCE_SECONDS, patience_seconds))
            snapshot, run = self._snapshot, self._run
        if snapshot is None:
            raise RuntimeError("a pass leaves a snapshot")
        return snapshot, run

    def _replugged(self) -> bool:
        """Whether the last pass shows a machine that is no more, or came while it changed: it is not shared then, however fresh it is."""
        statics = self._caches.statics
        if statics is None or statics.plugged is None:
            return statics is not None and any(gap.reason == "late" for gap in statics.gaps)
        return statics.plugged != hotplug.read(self._root)

    def _take(self, patience_seconds: float) -> None:
        taken_at, began = time.time(), time.monotonic()
        sample = take(self._root, self._config, self._caches, patience_seconds, detail="metrics")
        host, given = _with_parameters(normalise(sample, self._known), self._config)
        if self._host and self._host.physical.cpus.online != host.physical.cpus.online:
            log.info("CPUs online: %s, were %s", host.physical.cpus.online, self._host.physical.cpus.online)
        window = Window.between(host, sample.read_at, self._host, self._read_at, given)
        found = snapshot(window, taken_at)
        predictions, self._residuals = judge(found.predictions, window, self._residuals)
        self._snapshot = replace(found, predictions=predictions, findings=(*found.findings, *misses(predictions, self._residuals)))
        self._host, self._began, self._read_at = host, began, sample.read_at
        cost = own_cost.read()
        self._run = Run(
            seconds=sample.seconds,
            cpu_seconds=cost.cpu_seconds,
            resident_bytes=cost.resident_bytes,
            open_fds=cost.open_fds,
            started_at=cost.started_at,
        )
        self._say(host.gaps)

    def _say(self, gaps: tuple[Gap, ...]) -> None:
        """A gap is worth a line when it opens and when it closes, not at every scrape."""
        now = {(gap.source, gap.reason): gap for gap in gaps}
        then = {(gap.source, gap.reason): gap for gap in self._said}
        for key in sorted(now.keys() - then.keys()):
            remedy = now[key].remedy
            # What a host does not have is worth knowing, what was refused or broke is worth a look.
            level = logging.INFO if now[key].reason == "absent" else logging.WARNING
            log.log(level, "source %s is %s: %s%s", *key, now[key].detail, f" ({remedy})" if remedy else "")
        for source, reason in sorted(then.keys() - now.keys()):
            log.info("source %s is not %s any more", source, reason)
        self._said = frozenset(gaps)
