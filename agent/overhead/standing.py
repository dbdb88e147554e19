"""Findings from window to window: since when each stands, and that none flaps.

What follows from a rate is shown from its second window in a row on, unless it is critical, and until it was missing in three in a row.
What follows from settings is shown when it is there. Whoever takes the windows keeps what stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from agent.model.finding import SEVERITIES, Finding, Kind
from agent.model.values import Fact
from agent.model.workload import Workload

RATES: frozenset[Kind] = frozenset(
    (
        *("oom_kills", "memory_near_limit", "memory_pressure", "thrashing", "throttled", "throttled_bursts", "pids_near_limit"),
        *("starved", "weight_without_effect", "isolated_cpus_used", "cpus_overcommitted", "interrupts_on_isolated_cpus", "steal_now"),
        "exclusive_cpus_shared",
    )
)
"""Kinds that come and go with what a window measured."""
APPEARS = 2
GONE = 3
"""Windows in a row until a finding of a rate is shown, and until it is shown no longer, or no longer as severe."""

Key = tuple[Kind, str | None, str, int]
"""Kind, workload, its identity, and which of several of one kind."""


class Standing(Fact, frozen=True, kw_only=True):
    """A finding as it was last made; `windows` in which it was, `missing` and `milder` ones in a row up to now."""

    finding: Finding
    since: datetime
    windows: int = 1
    missing: int = 0
    milder: int = 0


Standings = dict[Key, Standing]


def steady(
    findings: Sequence[Finding], standings: Standings, now: datetime, workloads: Iterable[Workload]
) -> tuple[tuple[Finding, ...], Standings]:
    """The findings to show, each with since when, and what to keep for the next window: of who is gone, nothing."""
    identities = {workload.id: workload.identity for workload in workloads}
    kept: Standings = {}
    for finding in findings:
        key = _key(finding, identities, kept)
        kept[key] = _renewed(standings.get(key), finding, now)
    for key, standing in standings.items():
        kind, workload, identity, _ = key
        is_there = workload is None or identities.get(workload) == identity
        # What was never shown has to come twice in a row.
        if key not in kept and kind in RATES and is_there and _is_shown(standing) and standing.missing + 1 < GONE:
            kept[key] = replace(standing, missing=standing.missing + 1)
    return tuple(replace(standing.finding, since=standing.since) for standing in kept.values() if _is_shown(standing)), kept


def _is_shown(standing: Standing) -> bool:
    finding = standing.finding
    return finding.id not in RATES or standing.windows >= APPEARS or finding.severity == "critical"


def _key(finding: Finding, identities: dict[str, str], taken: Standings) -> Key:
    identity, place = identities.get(finding.workload or "", ""), 0
    while (finding.id, finding.workload, identity, place) in taken:
        place += 1
    return finding.id, finding.workload, identity, place


def _renewed(standing: Standing | None, finding: Finding, now: datetime) -> Standing:
    if standing is None:
        return Standing(finding=finding, since=now)
    before, milder = standing.finding.severity, standing.milder + 1
    if SEVERITIES.index(finding.severity) <= SEVERITIES.index(before) or finding.id not in RATES or milder >= GONE:
        milder = 0
    else:
        finding = replace(finding, severity=before)
    return Standing(finding=finding, since=standing.since, windows=standing.windows + 1, milder=milder)
