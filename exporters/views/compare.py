"""The concept document's matrices filled with what runs on this host, then its claims with their verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.console import ConsoleRenderable, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.model.comparison import Cell, Column, Comparison, Matrix, Row
from agent.model.snapshot import Claim, Snapshot, Verdict
from agent.model.workload import Workload
from exporters.views import matrices
from exporters.views.console import printed
from exporters.views.evidence import Seen
from exporters.views.explain import line
from exporters.views.matrices import CLAIMS, MATRICES, Whose

Lang = Literal["en", "zh"]
WIDE = 100
"""From so many columns on, a matrix is a table; below, a list."""
_VERDICTS: dict[Verdict, tuple[str, str, str]] = {
    "holds": ("holds", "成立", "green"),
    "violated": ("violated", "不成立", "red"),
    "undecided": ("undecided", "未定", "yellow"),
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
    """All matrices, or those of `sections`; claims of the same sections."""
    chosen = [one for one in MATRICES if not sections or one.section in sections]
    claims = tuple(
        Claim(
            id=one.id,
            section=one.section,
            claim=CLAIMS.get(one.id, one.claim) if lang == "zh" else one.claim,
            basis=one.basis,
            verdict=one.verdict,
            evidence=one.evidence,
        )
        for one in snapshot.claims
        if not sections or one.section in sections
    )
    return Comparison(lang, tuple(_filled(one, snapshot, lang) for one in chosen), claims)


def _filled(one: matrices.MatrixTerms, snapshot: Snapshot, lang: Lang) -> Matrix:
    at = 0 if lang == "en" else 1
    seen = [Seen(snapshot, _of(snapshot, whose)) for whose, *_ in one.columns]
    columns = tuple(
        Column(term[at], None if whose == "host" else len(of.workloads)) for (whose, *term), of in zip(one.columns, seen, strict=True)
    )
    rows = tuple(
        Row(
            row.term[at],
            tuple(
                Cell((en, zh)[at], evidence(of) if evidence and (of.workloads or whose == "host") else None)
                for (en, zh, evidence), of, (whose, *_) in zip(row.cells, seen, one.columns, strict=True)
            ),
        )
        for row in one.rows
    )
    return Matrix(one.section, one.title[at], columns, rows)


def _of(snapshot: Snapshot, whose: Whose) -> tuple[Workload, ...]:
    wanted = {"host": (), "kernel": ("containerization", "sandbox")}.get(whose, (whose,))
    return tuple(one for one in snapshot.workloads if one.paradigm in wanted)


def render(one: Comparison, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    return printed(lambda columns: _parts(one, columns), width=width, terminal=terminal, encoding=encoding)


def _parts(one: Comparison, width: int) -> Iterator[ConsoleRenderable]:
    at = 0 if one.lang == "en" else 1
    yield line(_WORDS["legend"][at], "dim")
    for matrix in one.matrices:
        yield Text()
        yield line(f"{matrix.section} {matrix.title}", "bold underline")
        yield _table(matrix, at) if width >= WIDE else _list(matrix, at)
    if one.claims:
        yield Text()
        yield line(_WORDS["claims"][at], "bold underline")
    for claim in one.claims:
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
    said: list[ConsoleRenderable] = []
    for row in matrix.rows:
        said.append(line(row.term, "bold"))
        for column, cell in zip(matrix.columns, row.cells, strict=True):
            said.append(Padding(Text.assemble((f"{_head(column, at)}: ", "dim"), _cell(cell, ": ")), (0, 0, 0, 2)))
    return Group(*said)


def _cell(cell: Cell, between: str = "\n") -> Text:
    if cell.evidence is None:
        return line(cell.term)
    return Text.assemble(line(cell.term), between, line(cell.evidence, "cyan"))
