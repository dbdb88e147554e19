"""agent/calibrate: what is made of timed chunks, which runs are kept, and which host they are used on. The measuring itself: tests/real."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.calibrate import store
from agent.calibrate.chunks import NoTime, Spread, sampled, slope, spread
from agent.calibrate.conditions import Counters, between, counters
from agent.calibrate.latency import plateaus
from agent.calibrate.machine import machine_of
from agent.calibrate.room import room_bytes
from agent.calibrate.run import at_their_fastest
from agent.calibrate.use import parameters
from agent.model.calibration import Calibration, Conditions, Figure, MachineIdentity, Rung
from collectors.root import SysRoot
from exporters.views import calibration
from tests.unit.overhead_hosts import host
from tests.unit.tree import grow

KIB, MIB = 1 << 10, 1 << 20
CAPACITIES = {1: 48 * KIB, 2: MIB, 3: 32 * MIB}


def made(pressure: float | None = 0.1, *figures: Figure, machine: MachineIdentity | None = None) -> Calibration:
    return Calibration(
        schema="stratascope-calibration/1",
        taken_at=datetime(2026, 11, 1, tzinfo=UTC),
        version="1",
        machine=machine or machine_of(host()),
        cpu=1,
        seconds=20.0,
        conditions=Conditions(pressure),
        figures=figures or (Figure(name="switch_process", unit="seconds", value=2e-6, lo=2e-6, hi=2.2e-6, chunks=80),),
    )


def figure(value: float, hi: float | None = None, unit: str = "seconds") -> Figure:
    return Figure(name="any", unit=unit, value=value, lo=value, hi=hi or value, chunks=40)


def test_a_tenth_of_the_chunks_is_not_disturbed() -> None:
    found = spread([1.0] * 10 + [5.0] * 30)
    assert (found.point, found.median, found.chunks) == (1.0, 5.0, 40)
    with pytest.raises(NoTime):
        spread([1.0] * 11)


def test_what_both_have_falls_out_and_noise_is_no_gain() -> None:
    assert Spread(3.0, 5.0, 40).less(Spread(1.0, 1.0, 12)) == Spread(2.0, 4.0, 12)
    assert Spread(1.0, 1.5, 40).less(Spread(2.0, 9.0, 40)) == Spread(0.0, 0.0, 40)


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_a_difference_is_an_interval(point: float, more: float, other: float, spread_: float) -> None:
    left = Spread(point, point + more, 40).less(Spread(other, other + spread_, 40))
    assert 0 <= left.point <= left.median


def test_a_slope_is_free_of_what_each_call_costs() -> None:
    def run(rounds: int) -> None:
        end = time.perf_counter() + 200e-6 + rounds * 1e-6
        while time.perf_counter() < end:
            pass

    found = slope(run, time.monotonic() + 20)
    assert found.point == pytest.approx(1e-6, rel=0.3)


def test_a_chunk_that_was_sized_under_disturbance_is_sized_anew() -> None:
    """All tries are slow: what they say a round takes is a thousand times too much."""
    calls = 0

    def run(rounds: int) -> None:
        nonlocal calls
        calls += 1
        end = time.perf_counter() + rounds * 1e-6 + (2e-3 if calls <= 3 else 0)
        while time.perf_counter() < end:
            pass

    assert slope(run, time.monotonic() + 20).point == pytest.approx(1e-6, rel=0.3)


def test_what_takes_no_longer_in_long_chunks_has_no_figure_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host whose other processes were in the way of the short chunks only: a difference of nothing is no latency."""
    ticks = itertools.count()
    monkeypatch.setattr("agent.calibrate.chunks.perf_counter", lambda: float(next(ticks)))
    with pytest.raises(NoTime):
        slope(lambda rounds: None, time.monotonic() + 0.1)


def test_what_is_taken_twice_counts_at_its_fastest_and_as_far_as_the_slower_one_went() -> None:
    call = Figure(name="host_call_native", unit="seconds", value=1.1e-7, lo=1.1e-7, hi=1.2e-7, chunks=40)
    beside = Figure(name="host_call_native", unit="seconds", value=2.5e-7, lo=2.5e-7, hi=2.6e-7, chunks=30)
    other = Figure(name="clock", unit="1/second", value=3e9, lo=2.9e9, hi=3e9, chunks=40)
    together = Figure(name="host_call_native", unit="seconds", value=1.1e-7, lo=1.1e-7, hi=2.6e-7, chunks=70)
    assert at_their_fastest([call, other, beside]) == at_their_fastest([beside, other, call]) == (together, other)


def test_no_time_is_no_figure() -> None:
    with pytest.raises(NoTime):
        sampled(lambda: None, time.monotonic() - 1)


def rungs(*latencies_ns: float) -> list[Rung]:
    """From 8 KiB on, each twice the size of the one before."""
    return [
        Rung(size_bytes=8 * KIB << number, seconds=ns * 1e-9, lo=ns * 1e-9, hi=ns * 1.1e-9, huge_pages=True)
        for number, ns in enumerate(latencies_ns)
    ]


BARE = (1.0, 1.0, 1.0, 3.4, 3.5, 3.4, 3.8, 6.5, 12, 13, 13, 14, 25, 80, 101, 105, 110)
GUEST = (1.0, 1.0, 1.0, 3.4, 3.5, 3.4, 3.8, 6.5, 57, 80, 126, 139, 132, 144, 168, 162, 179)


def test_plateaus_bear_a_name_where_the_kernel_knows_the_knee() -> None:
    found = {level.name: level for level in plateaus(rungs(*BARE), CAPACITIES)}
    assert {name: (level.from_bytes, level.to_bytes) for name, level in found.items()} == {
        "L1": (8 * KIB, 32 * KIB),
        "L2": (64 * KIB, 512 * KIB),
        "L3": (2 * MIB, 16 * MIB),
        "DRAM": (128 * MIB, 512 * MIB),
    }
    assert found["L2"].seconds == pytest.approx(3.4e-9)
    assert found["DRAM"].seconds == found["DRAM"].lo == pytest.approx(101e-9)


def test_a_last_cache_that_is_not_there_for_a_guest_is_not_named() -> None:
    assert [level.name for level in plateaus(rungs(*GUEST), CAPACITIES)] == ["L1", "L2", "effective", "DRAM"]


def test_a_second_cache_that_a_neighbour_takes_half_of_is_told_at_its_fastest() -> None:
    """The neighbour on the core's other thread evicts: 512 KiB are no longer answered as 256 KiB are, and no two rungs are alike."""
    found = {level.name: level for level in plateaus(rungs(1.3, 1.3, 1.3, 3.0, 3.7, 4.6, 8.2, 30, 60, 90, 120), CAPACITIES)}
    assert (found["L2"].from_bytes, found["L2"].to_bytes) == (256 * KIB, 256 * KIB)
    assert found["L2"].seconds == pytest.approx(4.6e-9)


def test_two_steps_inside_the_first_cache_are_one_cache() -> None:
    found = plateaus(rungs(1.3, 1.3, 1.6, 1.6, 5, 5, 5, 40, 40), CAPACITIES)
    assert [level.name for level in found].count("L1") == 1
    assert found[0].name == "L1"


def test_what_begins_far_beyond_the_inner_cache_is_disturbed() -> None:
    """From 64 KiB on the second cache answers in 5 ns; a neighbour slows half of it down, evenly."""
    found = plateaus(rungs(1.3, 1.3, 1.3, 4, 5, 30, 30, 30, 90, 120), CAPACITIES)
    assert "L2" not in {level.name for level in found}


def test_without_sizes_nothing_has_a_name() -> None:
    assert {level.name for level in plateaus(rungs(*BARE), {})} == {"effective"}
    assert plateaus([], CAPACITIES) == ()


@given(st.lists(st.floats(0.1, 1e6), max_size=17))
def test_any_ladder_has_ordered_plateaus(latencies: list[float]) -> None:
    for level in plateaus(rungs(*latencies), CAPACITIES):
        assert 0 <= level.lo <= level.seconds <= level.hi
        assert level.from_bytes <= level.to_bytes


def test_a_tenth_of_what_is_available_and_half_of_what_the_group_leaves(tmp_path: Path) -> None:
    grow(tmp_path, {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 41943040 kB\n"})
    assert room_bytes(SysRoot(tmp_path)) == 1 << 30
    grow(tmp_path, {"proc/meminfo": "MemAvailable: 1048576 kB\n"})
    assert room_bytes(SysRoot(tmp_path)) == 64 * MIB
    grow(
        tmp_path, {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "100000000\n", "sys/fs/cgroup/a/memory.current": "1000\n"}
    )
    assert room_bytes(SysRoot(tmp_path)) == 32 * MIB
    grow(tmp_path, {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "1000\n"})
    assert room_bytes(SysRoot(tmp_path)) == 32 * MIB
    v1 = "sys/fs/cgroup/memory/x"
    grow(tmp_path, {"proc/self/cgroup": "4:memory:/x\n", f"{v1}/memory.limit_in_bytes": "9000000", f"{v1}/memory.usage_in_bytes": "1"})
    assert room_bytes(SysRoot(tmp_path)) == 0


def test_a_host_that_does_not_say_what_is_available_gives_no_room(tmp_path: Path) -> None:
    assert room_bytes(SysRoot(tmp_path)) == 0


def test_conditions_are_shares() -> None:
    found = between(Counters(0, 0, 10.0, 2), Counters(5_000_000, 1_000_000_000, 12.0, 2), 10.0)
    assert found == Conditions(0.5, 0.1, 0.1)
    assert between(Counters(), Counters(1, 1, 1.0, 2), 10.0) == Conditions()
    assert between(Counters(5, 5, 5.0, 2), Counters(1, 1, 1.0, 2), 10.0) == Conditions()


def test_own_counters_are_there() -> None:
    found = counters(SysRoot("/"))
    assert found.cpus == len(os.sched_getaffinity(0)) or found.cpus
    assert found.delay_ns is None or found.delay_ns >= 0


def test_a_run_under_load_replaces_no_better_one() -> None:
    assert store.replaces(made(0.9), None)
    assert store.replaces(made(0.1), made(0.02))
    assert not store.replaces(made(0.11), made(0.1))
    assert not store.replaces(made(0.4), made(0.1))
    assert not store.replaces(made(0.6), made(0.1))
    assert store.replaces(made(0.6), made(0.7))
    assert not store.replaces(made(0.6), made(None))
    assert store.replaces(made(0.9), made(0.1, machine=MachineIdentity(kernel="another")))


def test_a_run_that_found_less_replaces_none() -> None:
    both = made(
        0.1,
        Figure(name="a", unit="seconds", value=1, lo=1, hi=1, chunks=40),
        Figure(name="b", unit="seconds", value=1, lo=1, hi=1, chunks=40),
    )
    assert not store.replaces(made(0.1), both)
    assert store.replaces(both, made(0.1))


def test_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "calibration.json"
    assert store.load(str(path)) is None
    store.keep(str(path), made())
    assert store.load(str(path)) == made()
    store.keep(str(path), made(0.2))
    assert store.load(str(path)) == made(0.2)
    assert [name.name for name in path.parent.iterdir()] == ["calibration.json"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"schema": "another"}',
        b"\xff\xfe",
        b"\0" * 4096,
        b" " * (2 << 20),
        msgspec.json.encode(made(0.1, Figure(name="switch_process", unit="seconds", value=1.0, lo=2.0, hi=3.0, chunks=40))),
        msgspec.json.encode(made(0.1, Figure(name="switch_process", unit="seconds", value=-1.0, lo=-1.0, hi=3.0, chunks=40))),
        msgspec.json.encode(made()).replace(b"2e-6", b"1e999"),
    ],
)
def test_what_is_no_calibration_is_not_believed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(store.Unreadable, match="not a calibration"):
        store.load(str(path))
    given_, gap = parameters(str(path), host())
    assert not given_.better
    assert gap is not None
    assert gap.reason == "failed"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(store.Unreadable):
        store.load(str(path))


def test_apart_is_more_than_tolerance_and_more_than_the_intervals_say() -> None:
    def apart(new: Figure, old: Figure) -> bool:
        return store.deviations(made(0.1, new), made(0.1, old))[0][3]

    assert not apart(figure(1.0), figure(1.14))
    assert apart(figure(1.0), figure(1.2))
    assert apart(figure(1.2), figure(1.0))
    assert not apart(figure(1.2), figure(1.0, 1.1))
    assert not apart(figure(0.0), figure(0.0))
    assert not apart(figure(0.10, unit="ratio"), figure(0.15, unit="ratio"))
    assert store.deviations(made(), made(0.1, figure(1.0))) == []


def test_only_the_same_machine_is_predicted_with_it(tmp_path: Path) -> None:
    path = str(tmp_path / "calibration.json")
    given_, gap = parameters(path, host())
    assert not given_.better
    assert gap is not None
    assert gap.reason == "absent"
    store.keep(path, made())
    given_, gap = parameters(path, host())
    assert gap is None
    assert [param.name for param in given_.better] == ["switch between processes"]
    assert {param.origin for param in given_.better} == {"calibrated"}
    here = host()
    updated = replace(here, identity=replace(here.identity, kernel="7.0", boot_id="another"))
    given_, gap = parameters(path, updated)
    assert not given_.better
    assert gap is not None
    assert (gap.reason, "another kernel" in gap.detail) == ("unsupported", True)


def test_another_boot_is_the_same_machine() -> None:
    here = host()
    booted = replace(here, identity=replace(here.identity, boot_id="another"))
    assert store.same(machine_of(booted), machine_of(here))


def test_it_reads_well() -> None:
    found = made(
        0.1, figure(1.9e-6, 2.2e-6), Figure(name="clock", unit="1/second", value=4e9, lo=4e9, hi=4e9, chunks=40), figure(0.1, unit="ratio")
    )
    text = calibration.render(found, [("any", 3e-6, 1.9e-6, True)]).decode()
    assert "1.9 us" in text
    assert "3 us APART" in text
    assert "4 GHz" in text
    assert "CPU pressure 10%, steal unknown" in text
    assert "disturbed" not in text
    assert "Others disturbed it, by 23%" in calibration.render(made(0.23)).decode()
    assert "nan" not in text
    assert math.isfinite(json.loads(msgspec.json.encode(found))["seconds"])
