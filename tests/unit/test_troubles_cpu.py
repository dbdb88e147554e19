"""agent/overhead/troubles_cpu.py: CPU time and tasks that run out, and the near misses that stay silent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.model.facts.cgroup import Pids, WorkloadCpu
from agent.model.host import Host
from agent.model.values import UNLIMITED, Limit
from agent.model.workload import Workload
from tests.unit.overhead_hosts import thread
from tests.unit.trouble_hosts import at, docker, found, kinds, of_one


def limited(passed: float, quota: float | None = 0.5, *, periods: int = 100, stopped: int | None = 100, used: float = 0.5) -> Workload:
    """Within ten seconds; quota and usage in CPUs."""
    cpu = WorkloadCpu(
        quota_usec=None if quota is None else Limit(quota * 100_000),
        period_usec=100_000,
        usage_usec=int(passed * used * 1e7),
        periods=int(passed * periods),
        throttled_periods=None if stopped is None else int(passed * stopped),
    )
    return docker(passed, cpu=cpu)


@pytest.mark.parametrize(
    ("case", "busy", "expected"),
    [
        ({}, 3.0, {"throttled": "warning"}),
        ({"stopped": 25, "used": 0.45}, 3.0, {"throttled": "warning"}),
        ({"quota": 1.5, "used": 1.5}, 7.4, {"throttled": "warning"}),
        ({"stopped": 24, "used": 0.45}, 3.0, {}),
        # Nobody has CPU time to give.
        ({}, 9.0, {}),
        # Its bursts want more, and on average it wants less.
        ({"stopped": 30, "used": 0.2}, 3.0, {"throttled_bursts": "warning"}),
        ({"stopped": 10, "used": 0.39}, 1.0, {"throttled_bursts": "warning"}),
        ({"stopped": 12, "periods": 40, "used": 0.1}, 1.0, {"throttled_bursts": "warning"}),
        ({"stopped": 9, "used": 0.2}, 3.0, {}),
        ({"stopped": 30, "used": 0.2}, 9.9, {}),
        # As many CPUs as it may use: no quota is in its way.
        ({"quota": 2.0, "used": 1.9}, 1.0, {}),
        ({"quota": None}, 3.0, {}),
        ({"quota": float("inf")}, 3.0, {}),
        ({"stopped": None}, 3.0, {}),
        ({"periods": 4, "stopped": 4}, 3.0, {}),
    ],
)
def test_stopped_by_a_quota_while_cpus_stand_idle(case: dict[str, Any], busy: float, expected: dict[str, str]) -> None:
    assert kinds(of_one(limited(0.0, **case), limited(1.0, **case), busy=busy)) == expected
    assert found(None, at(1.0, limited(1.0, **case), busy=busy)) == []


def test_a_quota_on_cpus_of_which_the_load_is_not_known() -> None:
    def blind(passed: float) -> Host:
        made = at(passed, limited(passed))
        return replace(made, logical=replace(made.logical, cpu=replace(made.logical.cpu, times=())))

    assert found(blind(0.0), blind(1.0)) == []


def test_a_larger_quota_is_one_command() -> None:
    (finding,) = of_one(limited(0.0), limited(1.0), busy=3.0)
    assert finding.evidence == "100 of 100 periods; 0.50 of 0.5 CPUs used, 1.40 of 2 CPUs 0-1 idle"
    assert finding.remedy == "docker update --cpus 0.8 web"
    threads = [replace(limited(at_), threads=(thread(11, at_), thread(12, at_))) for at_ in (0.0, 1.0)]
    (wanting,) = [one for one in of_one(*threads, busy=3.0) if one.id == "throttled"]
    assert wanting.remedy == "docker update --cpus 1.2 web"


# Tasks.


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Pids(), Pids(current=90, max=Limit(100)), {"pids_near_limit": "warning"}),
        (Pids(), Pids(current=97, max=Limit(100)), {"pids_near_limit": "critical"}),
        (Pids(max_events=3), Pids(current=20, max=Limit(100), max_events=9), {"pids_near_limit": "critical"}),
        (Pids(max_events=3), Pids(current=95, max=Limit(100), max_events=3), {"pids_near_limit": "warning"}),
        # Those that a group above refused are not this limit's.
        (Pids(max_events=3, own_max_events=0), Pids(current=20, max=Limit(100), max_events=9, own_max_events=0), {}),
        (Pids(), Pids(current=89, max=Limit(100)), {}),
        (Pids(), Pids(current=4000, max=UNLIMITED), {}),
        (Pids(), Pids(current=None, max=Limit(100)), {}),
        (Pids(), Pids(current=90, max=None), {}),
    ],
)
def test_tasks_near_their_limit(before: Pids, after: Pids, expected: dict[str, str]) -> None:
    findings = of_one(docker(0.0, pids=before), docker(1.0, pids=after))
    assert kinds(findings) == expected
    assert all(finding.remedy == "docker update --pids-limit 200 web" for finding in findings)


# Neighbours.


def running(id_: str, passed: float, ran: float, waited: float, **changes: Any) -> Workload:
    """One thread, which runs and waits so many seconds of ten."""
    worker = replace(
        thread({"web": 11, "hog": 12, "other": 13}.get(id_, 14)),
        run_ns=int(passed * ran * 1e9),
        delay_ns=int(passed * waited * 1e9),
        timeslices=int(passed * 1000),
    )
    used = WorkloadCpu(usage_usec=int(passed * ran * 1e6), weight=changes.pop("weight", 100))
    group = changes.pop("cgroup", f"/system.slice/docker-{id_}.scope")
    return docker(passed, id=id_, identity=id_, name=id_, threads=(worker,), cpu=used, cgroup=group, **changes)


def crowd(passed: float, *rows: tuple[str, float, float], busy: float = 10.0, **changes: Any) -> Host:
    first, *rest = rows
    workloads = [running(first[0], passed, *first[1:], **changes), *(running(row[0], passed, *row[1:]) for row in rest)]
    return at(passed, *workloads, busy=busy)


@pytest.mark.parametrize(
    ("rows", "busy", "expected"),
    [
        ([("web", 2.0, 3.0), ("hog", 10.0, 0.1), ("other", 6.0, 0.1)], 9.9, ["web"]),
        ([("web", 1.0, 1.1), ("hog", 10.0, 0.1), ("other", 6.0, 0.1)], 9.9, ["web"]),
        # Both want the same CPUs.
        ([("web", 7.0, 7.0), ("hog", 7.0, 7.0)], 9.9, ["web", "hog"]),
        ([("web", 8.0, 2.0), ("hog", 10.0, 0.1)], 9.9, []),
        # It wants next to nothing, and gets half of it.
        ([("web", 0.4, 0.6), ("hog", 10.0, 0.1)], 9.9, []),
        # A CPU stands idle: it waits for something else.
        ([("web", 2.0, 3.0), ("hog", 6.0, 0.1)], 7.9, []),
        # It is in its own way: nobody else is there.
        ([("web", 16.0, 8.0), ("hog", 0.1, 0.0)], 9.9, []),
    ],
)
def test_starved_by_neighbours(rows: list[tuple[str, float, float]], busy: float, expected: list[str]) -> None:
    findings = found(crowd(0.0, *rows, busy=busy), crowd(1.0, *rows, busy=busy))
    assert [(finding.id, finding.workload) for finding in findings] == [("starved", name) for name in expected]
    assert found(None, crowd(1.0, *rows, busy=busy)) == []


def test_neighbours_have_names_and_shares() -> None:
    rows = (("web", 2.0, 3.0), ("hog", 10.0, 0.1), ("other", 6.0, 0.1))
    (finding,) = found(crowd(0.0, *rows), crowd(1.0, *rows))
    assert finding.text == "it waits 60% of the time that it wants to run, behind hog 50%, other 30%"
    assert finding.evidence == ("ran 0.20 and waited 0.30 s a second; others keep 90% of CPUs 0-1 busy, 10% of it what is in no workload")
    assert finding.remedy == "docker update --cpu-shares 10240 web"


def test_a_weight_counts_among_those_beside_it() -> None:
    rows = (("web", 2.0, 3.0), ("hog", 10.0, 0.1))

    def told(**changes: Any) -> dict[str, str | None]:
        pair = found(crowd(0.0, *rows, **changes), crowd(1.0, *rows, **changes))
        return {finding.id: finding.remedy for finding in pair}

    raised = told(weight=800, cgroup="/web.slice/docker-web.scope")
    assert raised["weight_without_effect"] == "systemctl set-property web.slice CPUWeight=800"
    assert told(weight=800).keys() == {"starved"}
    assert told(weight=100, cgroup="/web.slice/docker-web.scope").keys() == {"starved"}
    assert told(weight=None, cgroup="/web.slice/docker-web.scope").keys() == {"starved"}


def test_waiting_for_its_own_quota_is_no_neighbour_s_fault() -> None:
    def throttled(passed: float) -> Host:
        web, hog = running("web", passed, 2.0, 8.0), running("hog", passed, 10.0, 0.1)
        stopped = replace(web.cpu, throttled_usec=int(passed * 7.9e6))
        return at(passed, replace(web, cpu=stopped), hog, busy=9.9)

    assert found(throttled(0.0), throttled(1.0)) == []
