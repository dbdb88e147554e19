"""What a metric is, and a family: a metric with its samples at one moment. Both are frozen values.

A metric is declared once, by `gauge`, `counter` or `info`, in a table beside the function that reads its samples from the document
(`of_*.py`). `catalogue` puts the tables together: what there is can be listed without a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from agent.model.values import CpuSet

Type = Literal["gauge", "counter", "info"]
Level = Literal["core", "full"]
Unit = Literal[
    "1 or 0",
    "CPUs",
    "Unix seconds",
    "blocks",
    "bytes",
    "bytes per second",
    "entries",
    "errors",
    "events",
    "exits",
    "hertz",
    "interrupts",
    "lanes",
    "linear memories",
    "objects",
    "pages",
    "per second",
    "periods",
    "processes",
    "ratio",
    "references",
    "seconds",
    "SLIT distance",
    "switches",
    "tasks",
    "tier",
    "times",
    "transfers per second",
    "vCPUs per CPU",
    "workloads",
    "CPU number",
]

LabelValue = str | int | CpuSet | None
"""None leaves the label out, which means the same to Prometheus as an empty one."""
LabelValues = tuple[LabelValue, ...]
Value = float | int | None
Sample = tuple[LabelValues, Value]
T = TypeVar("T")
_MARKS = {
    number: f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
    for number in (
        *range(0xA),
        *range(0xB, 0x20),
        *range(0x7F, 0xA0),
        0x61C,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}

R = TypeVar("R")


class Metric(Struct, frozen=True, kw_only=True):
    """The declaration of a family. `name` is as Prometheus text has it: with `_total` or `_info`.

    `meaning` has neither unit nor source, which is the kernel file or the document that its values come from. `unit` None: an info
    metric, whose value is always 1. `level`: "core" answers an operator's first questions, "full" is detail.
    """

    name: str
    type: Type
    meaning: str
    unit: Unit | None
    source: str
    labels: tuple[str, ...]
    level: Level

    @property
    def help(self) -> str:
        """One sentence that can be read alone."""
        return f"{self.meaning}{f', {self.unit}' if self.unit else ''}; {self.source}."

    @property
    def base_name(self) -> str:
        """Without what the type adds: the name of the family in OpenMetrics."""
        return self.name.removesuffix({"counter": "_total", "info": "_info", "gauge": ""}[self.type])


def gauge(
    name: str, meaning: str, unit: Unit, source: str, read: R, *, labels: tuple[str, ...] = (), level: Level = "core"
) -> tuple[Metric, R]:
    return Metric(name=name, type="gauge", meaning=meaning, unit=unit, source=source, labels=labels, level=level), read


def counter(
    name: str, meaning: str, unit: Unit, source: str, read: R, *, labels: tuple[str, ...] = (), level: Level = "core"
) -> tuple[Metric, R]:
    return Metric(name=name, type="counter", meaning=meaning, unit=unit, source=source, labels=labels, level=level), read


def info(name: str, meaning: str, source: str, read: R, *, labels: tuple[str, ...] = (), level: Level = "core") -> tuple[Metric, R]:
    return Metric(name=name, type="info", meaning=meaning, unit=None, source=source, labels=labels, level=level), read


def labelled(labels: tuple[str, ...], *rows: tuple[Metric, R]) -> tuple[tuple[Metric, R], ...]:
    """A table of metrics that share their labels."""
    return tuple([(replace(metric, labels=labels), read) for metric, read in rows])


def label_text(value: object) -> str:
    """A label's value as text, in which what a terminal would act on is escaped: control characters, marks that turn the direction of
    writing. For the end of a line the format has its own escape."""
    text = str(value)
    return text if text.isprintable() else text.translate(_MARKS)


class Family(Struct, frozen=True):
    """`values[i]` belongs to `labels[i]`, which has a value for each of the metric's labels. None: there is no such sample.

    Metrics of the same subjects share one tuple of `labels`, so that a renderer makes their texts once.
    """

    metric: Metric
    labels: tuple[LabelValues, ...]
    values: tuple[Value, ...]

    def samples(self) -> Iterator[tuple[dict[str, str], float | int]]:
        """Those with a value; labels by name, those without a value left out."""
        for labels, value in zip(self.labels, self.values, strict=True):
            if value is not None:
                named = zip(self.metric.labels, labels, strict=True)
                yield {name: label_text(label) for name, label in named if label is not None}, value


Row = tuple[Metric, Callable[[T], Iterable[Sample]]]
"""A metric and what reads its samples from a part of the document."""
Column = tuple[Metric, Callable[[T], Value]]
"""A metric with one sample a subject, and what reads its value."""


def from_rows(rows: Iterable[Row[T]], part: T) -> Iterator[Family]:
    for metric, read in rows:
        samples = tuple(read(part))
        yield Family(metric, tuple([labels for labels, _ in samples]), tuple([value for _, value in samples]))


def from_columns(columns: Iterable[Column[T]], labels: Iterable[LabelValues], subjects: Sequence[T]) -> Iterator[Family]:
    shared = tuple(labels)
    for metric, read in columns:
        yield Family(metric, shared, tuple([read(subject) for subject in subjects]))


def declared(*tables: Iterable[tuple[Metric, object]]) -> tuple[Metric, ...]:
    """The metrics of some tables, in their order."""
    return tuple(metric for table in tables for metric, _ in table)


def seconds(count: int | None, in_a_second: float) -> float | None:
    """A count of nanoseconds (1e9) or microseconds (1e6) as seconds."""
    return None if count is None else count / in_a_second
