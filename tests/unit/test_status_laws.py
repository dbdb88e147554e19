"""Laws of agent status: whatever the rows are, they are filtered, sorted and cut, no line is too wide, and no cell is empty."""

from __future__ import annotations

import re
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from agent.model.finding import SEVERITIES
from agent.model.runtimes import Paradigm
from agent.model.status import PredictedWait, SharedCpus, SortKey, WorkloadStatus
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.overhead.status import chosen
from exporters.views.status_columns import columns
from tests.unit.test_status import finding, look_of, text

NUMBER = st.none() | st.floats(0, 64)
SECONDS = st.floats(0, 4)
PARADIGMS = st.sampled_from(get_args(Paradigm))
ROWS = st.builds(
    WorkloadStatus,
    id=st.uuids().map(str),
    name=st.text(max_size=200),
    reference=st.text(min_size=1, max_size=20),
    paradigm=PARADIGMS,
    runtime=st.sampled_from(("docker", "kvm", "wasmtime")),
    severity=st.none() | st.sampled_from(SEVERITIES),
    cpus_used=NUMBER,
    cpu_limit=st.none() | st.just(UNLIMITED) | st.floats(0.01, 64).map(Limit),
    wait=NUMBER,
    throttled_ratio=st.none() | st.floats(0, 1),
    memory_bytes=st.none() | st.integers(0, 1 << 50),
    allowed_cpus=st.none() | st.frozensets(st.integers(0, 255), max_size=20).map(CpuSet),
    memory_by_node=st.dictionaries(st.integers(0, 8), st.integers(0, 1 << 40), max_size=8),
    predicted_wait=st.none()
    | st.builds(PredictedWait, value=SECONDS, lo=SECONDS, hi=SECONDS, inside=st.none() | st.booleans(), measured=NUMBER),
    lost_ratio=st.none() | st.floats(0, 1),
)
NUMBERS: dict[SortKey, str] = {
    "cpu": "cpus_used",
    "wait": "wait",
    "throttled": "throttled_ratio",
    "memory": "memory_bytes",
    "lost": "lost_ratio",
}


@given(
    st.lists(ROWS, max_size=30),
    st.sampled_from(get_args(SortKey)),
    st.sets(PARADIGMS),
    st.none() | st.integers(1, 40),
)
def test_rows_are_filtered_sorted_and_cut_and_nothing_else(
    rows: list[WorkloadStatus], sort: SortKey, paradigms: set[Paradigm], top: int | None
) -> None:
    whole = look_of(rows)
    every, cut = chosen(whole, paradigms, sort), chosen(whole, paradigms, sort, top)
    wanted = [each for each in rows if not paradigms or each.paradigm in paradigms]
    assert sorted(every.rows, key=lambda each: each.id) == sorted(wanted, key=lambda each: each.id)
    assert cut.rows == every.rows[:top]
    assert len(cut.rows) + cut.not_shown == len(wanted)
    assert (cut.counts, cut.findings, cut.shared) == (whole.counts, whole.findings, whole.shared)
    if sort in NUMBERS:
        numbers = [getattr(each, NUMBERS[sort]) for each in every.rows]
        known = [number for number in numbers if number is not None]
        assert numbers == sorted(known, reverse=True) + [None] * (len(numbers) - len(known))
    # The same question has the same answer, in whatever order the host lists its workloads.
    assert chosen(replace(whole, rows=tuple(reversed(rows))), paradigms, sort).rows == every.rows


@given(st.lists(ROWS, min_size=1, max_size=12), st.integers(40, 250), st.sampled_from(("utf-8", "ascii")))
def test_no_line_is_wider_than_asked(rows: list[WorkloadStatus], width: int, encoding: str) -> None:
    shared = (SharedCpus(cpus=CpuSet(range(0, 64, 2)), workloads=9, busiest=tuple(each.name for each in rows)[:5]),)
    look = replace(look_of(rows, [finding("warning", name=rows[0].name)]), shared=shared)
    shown = text(look, width, encoding)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


@given(ROWS)
def test_every_cell_has_something_in_it(shown: WorkloadStatus) -> None:
    every = columns(marked=True, several_nodes=True, nested=True, stopped=True)
    assert [column.head for column in every if not column.cell(shown) and column.head not in ("", "workload")] == []
