"""agent/overhead/habits.py: what a thread neither ran nor, by its habit, slept, it waited; of two ways the better one is shown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.snapshot import Prediction
from agent.overhead import parameters
from agent.overhead.activity import ThreadTimes
from agent.overhead.compose import predict
from agent.overhead.habits import NO_HABITS, Habit, Key, learned, waiting
from agent.overhead.residuals import Histories, judge
from agent.overhead.window import Window
from tests.unit.overhead_hosts import container, host, machine, thread

SLEEP = parameters.SLEEP
SECONDS = 10.0
KEY = (11, thread(11).start_ticks or 0)


def window(run: float, wait: float, switches: float, habits: Mapping[Key, Habit] = NO_HABITS, state: str = "R") -> Window:
    """A container of one thread that ran and waited for so much of each of ten seconds."""

    def at(passed: float) -> Host:
        worker = replace(
            thread(11),
            state=state,
            run_ns=int(run * 1e9 * SECONDS * passed),
            delay_ns=int(wait * 1e9 * SECONDS * passed),
            timeslices=int(switches * SECONDS * passed),
            voluntary_switches=int(switches * SECONDS * passed),
        )
        plain = container(passed)
        cpu = replace(plain.cpu, usage_usec=int(run * 1e6 * SECONDS * passed), throttled_usec=0, throttled_periods=0)
        return host(passed, (replace(plain, threads=(worker,), cpu=cpu),))

    return Window(after=at(1.0), before=at(0.0), seconds=SECONDS, habits=habits)


def habits_of(seen: Window, habits: Mapping[Key, Habit] = NO_HABITS) -> dict[Key, Habit]:
    return learned(habits, map(seen.activity, seen.after.workloads))


def delay(seen: Window) -> Prediction:
    (found,) = [prediction for prediction in predict(seen) if prediction.component == "run_queue_delay"]
    return found


@pytest.mark.parametrize(
    ("quiet", "loaded", "waited"),
    [
        # 100 wake-ups a second of 1 ms each; 40 of them, when neighbours make each of them wait for 16 ms.
        ((0.1, 0.0, 100.0), (0.04, 0.6, 40.0), 0.6),
        # One long burst a second, and six in ten seconds.
        ((0.5, 0.0, 1.0), (0.3, 0.4, 0.6), 0.4),
        # A thread that never sleeps.
        ((0.99, 0.01, 0.0), (0.25, 0.75, 0.0), 0.75),
    ],
)
def test_what_neighbours_make_it_wait_follows_from_how_it_slept(
    quiet: tuple[float, float, float], loaded: tuple[float, float, float], waited: float
) -> None:
    habits = habits_of(window(*quiet))
    found = delay(window(*loaded, habits))
    assert found.value == pytest.approx(waited, abs=0.02)
    assert found.lo <= found.value <= found.hi
    assert "habit" in found.validity
    assert found.by_contention is not None
    assert found.by_contention.value != found.value


def test_the_delay_of_the_window_itself_takes_no_part() -> None:
    habits = habits_of(window(0.1, 0.0, 100.0))
    first, second = (delay(window(0.04, wait, 40.0, habits)) for wait in (0.1, 0.6))
    assert (first.value, first.lo, first.hi) == (second.value, second.lo, second.hi)
    assert [first.measured, second.measured] == pytest.approx([0.1, 0.6])


@pytest.mark.parametrize("component", ["cpu_pressure", "steal"])
def test_what_follows_from_the_delay_has_both_ways_too(component: str) -> None:
    def at(passed: float) -> Host:
        return host(passed, (machine(passed), container(passed)))

    plain = Window(after=at(1.0), before=at(0.0), seconds=SECONDS)
    again = replace(plain, habits=learned(NO_HABITS, map(plain.activity, plain.after.workloads)))
    (before,) = [figure for figure in predict(plain) if figure.component == component]
    (found,) = [figure for figure in predict(again) if figure.component == component]
    assert before.by_contention is None
    assert found.by_contention is not None
    assert (found.by_contention.value, found.by_contention.lo, found.by_contention.hi) == (before.value, before.lo, before.hi)
    assert "habit" in found.validity


def test_who_has_no_habit_is_told_by_what_competes() -> None:
    """One thread that nobody has seen, of two, is enough: a sum over the other would be less."""
    stranger = ThreadTimes((12, 1), 0.5, 0.0, 1.0)
    assert waiting((ThreadTimes(KEY, 0.5, 0.0, 1.0), stranger), {KEY: (0.5, 1.0)}, SLEEP) is None
    # One that did nothing waited for nothing.
    still = ThreadTimes((12, 1), 0.0, 0.0, 0.0)
    assert waiting((ThreadTimes(KEY, 0.5, 0.0, 1.0), still), {KEY: (0.5, 1.0)}, SLEEP) == pytest.approx((0.0, 0.0, 0.115))
    assert waiting(None, {KEY: (0.5, 1.0)}, SLEEP) is None


def test_habits_are_smoothed_and_end_with_their_thread() -> None:
    first = habits_of(window(0.5, 0.0, 10.0))
    assert first == {KEY: pytest.approx((0.5, 10.0))}
    second = habits_of(window(0.2, 0.0, 20.0), first)
    assert second == {KEY: pytest.approx((0.53, 11.0))}
    # Of who did nothing, as before.
    assert habits_of(window(0.0, 0.0, 0.0), second) == second
    gone = Window(after=host(1.0, ()), before=host(), seconds=SECONDS)
    assert habits_of(gone, second) == {}


def test_a_sleep_that_was_counted_as_waiting_is_no_habit() -> None:
    first = habits_of(window(0.5, 0.0, 10.0))
    assert habits_of(window(0.1, 1.2, 10.0, state="S"), first) == first


shares = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e4))


@given(st.lists(st.tuples(shares, st.tuples(st.floats(0, 1), st.floats(0, 1e4))), min_size=1, max_size=5))
def test_nobody_waits_for_longer_than_it_does_not_run(threads: list[tuple[tuple[float, float, float], tuple[float, float]]]) -> None:
    times = [ThreadTimes((number, 0), run, wait * (1 - run), switches) for number, ((run, wait, switches), _) in enumerate(threads)]
    habits = {(number, 0): habit for number, (_, habit) in enumerate(threads)}
    found = waiting(times, habits, SLEEP)
    assert found is not None
    point, low, high = found
    assert 0 <= low <= point <= high <= sum(1 - thread.run for thread in times) + 1e-9
    # Who runs more, and sleeps as often, waited less.
    more = waiting([thread._replace(run=(1 + thread.run) / 2) if thread.run else thread for thread in times], habits, SLEEP)
    assert more is not None
    assert more[0] <= point + 1e-9


@pytest.mark.parametrize(("habit_off", "contention_off", "better"), [(1.0, 3.0, "habit"), (3.0, 1.0, "contention")])
def test_the_way_that_was_off_by_less_is_shown(habit_off: float, contention_off: float, better: str) -> None:
    """Both are said of each window. What is measured moves by a factor of three, and one of them with it."""
    kept: Histories = {}
    quiet = habits_of(window(0.1, 0.0, 100.0))
    shown = delay(window(0.04, 0.6, 40.0, quiet))
    for number in range(30):
        measured = 0.2 * 3 ** (number % 2)
        made = delay(window(0.04, 0.6, 40.0, quiet))
        assert made.by_contention is not None
        noise = 3 ** (number // 2 % 2)
        prediction = replace(
            made,
            measured=measured,
            value=measured * (1 + (habit_off - 1) * noise),
            by_contention=replace(made.by_contention, value=measured * (1 + (contention_off - 1) * noise)),
        )
        (shown,), kept = judge((prediction,), window(0.04, 0.6, 40.0), kept)
    assert shown.interval == "learned"
    assert ("habit" in shown.validity) == (better == "habit")
    assert shown.by_contention is not None
    assert (shown.formula == shown.by_contention.formula) == (better == "contention")
    assert shown.hi - shown.lo <= shown.by_contention.hi - shown.by_contention.lo


def test_an_idle_workload_loses_nothing_whatever_was_learnt() -> None:
    kept: Histories = {}
    for number in range(12):
        busy = replace(delay(window(0.04, 0.6, 40.0)), measured=0.3 + 0.1 * (number % 3))
        _, kept = judge((busy,), window(0.04, 0.6, 40.0), kept)
    (idle,), _ = judge((delay(window(0.0, 0.0, 0.0)),), window(0.0, 0.0, 0.0), kept)
    assert (idle.value, idle.lo, idle.hi) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("switches", "is_short"), [(0.0, False), (0.1, True), (0.9, True), (1.0, False), (500.0, False)])
def test_who_slept_a_few_times_only_was_looked_at_for_too_short_a_time(switches: float, is_short: bool) -> None:
    """Ten seconds. Who never sleeps is not, nor is who sleeps ten times or more often."""
    assert ("short_window" in delay(window(0.3, 0.1, switches)).validity) == is_short
