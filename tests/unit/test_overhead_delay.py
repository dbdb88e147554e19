"""agent/overhead/delay.py: what a thread cannot have waited, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.facts.proc_pressure import Pressure, Pressures
from agent.model.host import Host
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.delay import EDGE_SHARE, possible_waits, pressed_share
from agent.overhead.residuals import judge
from agent.overhead.window import Window
from tests.unit.overhead_hosts import container, host, thread

GAINED_NS = 5_016_000_000


def window(sleeper: str | None, gained_ns: int, waited_usec: int | None = None, seconds: float = 4.0) -> Window:
    """A thread that runs and one of which the kernel says that it waited, on a host where somebody waited for so long."""
    plain = replace(container(), cpu=replace(container().cpu, pressure_some_usec=None, period_usec=None, quota_usec=None))

    def at(passed: float, delay_ns: int, usec: int) -> Host:
        threads = (thread(11, passed / 10), replace(thread(12, 0.0, "S"), state=sleeper, delay_ns=delay_ns))
        workload: Workload = replace(plain, threads=threads)
        read = host(passed / 10, (workload,))
        pressures = None if waited_usec is None else Pressures(cpu=Pressure(some_usec=usec))
        return replace(read, logical=replace(read.logical, pressure=pressures))

    return Window(after=at(seconds, 7 + gained_ns, 5 + (waited_usec or 0)), before=at(0.0, 7, 5), seconds=seconds)


def waits(over: Window) -> Prediction:
    (found,) = [prediction for prediction in predict(over) if prediction.component == "run_queue_delay"]
    return found


def test_a_sleep_that_the_kernel_counts_as_waiting_is_left_out() -> None:
    """`sleep 5` gained 5.016 s of delay, in a window of four seconds."""
    lying, silent = window("S", GAINED_NS), window("S", 0)
    found, before = waits(lying), waits(silent)
    assert found.measured == before.measured
    assert found.validity == ("impossible_delay",)
    assert (found.inside, before.inside is None) == (None, False)
    (gap,) = lying.gaps
    assert (gap.source, gap.reason) == ("proc_task", "failed")
    assert gap.detail.startswith("proc/PID/task/TID/schedstat, of c0ffee: the run delay of 1 thread that slept")
    assert silent.gaps == ()


def test_what_is_not_judged_is_not_learnt() -> None:
    kept = [judge(predict(over), over, {})[1] for over in (window("S", 0), window("S", GAINED_NS))]
    assert [("c0ffee", "c0ffee:1", "run_queue_delay") in residuals for residuals in kept] == [True, False]


@pytest.mark.parametrize("state", ["R", "t"])
def test_who_was_not_asleep_waited_as_long_as_can_be(state: str) -> None:
    """A wait that began before the window is counted when it ends."""
    found = waits(window(state, GAINED_NS))
    assert found.validity == ("ok",)
    running = waits(window("S", 0)).measured or 0.0
    assert found.measured == pytest.approx(running + 1 + EDGE_SHARE)


def test_a_short_sleep_is_told_by_pressure() -> None:
    """0.9 s of 4 may be waiting; where somebody waited for 13 ms in all, it is not, whichever of two CPUs it was on."""
    assert window("S", 900_000_000).gaps == ()
    assert waits(window("S", 900_000_000)).inside is not None
    assert waits(window("S", 900_000_000, waited_usec=13_000)).inside is None
    assert len(window("S", 900_000_000, waited_usec=13_000).gaps) == 1
    pressed = window("S", 900_000_000, waited_usec=2_000_000)
    assert (waits(pressed).inside is None, pressed.gaps) == (False, ())


def test_the_pressure_of_the_group_counts() -> None:
    def grouped(waited_usec: int) -> Window:
        over = window("S", 900_000_000)
        assert over.before is not None
        ends = []
        for read, usec in ((over.before, 0), (over.after, waited_usec)):
            (workload,) = read.workloads
            ends.append(replace(read, workloads=(replace(workload, cpu=replace(workload.cpu, pressure_some_usec=usec)),)))
        return replace(over, before=ends[0], after=ends[1])

    assert waits(grouped(1000)).inside is None
    assert waits(grouped(2_000_000)).inside is not None


def test_a_whole_life_has_no_sleep_at_its_beginning() -> None:
    over = window("S", GAINED_NS)
    alone = Window(after=over.after)
    assert waits(alone).validity == ("since_start",)
    assert alone.gaps == ()


@pytest.mark.parametrize(
    ("pressures", "cpus", "share"),
    [
        ((), 4, 1.0),
        ((None, None), 4, 1.0),
        ((0.01, None), 4, 0.2),
        ((0.01, 0.0001), 1, 0.01),
        ((1.0, 1.0), 64, 1.0),
        ((0.0,), 8, 0.0),
        ((0.0, 0.01), 0, 1.0),
    ],
)
def test_the_most_that_one_waits(pressures: tuple[float | None, ...], cpus: int, share: float) -> None:
    assert pressed_share(pressures, cpus) == pytest.approx(share)


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 10**11), st.none() | st.integers(0, 10**11), st.booleans()), max_size=9),
    st.floats(0.1, 100),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_laws(threads: list[tuple[int | None, int | None, bool]], seconds: float, pressed: float, period: float) -> None:
    """Nothing that can be is changed, nothing grows, and nobody waits for longer than the rest of the window and its edges."""
    run, delays, asleep = zip(*threads, strict=True) if threads else ((), (), ())
    found = possible_waits(run, delays, asleep, seconds=seconds, pressed=pressed, period_seconds=period)
    edge = EDGE_SHARE * seconds + period
    assert len(found.delays_ns) == len(threads)
    for ran, delay, slept, possible in zip(run, delays, asleep, found.delays_ns, strict=True):
        most = max(0.0, seconds - (ran or 0) * 1e-9)
        most = (min(pressed * seconds, most) if slept else most) + edge
        assert (possible is None) == (delay is None)
        if delay is not None and possible is not None:
            assert possible == delay if delay * 1e-9 < most * (1 - 1e-9) else possible <= delay
            assert possible * 1e-9 <= most * (1 + 1e-9)
    assert found.left_out <= sum(asleep)
    again = possible_waits(run, found.delays_ns, asleep, seconds=seconds, pressed=pressed, period_seconds=period)
    assert (again.delays_ns, again.left_out) == (found.delays_ns, 0)
