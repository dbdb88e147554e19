"""agent/overhead/standing.py: findings that do not flap, each with since when it stands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from agent.model.finding import Finding, Kind, Severity
from agent.overhead.standing import Standings, steady
from tests.unit.overhead_hosts import container

WEB = container()


def made(kind: Kind, severity: Severity | None = None, workload: str | None = WEB.id) -> Finding:
    return Finding.of(kind=kind, workload=workload, text="text", evidence="evidence", severity=severity)


def at(second: int) -> datetime:
    return datetime.fromtimestamp(1000 + second, UTC)


def shown(*windows: tuple[Finding, ...]) -> list[list[str]]:
    """What each window shows, as kind and severity."""
    standings: Standings = {}
    told = []
    for second, findings in enumerate(windows):
        out, standings = steady(findings, standings, at(second), (WEB,))
        told.append([f"{finding.id} {finding.severity}" for finding in out])
    return told


@pytest.mark.parametrize("kind", ["throttled", "starved", "memory_pressure", "steal_now"])
def test_a_rate_is_shown_from_its_second_window_in_a_row_on(kind: Kind) -> None:
    there, warning = (made(kind),), [f"{kind} warning"]
    assert shown(there, there, there) == [[], warning, warning]
    assert shown(there, (), there, (), there) == [[]] * 5
    # Two windows without it are a pause, three are its end.
    assert shown(there, there, (), (), there, (), (), ()) == [[], *[warning] * 6, []]


def test_what_is_critical_is_shown_at_once() -> None:
    killed = (made("oom_kills"),)
    assert shown(killed, (), (), (), killed) == [["oom_kills critical"]] * 3 + [[], ["oom_kills critical"]]


@pytest.mark.parametrize("kind", ["vcpus_on_one_core", "cpuset_offline", "limit_above_host"])
def test_what_follows_from_settings_comes_and_goes_with_them(kind: Kind) -> None:
    assert [bool(window) for window in shown((made(kind),), (), (made(kind),))] == [True, False, True]


def test_a_severity_does_not_flap() -> None:
    mild, bad = (made("memory_near_limit"),), (made("memory_near_limit", "critical"),)
    told = shown(mild, mild, bad, mild, mild, bad, mild, mild, mild)
    assert [" ".join(window)[-8:] for window in told] == ["", " warning", *["critical"] * 6, " warning"]


def test_since_when() -> None:
    standings: Standings = {}
    for second in range(4):
        findings, standings = steady((made("throttled"), made("cpuset_offline")), standings, at(second), (WEB,))
    assert {finding.since for finding in findings} == {at(0)}
    findings, standings = steady((), standings, at(9), (WEB,))
    assert [(finding.id, finding.since) for finding in findings] == [("throttled", at(0))]


def test_of_who_is_gone_or_born_anew_nothing_is_kept() -> None:
    standings: Standings = {}
    for second in range(2):
        findings, standings = steady((made("throttled"), made("steal_now", workload=None)), standings, at(second), (WEB,))
    assert [finding.id for finding in steady((), standings, at(2), ())[0]] == ["steal_now"]
    again = replace(WEB, identity="another")
    assert [finding.id for finding in steady((), standings, at(2), (again,))[0]] == ["steal_now"]
    findings, standings = steady((made("throttled"),), standings, at(2), (again,))
    assert "throttled" not in {finding.id for finding in findings}


def test_several_of_one_kind_each_stand_for_themselves() -> None:
    pair = (made("limit_above_host"), made("limit_above_host"))
    findings, standings = steady(pair, {}, at(0), (WEB,))
    assert len(findings) == len(standings) == 2
