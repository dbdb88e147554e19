"""The concept document's matrices for one host, and its ordinal claims."""

from __future__ import annotations

from agent.model.snapshot import Claim
from agent.model.values import Fact


class Cell(Fact, frozen=True):
    """The document's term, and what this host shows for it."""

    term: str
    evidence: str | None = None


class Row(Fact, frozen=True):
    term: str
    cells: tuple[Cell, ...]


class Column(Fact, frozen=True):
    """`workloads`: how many run here; absent for columns about the machine."""

    term: str
    workloads: int | None = None


class Matrix(Fact, frozen=True):
    """A table of the document's `section`."""

    section: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Comparison(Fact, frozen=True):
    lang: str
    matrices: tuple[Matrix, ...]
    claims: tuple[Claim, ...]
