"""Metrics of the agent itself: what answered, how long it took, what the agent's process costs.

The names of the process are those of every exporter (prometheus.io/docs/instrumenting/writing_clientlibs, "Process metrics").
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.model.snapshot import Snapshot
from agent.model.values import Fact
from exporters.metrics.family import Column, Family, Row, counter, declared, from_columns, from_rows, gauge, info, labelled


class Run(Fact, frozen=True, kw_only=True):
    """What one pass cost: seconds by source; and the agent's own process, CPU time since its start. `started_at` is Unix time.

    `ages` are those of what other programs said (seconds), by source.
    """

    seconds: dict[str, float] = {}
    ages: dict[str, float] = {}
    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    open_fds: int | None = None
    started_at: float | None = None


def agent_families(snapshot: Snapshot, run: Run) -> Iterator[Family]:
    yield from from_rows(_AGENT, snapshot)
    sources = list(run.seconds)
    silent = {gap.source for gap in snapshot.gaps}
    yield from from_columns(
        _SOURCES, [(source,) for source in sources], [(run.seconds[source], source not in silent) for source in sources]
    )
    yield from from_columns(_PROGRAMS, [(source,) for source in run.ages], [*run.ages.values()])


def process_families(run: Run) -> Iterator[Family]:
    yield from from_columns(_PROCESS, [()], [run])


_AGENT: tuple[Row[Snapshot], ...] = (
    info(
        "strata_build_info",
        "Version of the agent",
        "`agent --version`",
        lambda snapshot: [((snapshot.agent.version,), 1)],
        labels=("version",),
    ),
    info(
        "strata_source_gap_info",
        "Sources that had nothing to say, or only a part, in the last pass, and why",
        "`gaps` of `agent snapshot`",
        lambda snapshot: [(key, 1) for key in sorted({(gap.source, gap.reason) for gap in snapshot.gaps})],
        labels=("source", "reason"),
    ),
)

_SOURCES: tuple[Column[tuple[float, bool]], ...] = labelled(
    ("source",),
    gauge(
        "strata_source_up",
        "Whether a source answered without a gap in the last pass",
        "1 or 0",
        "`gaps` of `agent snapshot`",
        lambda source: int(source[1]),
    ),
    gauge(
        "strata_source_duration_seconds",
        "Time that the last pass spent on a source",
        "seconds",
        "the agent's clock",
        lambda source: source[0],
    ),
)

_PROGRAMS: tuple[Column[float], ...] = labelled(
    ("source",),
    gauge(
        "strata_source_age_seconds",
        "Age of what other programs said: 0 where all have answered in the last pass, else of the oldest answer that stands in",
        "seconds",
        "the agent's clock",
        lambda age: age,
    ),
)

_PROCESS: tuple[Column[Run], ...] = (
    counter(
        "process_cpu_seconds_total",
        "CPU time of the agent, user and kernel mode",
        "seconds",
        "/proc/self/stat",
        lambda run: run.cpu_seconds,
    ),
    gauge("process_resident_memory_bytes", "Resident memory of the agent", "bytes", "/proc/self/statm", lambda run: run.resident_bytes),
    gauge("process_open_fds", "File descriptors that the agent holds open", "entries", "/proc/self/fd", lambda run: run.open_fds),
    gauge(
        "process_start_time_seconds",
        "When the agent started",
        "Unix seconds",
        "/proc/self/stat field 22 and btime of /proc/stat",
        lambda run: run.started_at,
    ),
)

AGENT_METRICS = declared(_AGENT, _SOURCES, _PROGRAMS)
PROCESS_METRICS = declared(_PROCESS)
