"""The only state: the last host and the last snapshot, behind one lock. A pass is taken when the last one is stale."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime

from agent import __version__
from agent.config import Config
from agent.model.host import Host
from agent.model.snapshot import Agent, Snapshot
from agent.model.values import Gap
from agent.normalise import normalise
from agent.overhead.compose import predict
from agent.overhead.window import Window, difference
from agent.sample import Errands, take
from collectors import own_cost
from collectors.sysroot import SysRoot
from exporters import prometheus

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0

log = logging.getLogger("stratascope")


def snapshot(after: Host, taken_at: float, before: Host | None = None, seconds: float | None = None) -> Snapshot:
    """The document of one host, its predictions taken over the window since `before`."""
    return Snapshot(
        schema="stratascope/1",
        taken_at=datetime.fromtimestamp(taken_at, UTC),
        agent=Agent(__version__),
        host=after.identity,
        physical=after.physical,
        logical=after.logical,
        devices=after.devices,
        workloads=after.workloads,
        predictions=predict(Window(after, before, seconds)),
        gaps=after.gaps,
    )


def once(root: SysRoot, config: Config) -> Snapshot:
    """One document. Where workloads run on a live host, a second pass after the interval turns counters into rates."""
    errands = Errands()
    taken_at = time.time()
    before = take(root, config, errands, PATIENCE_SECONDS)
    host = normalise(before)
    if root.mark is not None:
        return snapshot(host, root.mark.taken_at)
    if not host.workloads or config.interval_seconds <= 0:
        return snapshot(host, taken_at)
    time.sleep(config.interval_seconds)
    taken_at = time.time()
    after = take(root, config, errands, PATIENCE_SECONDS)
    return snapshot(normalise(after), taken_at, host, difference(before.counted_at, after.counted_at))


class Service:
    """Scrapes ask `metrics`; whoever comes while a pass is taken waits for it and shares it."""

    def __init__(self, root: SysRoot, config: Config) -> None:
        self._root = root
        self._config = config
        self._errands = Errands()
        self._lock = threading.Lock()
        self._host: Host | None = None
        self._snapshot: Snapshot | None = None
        self._run = prometheus.Run()
        self._began = 0.0
        self._counted_at: float | None = None
        self._said: frozenset[Gap] = frozenset()

    @property
    def ready(self) -> bool:
        return self._snapshot is not None

    def metrics(self, openmetrics: bool, patience_seconds: float) -> bytes:
        with self._lock:
            if self._snapshot is None or time.monotonic() - self._began >= FRESH_SECONDS:
                self._take(min(PATIENCE_SECONDS, patience_seconds))
            found, run = self._snapshot, self._run
        if found is None:
            raise RuntimeError("a pass leaves a snapshot")
        return prometheus.render(found, run, openmetrics)

    def _take(self, patience_seconds: float) -> None:
        taken_at, began = time.time(), time.monotonic()
        sample = take(self._root, self._config, self._errands, patience_seconds)
        host = normalise(sample)
        self._snapshot = snapshot(host, taken_at, self._host, difference(self._counted_at, sample.counted_at))
        self._host, self._began, self._counted_at = host, began, sample.counted_at
        cost = own_cost.read()
        self._run = prometheus.Run(sample.seconds, cost.cpu_seconds, cost.resident_bytes, cost.open_fds, cost.started_at)
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
