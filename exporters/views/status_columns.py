"""The columns of `agent status`: what each shows of a workload, and which of them fit on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from agent.model.runtimes import Paradigm
from agent.model.status import WorkloadStatus
from agent.model.values import CpuSet, Limit, safe
from exporters.views.figures import duration, percent
from exporters.views.words import digits, ordered

ABSENT = "-"
KINDS: dict[Paradigm, str] = {"containerization": "container", "virtualization": "vm", "sandbox": "sandbox", "process": "process"}
MARKS = {"critical": "!!", "warning": "!", "info": "", None: ""}
"""What stands before a workload with such a finding."""
_UNITS = ("B", "Ki", "Mi", "Gi", "Ti", "Pi")
_LEAST_CPUS = 0.001


class StatusColumn(Struct, frozen=True, kw_only=True):
    """`rank`: the column with the largest one goes first where room is short. A cell longer than `most` is cut."""

    head: str
    rank: int
    cell: Callable[[WorkloadStatus], str]
    right: bool = False
    most: int = 24
    least: int = 0
    """What it may be cut to, to make room; 0: it is not cut."""
    meaning: str = ""
    """What it is called where there is no room for it; none: as its head says."""

    @property
    def title(self) -> str:
        return self.meaning or self.head


def used_cpus(used: float | None) -> str:
    """ "0.168", "1.52", "12.5", "<0.001"."""
    if used is None:
        return ABSENT
    if not used:
        return "0"
    if used < _LEAST_CPUS:
        return f"<{_LEAST_CPUS}"
    return f"{used:.3f}" if used < 0.9995 else digits(used)


def limit_cpus(limit: Limit | None) -> str:
    return ABSENT if limit is None else "max" if limit.unlimited else digits(limit)


def compact(size_bytes: float | None) -> str:
    """ "24.9Mi", in at most six cells; "max" where there is no limit."""
    if size_bytes is None:
        return ABSENT
    if size_bytes == float("inf"):
        return "max"
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.2f}{_UNITS[unit]}" if 0 < value < 1 else f"{value:.3g}{_UNITS[unit]}"


def cpu_list(numbers: CpuSet | None) -> str:
    return ABSENT if numbers is None else ordered(numbers) or "none"


def _memory_limit(row: WorkloadStatus) -> str:
    limit = row.memory_limit_bytes
    if row.allotted_bytes is not None and (limit is None or row.allotted_bytes < limit):
        return compact(row.allotted_bytes)
    return compact(limit)


def _nodes(row: WorkloadStatus) -> str:
    return " ".join(f"{node}:{compact(held)}" for node, held in sorted(row.memory_by_node.items()) if held) or (
        "0" if row.memory_by_node else ABSENT
    )


def _predicted(row: WorkloadStatus) -> str:
    return ABSENT if row.predicted_wait is None else duration(row.predicted_wait.value)


def _held(row: WorkloadStatus) -> str:
    """What was measured is in the predicted interval, or on which side of it."""
    wait = row.predicted_wait
    if wait is None or wait.inside is None or wait.measured is None:
        return ABSENT
    return "inside" if wait.inside else "below" if wait.measured < wait.lo else "above"


def _ratio(ratio: float | None) -> str:
    return ABSENT if ratio is None else percent(ratio)


def shown_name(row: WorkloadStatus) -> str:
    """The word that other verbs take, with the name where that says something else."""
    return row.reference if safe(row.name) in row.reference else f"{row.name} {row.reference}"


NAME = StatusColumn(head="workload", rank=0, cell=shown_name, most=40, least=12)


def columns(*, marked: bool, several_nodes: bool, nested: bool, stopped: bool) -> tuple[StatusColumn, ...]:
    """All that a terminal of any width may show: no column of which all cells would be empty."""
    every = (
        StatusColumn(head="", rank=1, cell=lambda row: MARKS[row.severity], meaning="marks of findings") if marked else None,
        NAME,
        StatusColumn(head="kind", rank=3, cell=lambda row: KINDS[row.paradigm]),
        StatusColumn(head="runtime", rank=14, cell=lambda row: row.runtime),
        StatusColumn(head="state", rank=9, cell=lambda row: row.state or ABSENT) if stopped else None,
        StatusColumn(head="CPUs", rank=1, cell=lambda row: used_cpus(row.cpus_used), right=True),
        StatusColumn(head="limit", rank=4, cell=lambda row: limit_cpus(row.cpu_limit), right=True, meaning="CPU limit"),
        StatusColumn(head="waits/s", rank=3, cell=lambda row: ABSENT if row.wait is None else duration(row.wait), right=True),
        StatusColumn(head="throttled", rank=5, cell=lambda row: _ratio(row.throttled_ratio), right=True),
        StatusColumn(head="memory", rank=2, cell=lambda row: compact(row.memory_bytes), right=True),
        StatusColumn(head="limit", rank=6, cell=_memory_limit, right=True, meaning="memory limit"),
        StatusColumn(head="on", rank=7, cell=lambda row: cpu_list(row.last_cpus), most=20, least=6, meaning="last CPUs"),
        StatusColumn(head="of CPUs", rank=8, cell=lambda row: cpu_list(row.allowed_cpus), most=20, least=7, meaning="CPUs allowed"),
        StatusColumn(head="by node", rank=10, cell=_nodes, most=40, least=20, meaning="memory by node") if several_nodes else None,
        StatusColumn(head="predicted", rank=11, cell=_predicted, right=True, meaning="predicted waiting"),
        StatusColumn(head="it was", rank=12, cell=_held, meaning="whether it held"),
        StatusColumn(head="loses", rank=13, cell=lambda row: _ratio(row.lost_ratio), right=True, meaning="predicted loss"),
        StatusColumn(head="runs in", rank=15, cell=lambda row: row.parent_name or row.parent or ABSENT, most=24, least=8)
        if nested
        else None,
    )
    return tuple(column for column in every if column is not None)


class Fitted(Struct, frozen=True):
    """A column with the width that it has here."""

    column: StatusColumn
    width: int


def fit(every: Sequence[StatusColumn], widths: Sequence[int], room: int, gap: int) -> tuple[tuple[Fitted, ...], tuple[StatusColumn, ...]]:
    """The columns that fit in so many cells, `gap` between two, and those that do not. `widths`: of their longest cells."""
    shown = [Fitted(column, min(width, column.most)) for column, width in zip(every, widths, strict=True)]
    left_out: list[StatusColumn] = []
    while len(shown) > 1 and _least(shown, gap) > room:
        last = max(shown, key=lambda fitted: fitted.column.rank)
        shown.remove(last)
        left_out.insert(0, last.column)
    spare = room - _total(shown, gap)
    # The longest that can be cut gives way, cell by cell.
    while spare < 0:
        at = max(range(len(shown)), key=lambda index: _slack(shown[index]))
        if not _slack(shown[at]):
            break
        shown[at] = Fitted(shown[at].column, shown[at].width - 1)
        spare += 1
    return tuple(shown), tuple(left_out)


def _slack(fitted: Fitted) -> int:
    return max(0, fitted.width - fitted.column.least) if fitted.column.least else 0


def _total(shown: Sequence[Fitted], gap: int) -> int:
    return sum(fitted.width for fitted in shown) + gap * (len(shown) - 1)


def _least(shown: Sequence[Fitted], gap: int) -> int:
    return _total(shown, gap) - sum(map(_slack, shown))
