"""The daemon: a pass is taken when the last one is stale, whoever asks meanwhile shares it, and the log says what has changed."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from concurrent.futures import Future

from msgspec.structs import replace

from agent.collect.caches import Caches
from agent.collect.hung import supervised
from agent.config import Config, histories_file
from agent.model.host import Host
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet, Gap, safe
from agent.session import PATIENCE_SECONDS, Session, advance, judged
from collectors import hotplug, own_cost
from collectors.root import SysRoot
from collectors.uevents import UeventSocket
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run

FRESH_SECONDS = 1.0
MIN_PATIENCE_SECONDS = 0.5
"""Who has less time than a pass takes on a large host gets what there is after this."""
STORE_SECONDS = 300.0
"""What predictions were off by is stored at most so often, and at the end."""
CLOSE_SECONDS = 2.0
"""A pass that takes longer than this when the daemon ends is not waited for: what was stored last stays."""

log = logging.getLogger("stratascope")


def collect_rarely() -> None:
    """For a daemon. A pass over a thousand workloads makes a hundred thousand records, none of them in a circle: counting references
    frees them, and to look for circles after each seven hundred of them takes a tenth of the pass.
    """
    gc.set_threshold(100_000, 10, 10)


class Service:
    """Serves one host to threads that ask at any time. All that it knows from pass to pass is in its session; one pass has it at a time."""

    def __init__(self, root: SysRoot, config: Config) -> None:
        self._session = Session(root=root, config=config, caches=Caches(uevents=UeventSocket()))
        self._lock = threading.Lock()
        self._running: Future[tuple[Snapshot, Run]] | None = None

    @property
    def ready(self) -> bool:
        """Whether the first pass is done."""
        return self._session.snapshot is not None

    def metrics(self, openmetrics: bool, patience_seconds: float) -> bytes:
        """The exposition of the last snapshot, or of a new one: see `latest`."""
        return exposition(*self.latest(patience_seconds), self._session.texts, openmetrics)

    def latest(self, patience_seconds: float = PATIENCE_SECONDS) -> tuple[Snapshot, Run]:
        """The last snapshot and what its pass cost. Where it is stale, a new pass is taken.

        The pass waits at most `patience_seconds` for other programs. Where it is not done by then, though somebody asked for it, the last
        snapshot is given, with a gap that says how old it is; the first one is waited for.
        """
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                arguments = self._session, self._running, patience_seconds
                threading.Thread(target=_take, args=arguments, name="scrape", daemon=True).start()
            running = self._running
        try:
            return running.result(max(MIN_PATIENCE_SECONDS, patience_seconds))
        except TimeoutError:
            if running.done() or self._session.snapshot is None:
                return running.result()
            return _with_age(self._session.snapshot, time.time() - self._session.snapshot.taken_at.timestamp()), self._session.run

    def close(self) -> None:
        """Stores what predictions were off by. Call it once nobody asks any more."""
        with self._lock:
            running, host, path = self._running, self._session.host, _histories_file(self._session.config)
        if host is None or path is None or running is None:
            return
        try:
            running.exception(CLOSE_SECONDS)
        except TimeoutError:
            return
        _store(self._session, path, host)


def _take(session: Session, running: Future[tuple[Snapshot, Run]], patience_seconds: float) -> None:
    """The answer to all who wait for it: the last snapshot where it is fresh, else a new one."""
    try:
        if session.snapshot is None or time.monotonic() - session.began >= FRESH_SECONDS or _replugged(session):
            session.snapshot = _refresh(session, min(PATIENCE_SECONDS, patience_seconds))
        running.set_result((session.snapshot, session.run))
    finally:
        if not running.done():
            running.set_exception(RuntimeError("a scrape has failed: its traceback is in the log"))


def _with_age(snapshot: Snapshot, seconds: float) -> Snapshot:
    """What was known before a pass that takes too long."""
    detail = f"the pass has not ended in time: all that is shown is {seconds:.0f} s old"
    return replace(
        snapshot, gaps=(*snapshot.gaps, Gap("pass", "late", detail, "look at how long each source takes, or raise scrape_timeout"))
    )


def _replugged(session: Session) -> bool:
    """Whether the last pass shows a machine that is no more, or came while it changed: it is not shared then, however fresh it is."""
    statics = session.caches.statics
    if statics is None or statics.plugged is None:
        return statics is not None and any(gap.reason == "late" for gap in statics.gaps)
    return statics.plugged != supervised(session.root, hotplug.read, session.caches.hung)


def _refresh(session: Session, patience_seconds: float) -> Snapshot:
    """A new pass; its document, for metrics."""
    previous = session.host
    window = advance(session, "metrics", patience_seconds)
    if previous is None:
        _recall(session, window.after)
    document = judged(session, window)
    if session.histories_gap is not None:
        document = replace(document, gaps=(*document.gaps, session.histories_gap))
    if time.monotonic() - session.stored >= STORE_SECONDS:
        _store_beside(session, window.after)
    cost = own_cost.read()
    session.run = replace(
        session.run,
        cpu_seconds=cost.cpu_seconds,
        resident_bytes=cost.resident_bytes,
        open_fds=cost.open_fds,
        started_at=cost.started_at,
    )
    if previous is not None:
        _log_cpus(previous.physical.cpus.online, window.after.physical.cpus.online)
    _log_gaps(session.logged_gaps, window.after.gaps)
    session.logged_gaps = window.after.gaps
    return document


def _histories_file(config: Config) -> str | None:
    """None of another tree than the host's, and where nobody made a directory for it."""
    path = histories_file()
    return path if config.root == "/" and os.path.isdir(os.path.dirname(path)) else None


def _recall(session: Session, host: Host) -> None:
    """What a daemon before this one has learned of what still lives."""
    path = _histories_file(session.config)
    if path is None:
        return
    from agent.calibrate.histories import load

    session.histories, session.histories_gap = load(path, host)
    if session.histories_gap is not None:
        log.info("%s: %s", safe(session.histories_gap.detail), session.histories_gap.remedy)


def _store_beside(session: Session, host: Host) -> None:
    """Stores it in a thread of its own: no scrape waits for a disk."""
    session.stored = time.monotonic()
    path = _histories_file(session.config)
    if path is not None:
        from agent.calibrate.histories import packed

        threading.Thread(target=_write, args=(session, path, packed(session.histories, host)), name="histories", daemon=True).start()


def _store(session: Session, path: str, host: Host) -> None:
    from agent.calibrate.histories import packed

    _write(session, path, packed(session.histories, host))


def _write(session: Session, path: str, content: bytes) -> None:
    from agent.calibrate.histories import keep

    try:
        keep(path, content)
        session.histories_gap = None
    except OSError as error:
        log.warning("what predictions were off by is not stored: %s: %s", error.filename or path, error.strerror)


def _log_cpus(previous: CpuSet, online: CpuSet) -> None:
    if previous != online:
        log.info("CPUs online: %s, were %s", online, previous)


def _log_gaps(previous: tuple[Gap, ...], gaps: tuple[Gap, ...]) -> None:
    """A gap is worth a line when it opens and when it closes, not at every scrape."""
    opened = {(gap.source, gap.reason): gap for gap in gaps}
    known = {(gap.source, gap.reason) for gap in previous}
    for key in sorted(opened.keys() - known):
        gap = opened[key]
        # What a host does not have is worth knowing, what was refused or broke is worth a look.
        level = logging.INFO if gap.reason == "absent" else logging.WARNING
        log.log(level, "source %s is %s: %s%s", *key, safe(gap.detail), f" ({safe(gap.remedy)})" if gap.remedy else "")
    for source, reason in sorted(known - opened.keys()):
        log.info("source %s is not %s any more", source, reason)
