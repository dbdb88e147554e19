"""agent/overhead/window.py: whose counters are compared, and what a difference is worth."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.facts.proc_stat import CpuTime
from agent.model.host import Host
from agent.model.values import STAT, UPTIME, CpuSet, ReadTimes
from agent.model.workload import Workload
from agent.overhead.activity import Activity, counter_increase
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, container, cpu, host, machine, thread, times


def activity(before: Workload | None, after: Workload, seconds: float | None = 10.0) -> Activity | None:
    old = host(workloads=() if before is None else (before,))
    return Window(after=host(1.0, (after,)), before=old, seconds=seconds).activity(after)


def seen(before: Workload | None, after: Workload) -> Activity:
    found = activity(before, after)
    assert found is not None
    return found


@given(st.none() | st.floats(0, 1e300), st.none() | st.floats(0, 1e300))
def test_a_difference_is_never_negative(before: float | None, after: float | None) -> None:
    found = counter_increase(before, after)
    assert found is None or found >= 0
    assert (found is None) == (before is None or after is None or after < before)


def test_a_window() -> None:
    found = seen(container(), container(1.0))
    assert not found.since_start
    assert found.seconds == 10
    assert found.run_seconds == pytest.approx(10)
    assert found.delay_seconds == pytest.approx(2)
    assert found.timeslices == 8000
    # What ran for ten seconds and waited for two, in ten.
    assert found.runnable_threads == pytest.approx(1.2)
    assert found.active_threads == 2
    assert found.usage_seconds == pytest.approx(3)
    assert (found.periods, found.throttled_periods) == (100, 10)
    assert found.throttled_seconds == pytest.approx(0.1)


def test_each_counter_has_its_own_seconds() -> None:
    """The second pass came to its group 0.5 s late, the first one to its threads 1 s late, and to /proc/stat half a second."""
    after = replace(container(1.0), cgroup="/one", pid=11)
    read_at: ReadTimes = {UPTIME: 20.0, "/one": 20.5, 11: 20.0, STAT: 20.0}
    began_at: ReadTimes = {UPTIME: 10.0, "/one": 10.0, 11: 11.0, STAT: 10.5}
    window = Window.between(host(1.0, (after,)), read_at, host(workloads=(container(),)), began_at)
    found = window.activity(after)
    assert found is not None
    assert (window.seconds, found.seconds, found.group_seconds, window.cpu_seconds) == (10.0, 9.0, 10.5, 9.5)
    # Half of the CPUs' time is its own, each over its own seconds.
    assert window.others(1.5, found, 4.5, found.seconds) == 1.0
    assert window.others(1.5, found, 10.5, found.group_seconds) == 0.5
    assert window.others(0.2, found, 4.5, found.seconds) == 0.0


def test_what_has_no_date_was_read_with_the_rest() -> None:
    after = replace(container(1.0), cgroup="/one", pid=11)
    window = Window.between(host(1.0, (after,)), {UPTIME: 20.0, "/one": 20.5}, host(workloads=(container(),)), {UPTIME: 10.0, 11: 11.0})
    found = window.activity(after)
    assert found is not None
    assert (found.seconds, found.group_seconds, window.cpu_seconds) == (10.0, 10.0, 10.0)


def test_a_life_is_shorter_than_the_cpus() -> None:
    window = Window(after=host(1.0, (container(1.0),)))
    found = window.activity(container(1.0))
    assert found is not None
    assert found.since_start
    assert window.cpu_seconds is not None
    assert window.others(1.0, found, window.cpu_seconds / 4, found.seconds) == 0.75


def test_a_machine_is_its_vcpus() -> None:
    assert seen(machine(), machine(1.0)).run_seconds == pytest.approx(10)


@pytest.mark.parametrize("seconds", [0.0, -1.0, None])
def test_without_time_there_is_no_activity(seconds: float | None) -> None:
    assert activity(container(), container(1.0), seconds) is None


@pytest.mark.parametrize("name", ["usage_usec", "periods", "throttled_periods", "throttled_usec"])
def test_a_counter_of_the_group_that_went_back_is_none(name: str) -> None:
    after = container(1.0)
    found = seen(container(), replace(after, cpu=replace(after.cpu, **{name: 0})))
    field = {"usage_usec": "usage_seconds", "throttled_usec": "throttled_seconds"}.get(name, name)
    whole = seen(container(), after)
    assert getattr(found, field) is None
    assert replace(found, **{field: getattr(whole, field)}) == whole


@pytest.mark.parametrize(("name", "field"), [("run_ns", "run_seconds"), ("delay_ns", "delay_seconds"), ("timeslices", "timeslices")])
@pytest.mark.parametrize("value", [0, None])
def test_one_thread_without_a_difference_leaves_no_sum(name: str, field: str, value: int | None) -> None:
    after = container(1.0)
    broken = replace(after.threads[0], **{name: value})
    found = seen(container(), replace(after, threads=(broken, after.threads[1])))
    assert getattr(found, field) is None


def test_a_workload_reborn_under_its_id_is_not_joined() -> None:
    reborn = replace(container(), identity="c0ffee:2", started_seconds=1008.0)
    found = seen(container(), reborn)
    assert found.since_start
    assert found.seconds == pytest.approx(2)
    assert found.usage_seconds == pytest.approx(1)


def test_a_workload_born_within_the_window_counts_whole() -> None:
    found = seen(None, replace(container(), started_seconds=1006.0))
    assert found.since_start
    assert found.seconds == pytest.approx(4)
    assert found.run_seconds == pytest.approx(10)


def test_a_workload_of_unknown_birth_has_no_activity() -> None:
    assert activity(None, replace(container(), started_seconds=None)) is None
    assert activity(None, replace(container(), started_seconds=2000.0)) is None


def with_threads(workload: Workload, *tids: tuple[int, int], passed: float = 0.0) -> Workload:
    return replace(workload, threads=tuple(thread(tid, passed, start_ticks=start) for tid, start in tids))


def test_a_thread_born_within_the_window_counts_whole() -> None:
    found = seen(with_threads(container(), (11, 500)), with_threads(container(1.0), (11, 500), (99, 100_500), passed=1.0))
    assert found.run_seconds == pytest.approx(5 + 10)


def test_a_thread_that_takes_a_dead_ones_number_is_another() -> None:
    found = seen(with_threads(container(), (11, 500)), with_threads(container(1.0), (11, 100_500)))
    assert found.run_seconds == pytest.approx(5)


def test_a_thread_that_joined_from_elsewhere_is_not_counted_as_born() -> None:
    found = seen(with_threads(container(), (11, 500)), with_threads(container(1.0), (11, 500), (99, 600), passed=1.0))
    assert (found.run_seconds, found.delay_seconds, found.timeslices) == (None, None, None)
    assert found.usage_seconds == pytest.approx(3)


def test_a_thread_of_unknown_start_is_nobody() -> None:
    unknown = replace(thread(11, 1.0), start_ticks=None)
    assert seen(container(), replace(container(1.0), threads=(unknown,))).run_seconds is None


def test_one_host_is_each_workloads_life() -> None:
    after = host(1.0)
    found = Window(after=after).activity(after.workloads[0])
    assert found is not None
    assert found.since_start
    assert found.seconds == pytest.approx(1005)
    assert Window(after=after).busy_cpus(BOTH) == pytest.approx(2 * 106 / 1010)


def _times(host: Host, *found: CpuTime) -> Host:
    return replace(host, logical=replace(host.logical, cpu=replace(host.logical.cpu, times=found)))


def test_busy_cpus() -> None:
    window = Window(after=_times(host(1.0), times(0, 104, 1.0), times(1, 110, 1.0)), before=host(), seconds=10.0)
    assert window.busy_cpus(CpuSet((0,))) == pytest.approx(0.4)
    assert window.busy_cpus(BOTH) == pytest.approx(1.4)
    assert window.busy_cpus(CpuSet()) is None


def test_idle_time_says_what_modes_sampled_at_ticks_do_not() -> None:
    sampled = replace(times(0, 104, 1.0), user_seconds=108.0)
    assert Window(after=_times(host(1.0), sampled), before=host(), seconds=10.0).busy_cpus(CpuSet((0,))) == pytest.approx(0.4)


def test_a_cpu_that_went_offline_or_came_is_unknown_and_spoils_no_other() -> None:
    gone = Window(after=_times(host(1.0), times(0, 104, 1.0)), before=host(), seconds=10.0)
    came = Window(after=host(1.0), before=_times(host(), times(0, 100)), seconds=10.0)
    reset = Window(
        after=_times(
            host(1.0), times(0, 106, 1.0), CpuTime(cpu=1, user_seconds=3.0, nice_seconds=0.0, system_seconds=0.0, idle_seconds=2.0)
        ),
        before=host(),
        seconds=10.0,
    )
    for window in (gone, came, reset):
        assert window.busy_cpus(CpuSet((1,))) is None
        assert window.busy_cpus(BOTH) is None
        assert window.busy_cpus(CpuSet((0,))) is not None


def test_a_cpu_whose_every_mode_stands_still_is_unknown_and_not_busy() -> None:
    """gVisor's /proc/stat is all zeros, and that of a container of an old lxcfs stands where it was read first."""
    still = Window(after=_times(host(1.0), times(0, 100), times(1, 106, 1.0)), before=host(), seconds=10.0)
    assert still.busy_cpus(CpuSet((0,))) is None
    assert still.busy_cpus(BOTH) is None
    assert still.busy_cpus(CpuSet((1,))) == pytest.approx(0.6)


def test_a_cpu_that_runs_without_a_pause_is_busy() -> None:
    busy = Window(after=_times(host(1.0), times(0, 110, 1.0)), before=host(), seconds=10.0)
    assert busy.busy_cpus(CpuSet((0,))) == pytest.approx(1.0)


@pytest.mark.parametrize("names", [("idle_seconds",), ("iowait_seconds",), ("idle_seconds", "iowait_seconds")])
def test_without_its_idle_time_nobody_knows_how_busy_a_cpu_was(names: tuple[str, ...]) -> None:
    """A mode that was left out, as what it said could not be true, is not one that the kernel does not have."""

    def short(passed: float) -> CpuTime:
        return replace(times(0, 100 + 6 * passed, passed), irq_seconds=0.0, **dict.fromkeys(names))

    assert Window(after=_times(host(1.0), short(1.0)), before=_times(host(), short(0.0)), seconds=10.0).busy_cpus(CpuSet((0,))) is None


def test_since_boot_a_cpu_of_zeros_is_unknown() -> None:
    nothing = CpuTime(cpu=1, user_seconds=0.0, nice_seconds=0.0, system_seconds=0.0, idle_seconds=0.0)
    stolen = replace(nothing, cpu=2, idle_seconds=900.0, iowait_seconds=0.0, irq_seconds=0.0, softirq_seconds=0.0, guest_seconds=0.0)
    window = Window(after=_times(host(), times(0, 100), nothing, stolen))
    assert window.busy_cpus(CpuSet((0,))) == pytest.approx(0.1)
    assert window.busy_cpus(CpuSet((1,))) is None
    # Its steal was left out, so that its busy time is not known, either.
    assert window.busy_cpus(CpuSet((2,))) is None


@pytest.mark.parametrize("seconds", [0.0, -3.0, None])
def test_without_time_no_cpu_was_busy_or_idle(seconds: float | None) -> None:
    assert Window(after=host(1.0), before=host(), seconds=seconds).busy_cpus(BOTH) is None


def test_a_suspended_host_was_not_busy_meanwhile() -> None:
    """The clock of counters stands still, the uptime goes on: a window is as long as what was counted in it."""
    slept = host(1.0)
    slept = replace(slept, identity=replace(slept.identity, uptime_seconds=(slept.identity.uptime_seconds or 0.0) + 1e5))
    woken, awake = Window(after=slept, before=host(), seconds=10.0), Window(after=host(1.0), before=host(), seconds=10.0)
    assert woken.busy_cpus(BOTH) == awake.busy_cpus(BOTH)
    for one in slept.workloads:
        assert woken.activity(one) == awake.activity(one)


def test_two_thousand_workloads_are_found_in_linear_time() -> None:
    def crowd(passed: float) -> Host:
        made = replace(container(passed), cpu=cpu(passed))
        return host(passed, tuple(replace(made, id=f"{number}", identity=f"{number}:1") for number in range(2000)))

    window = Window(after=crowd(1.0), before=crowd(0.0), seconds=10.0)
    began = process_time()
    assert all(window.activity(workload) is not None and window.busy_cpus(BOTH) is not None for workload in window.after.workloads)
    assert process_time() - began < 1
