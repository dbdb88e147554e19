"""The concept document's matrices filled with what runs on this host, then its claims with their verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec.structs import replace
from rich.console import ConsoleRenderable, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.model.comparison import Cell, Column, Comparison, Matrix, Row
from agent.model.snapshot import Snapshot, Verdict
from agent.model.workload import Workload
from exporters.views import matrices
from exporters.views.console import printed
from exporters.views.evidence import Scope
from exporters.views.matrices import CLAIMS, MATRICES, Whose
from exporters.views.words import line

Lang = Literal["en", "zh"]
WIDE = 100
"""From so many columns on, a matrix is a table; below, a list."""
# English, Chinese, style.
_VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "holds": ("holds", "成立", "green"),
    "violated": ("violated", "不成立", "red"),
    "undecided": ("undecided", "未定", "yellow"),
    "untested": ("not tested here", "本机未检验", "dim"),
}
_WORDS = {
    "claims": ("What the document says of the order", "文档的排序论断"),
    "here": ("{} ({} here)", "{}（本机 {} 个）"),
    "model": ("by the model", "按模型"),
    "measured": ("as measured here", "按本机测量"),
    "legend": (
        "Below a term stands what this host shows for it; a figure of the model is called predicted.",
        "术语之下是本机的证据；predicted 为模型的预测值。",
    ),
}


def compare(snapshot: Snapshot, lang: Lang = "en", sections: Sequence[str] = ()) -> Comparison:
    """The matrices filled with this host's evidence, and the claims: all of them, or those of `sections`."""
    filled = tuple(_filled(matrix, snapshot, lang) for matrix in MATRICES if not sections or matrix.section in sections)
    claims = tuple(
        replace(claim, claim=CLAIMS.get(claim.id, claim.claim)) if lang == "zh" else claim
        for claim in snapshot.claims
        if not sections or claim.section in sections
    )
    return Comparison(lang, filled, claims)


def _filled(matrix: matrices.MatrixTerms, snapshot: Snapshot, lang: Lang) -> Matrix:
    at = 0 if lang == "en" else 1
    scopes = [Scope(snapshot, _of(snapshot, whose)) for whose, *_ in matrix.columns]
    columns = tuple(
        Column(term[at], None if whose == "host" else len(scope.workloads))
        for (whose, *term), scope in zip(matrix.columns, scopes, strict=True)
    )
    rows = tuple(
        Row(
            row.term[at],
            tuple(
                Cell((en, zh)[at], evidence(scope) if evidence and (scope.workloads or whose == "host") else None)
                for (en, zh, evidence), scope, (whose, *_) in zip(row.cells, scopes, matrix.columns, strict=True)
            ),
        )
        for row in matrix.rows
    )
    return Matrix(matrix.section, matrix.title[at], columns, rows)


def _of(snapshot: Snapshot, whose: Whose) -> tuple[Workload, ...]:
    paradigms = {"host": (), "kernel": ("containerization", "sandbox")}.get(whose, (whose,))
    return tuple(workload for workload in snapshot.workloads if workload.paradigm in paradigms)


def render(comparison: Comparison, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    """As text: a table a matrix, or a list where the terminal is narrow. `width` None: the terminal's."""
    return printed(lambda columns: _parts(comparison, columns), width=width, terminal=terminal, encoding=encoding)


def _parts(comparison: Comparison, width: int) -> Iterator[ConsoleRenderable]:
    at = 0 if comparison.lang == "en" else 1
    yield line(_WORDS["legend"][at], "dim")
    for matrix in comparison.matrices:
        yield Text()
        yield line(f"{matrix.section} {matrix.title}", "bold underline")
        yield _table(matrix, at) if width >= WIDE else _list(matrix, at)
    if comparison.claims:
        yield Text()
        yield line(_WORDS["claims"][at], "bold underline")
    for claim in comparison.claims:
        word, style = _VERDICTS[claim.verdict][at], _VERDICTS[claim.verdict][2]
        yield Text.assemble((f"{word}: ", style), line(f"{claim.claim} ({claim.section}, {_WORDS[claim.basis][at]})"))
        yield Padding(line(claim.evidence, "dim"), (0, 0, 0, 2))


def _head(column: Column, at: int) -> str:
    return column.term if column.workloads is None else _WORDS["here"][at].format(column.term, column.workloads)


def _table(matrix: Matrix, at: int) -> ConsoleRenderable:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold", padding=(0, 2, 1, 0))
    for name, ratio in (("", 3), *((_head(column, at), 5) for column in matrix.columns)):
        table.add_column(line(name), ratio=ratio, overflow="fold")
    for row in matrix.rows:
        table.add_row(line(row.term, "bold"), *(_cell(cell) for cell in row.cells))
    return table


def _list(matrix: Matrix, at: int) -> ConsoleRenderable:
    parts: list[ConsoleRenderable] = []
    for row in matrix.rows:
        parts.append(line(row.term, "bold"))
        for column, cell in zip(matrix.columns, row.cells, strict=True):
            parts.append(Padding(Text.assemble((f"{_head(column, at)}: ", "dim"), _cell(cell, ": ")), (0, 0, 0, 2)))
    return Group(*parts)


def _cell(cell: Cell, between: str = "\n") -> Text:
    if cell.evidence is None:
        return line(cell.term)
    return Text.assemble(line(cell.term), between, line(cell.evidence, "cyan"))
