"""The matrix: its plan, and its scores. A part of it runs in tests/real/test_matrix.py."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent.model.values import UPTIME
from tests.lab.loads.behaviours_table import BEHAVIOURS, Paradigm
from tests.unit import overhead_hosts
from tests.validation.matrix_plan import LEVELS, OCCURRENCES, RUNS, plan
from tests.validation.matrix_rows import Row, rows
from tests.validation.matrix_run import Pass, stored, write
from tests.validation.matrix_score import cells, line, offences, priors
from tests.validation.matrix_table import table

ALL: tuple[Paradigm, ...] = ("container", "machine", "sandbox")
SEEDS = (1, 7, 2024)
CPUS = (0, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_pair_of_level_and_behaviour_occurs_twice(seed: int) -> None:
    runs = plan(seed, RUNS, 64, CPUS, ALL)
    pairs = Counter((run.level, load.behaviour.name) for run in runs for load in run.loads)
    assert pairs == {(level, behaviour.name): OCCURRENCES for level in LEVELS for behaviour in BEHAVIOURS}
    assert {len(run.loads) for run in runs} <= {4, 5, 6}
    assert len({load.name for run in runs for load in run.loads}) == len(pairs) * OCCURRENCES


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_is_the_same_matrix_and_fewer_runs_are_its_first(seed: int) -> None:
    assert plan(seed, 6, 64, CPUS, ALL) == plan(seed, 6, 64, CPUS, ALL)
    assert plan(seed, 6, 64, CPUS, ALL) == plan(seed, RUNS, 64, CPUS, ALL)[:6]
    assert plan(seed, 6, 64, CPUS, ALL) != plan(seed + 1, 6, 64, CPUS, ALL)


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_loads_want_what_their_level_says(cpus: int) -> None:
    for run in plan(5, RUNS, 64, range(cpus), ALL):
        wanted = sum(load.quota_cpus or load.cpus for load in run.loads) + run.outside_cpus
        level = LEVELS[run.level] * cpus
        # Waking loads and single threads have an end; who never sleeps and has no quota takes a whole CPU.
        assert wanted <= level * 1.5 + 0.6
        if run.level != "quiet":
            assert wanted > level * 0.6
        for load in run.loads:
            assert load.paradigm in load.behaviour.paradigms
            assert (load.cpus == 0) == (load.behaviour.work == "sleep")
            on, off = load.on_off_us
            assert on > 0 <= off


@pytest.mark.parametrize("seed", SEEDS)
def test_a_third_of_the_runs_changes_on_every_level(seed: int) -> None:
    runs = plan(seed, RUNS, 64, CPUS, ALL)
    changing = [run for run in runs if run.changes]
    assert RUNS // 3 <= len(changing) <= RUNS // 3 + 1
    assert {run.level for run in changing} == {*LEVELS}
    for run in changing:
        alive = set[str]()
        for change in run.changes:
            assert 0 <= change.window < 64
            if change.starts is not None:
                alive.add(change.starts.name)
            if change.stops is not None:
                alive.remove(change.stops)
            if change.quota_of is not None:
                assert change.quota_of in {load.name for load in run.loads if load.paradigm == "container"}
                assert change.quota_cpus is not None


def test_without_libvirt_there_are_no_machines_and_no_behaviour_of_theirs() -> None:
    runs = plan(3, RUNS, 64, CPUS, ("container", "sandbox"))
    assert {load.paradigm for run in runs for load in run.loads} == {"container", "sandbox"}
    assert "exits" not in {load.behaviour.name for run in runs for load in run.loads}


def rows_of(measured: list[float], said: Callable[[int, random.Random], tuple[float, float, float] | None], **more: Any) -> list[Row]:
    dice = random.Random(1)
    common = Row(
        run=0,
        level="quiet",
        behaviour="steady",
        paradigm="container",
        workload="w",
        window=0,
        component="run_queue_delay",
        unit="seconds/second",
        kind="contention",
        ran=0.5,
        most=1.0,
    )
    return [
        replace(common, **{"window": number, "measured": figure, "forecast": said(number, dice), **more})
        for number, figure in enumerate(measured)
    ]


def noise(count: int, level: float = 0.5, width: float = 0.1) -> list[float]:
    dice = random.Random(2)
    return [level + dice.uniform(-width, width) for _ in range(count)]


def test_a_forecast_that_knows_the_range_beats_the_last_window() -> None:
    """Of noise around a level "as in the last window" is twice as far off as the level."""
    (cell,) = cells(rows_of(noise(60), lambda number, dice: (0.5, 0.41, 0.59)), 12)
    summed = line([(cell.steady, cell.margin)])
    assert summed.ratio is not None
    assert summed.ratio < 0.8
    assert summed.had == summed.had_of_measured == 1.0
    assert summed.inside is not None
    assert 0.8 < summed.inside <= 1.0
    assert summed.width == pytest.approx(0.59 / 0.41)


def test_a_forecast_that_holds_everything_and_decides_nothing_loses() -> None:
    (cell,) = cells(rows_of(noise(60), lambda number, dice: (0.5, 0.0, 1.0)), 12)
    summed = line([(cell.steady, cell.margin)])
    assert summed.inside == 1.0
    assert summed.width == float("inf")
    assert summed.ratio is not None
    assert summed.ratio > 2


def test_a_narrow_forecast_that_misses_loses() -> None:
    (cell,) = cells(rows_of(noise(60), lambda number, dice: (0.9, 0.89, 0.91)), 12)
    summed = line([(cell.steady, cell.margin)])
    assert summed.inside == 0.0
    assert summed.ratio is not None
    assert summed.ratio > 10


def test_windows_to_learn_in_and_of_idle_workloads_are_not_scored() -> None:
    rows = rows_of(noise(30), lambda number, dice: (0.5, 0.4, 0.6) if number % 2 else None)
    (cell,) = cells(rows, 20)
    assert (cell.steady.active, cell.steady.had, cell.steady.judged) == (10, 5, 5)
    assert cells([replace(row, ran=0.0005) for row in rows], 20) == ()
    assert cells([replace(row, ran=None) for row in rows], 20) == ()


def test_windows_at_changes_are_counted_apart() -> None:
    rows = [replace(row, change=row.window in (25, 26, 27)) for row in rows_of(noise(30), lambda number, dice: (0.5, 0.4, 0.6))]
    (cell,) = cells(rows, 20)
    assert (cell.steady.active, cell.changes.active) == (7, 3)
    assert len(cell.changes.ours) == len(cell.changes.rivals) == 3


def test_what_never_changes_and_what_is_never_measured_are_counted_apart() -> None:
    (constant,) = cells(rows_of([1.0] * 30, lambda number, dice: (1.0, 1.0, 1.0)), 12)
    assert constant.constant
    assert not constant.silent
    (silent,) = cells([replace(row, measured=None) for row in rows_of([1.0] * 30, lambda number, dice: None)], 12)
    assert silent.silent
    assert not silent.constant


def test_no_window_takes_part_in_its_own_rival() -> None:
    """Whatever the last figure is, the rival's interval is the same: each unit that it lies farther off costs 20."""

    def score(last: float) -> float:
        (cell,) = cells(rows_of([*noise(30), last], lambda number, dice: (0.5, 0.4, 0.6)), 30)
        return cell.steady.rivals[0]

    assert [score(last + 1) - score(last) for last in (2.0, 3.0, 40.0)] == pytest.approx([20.0] * 3)


def test_margins_are_a_hundredth_of_a_share_and_a_thousandth_of_a_second() -> None:
    (delay,) = cells(rows_of(noise(30), lambda number, dice: None), 12)
    (share,) = cells([replace(row, component="cpu_share", unit="CPUs", most=2.0) for row in rows_of(noise(30), lambda n, d: None)], 12)
    assert (delay.margin, share.margin) == (0.001, 0.02)


def test_intervals_before_anything_was_learnt_are_those_of_the_first_window() -> None:
    rows = [replace(row, estimate=(0.5, 0.25, 1.0) if row.window else (0.2, 0.1, 0.3)) for row in rows_of([0.25, 0.5], lambda n, d: None)]
    (prior,) = priors(rows).values()
    assert (prior.figures, prior.inside) == (1, 1.0)
    assert prior.width == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("figure", "more", "words"),
    [
        ((0.5, 0.4, 1.2), {}, "above its bound"),
        ((0.5, 0.6, 0.7), {}, "out of order"),
        ((0.5, -0.1, 0.7), {}, "out of order"),
        ((float("nan"), 0.1, 0.7), {}, "no numbers"),
        ((0.1, 0.0, 0.2), {"ran": 0.0}, "did not run"),
    ],
)
def test_what_cannot_be_true_is_named(figure: tuple[float, float, float], more: dict[str, Any], words: str) -> None:
    (row,) = rows_of([0.5], lambda number, dice: None, shown=figure, **more)
    (wrong,) = offences([row])
    assert words in wrong.complaint
    assert words in wrong.words
    assert list(offences([replace(row, ran=0.5, shown=(0.5, 0.4, 1.0))])) == []


@pytest.mark.parametrize(("more", "is_wrong"), [({}, True), ({"change": True}, False), ({"ran": 0.0}, False)])
def test_a_forecast_does_not_know_of_the_changes_in_its_window(more: dict[str, Any], is_wrong: bool) -> None:
    """Nor whether anything runs in it; its bound it does know else."""
    rows = rows_of([0.5], lambda number, dice: (0.5, 0.4, 1.2), **more)
    assert bool(list(offences(rows))) == is_wrong


def test_raw_figures_are_scored_as_they_were() -> None:
    rows = rows_of(noise(30), lambda number, dice: (0.5, 0.4, 0.6))
    again = [msgspec.json.decode(msgspec.json.encode(row), type=Row) for row in rows]
    assert again == rows
    assert list(table(again, 12)) == list(table(rows, 12))


def test_stored_passes_are_judged_as_they_were(tmp_path: Path) -> None:
    """A container of two threads that run for half of each window: the same rows from a file, with intervals that were learnt."""
    (run, *_) = plan(1, 1, 12, CPUS, ALL)
    load = replaced(run.loads[0], name="c0ffee", paradigm="container", behaviour=BEHAVIOURS[0], quota_cpus=0.5)
    run = replaced(run, loads=(load,), changes=())
    taken = [
        Pass(
            host=overhead_hosts.host(passed, (overhead_hosts.container(passed),)),
            read_at={UPTIME: 10 * passed},
            taken_at=1e9 + 10 * passed,
            ids={"c0ffee": "c0ffee"},
        )
        for passed in map(float, range(12))
    ]
    file = tmp_path / "passes"
    with file.open("wb") as out:
        write(out, run)
        for one_pass in taken:
            write(out, one_pass)
    with file.open("rb") as stored_file:
        ((run_again, taken_again),) = stored(stored_file)
    assert (run_again, taken_again) == (run, taken)
    now, again = list(rows(run, taken)), list(rows(run_again, taken_again))
    assert now == again
    assert len(now) == 11
    delays = {row.window: row for of_window in now for row in of_window if row.component == "run_queue_delay"}
    assert delays[0].ran == pytest.approx(1.0)
    assert delays[0].measured == pytest.approx(0.2)
    assert delays[0].forecast is None
    assert delays[10].forecast is not None
