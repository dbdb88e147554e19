"""What may be wrong in a module and still look right: two fields of one type exchanged, an operator changed."""

from __future__ import annotations

import ast
import copy
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from tests.laws.source import PRODUCT, Names, Record, dotted, module_name, modules, records
from tests.need import TOP

_PAIRS = "Add Sub, Mult FloorDiv, Div Mult, Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, And Or, LShift RShift, BitAnd BitOr"
_OPERATORS = {old: new for pair in _PAIRS.split(", ") for old, new in (pair.split(), pair.split()[::-1])}

Edit = tuple[ast.expr, str]


class Mutant(NamedTuple):
    """`place`: "path:line" of the function that it is in, else the path. `text`: what the file is then."""

    kind: str
    path: str
    place: str
    text: bytes


class Swaps:
    """Exchanges of two fields of one type: of their values in a call that makes the record, or of their names where one is read."""

    def __init__(self) -> None:
        self._names = Names(modules(*PRODUCT))
        self._records = records(self._names)
        self._neighbours: dict[str, set[str]] = defaultdict(set)
        for record in self._records.values():
            for group in _same_typed(record):
                for field, neighbour in pairwise([*group, group[-2:][0]]):
                    self._neighbours[field].add(neighbour)

    def of(self, node: ast.AST, module: str) -> Iterator[list[Edit]]:
        if isinstance(node, ast.Call) and (record := self._records.get(self._names.resolve(dotted(node.func), module))):
            values = dict(zip(record.fields, node.args, strict=False)) | {word.arg: word.value for word in node.keywords if word.arg}
            for group in _same_typed(record):
                for one, other in pairwise(values[field] for field in group if field in values):
                    if ast.dump(one) != ast.dump(other):
                        yield [(one, ast.unparse(other)), (other, ast.unparse(one))]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            # Whose field it is, is not known here: only those whose neighbour has the same name in all records.
            neighbours = self._neighbours.get(node.attr, set()) - {node.attr}
            if len(self._neighbours.get(node.attr, ())) == len(neighbours) == 1:
                yield [(node, f"{ast.unparse(node.value)}.{neighbours.pop()}")]


def mutants(*rooms: str) -> Iterator[Mutant]:
    """All of the files below these directories."""
    swaps = Swaps()
    for path, tree in modules(*rooms).items():
        waiting: list[tuple[str, ast.AST]] = [(path, tree)]
        while waiting:
            place, node = waiting.pop()
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                place = f"{path}:{min([node.lineno, *(line.lineno for line in getattr(node, 'decorator_list', ()))])}"
            if not isinstance(node, ast.JoinedStr):  # until Python 3.12, what is in it has no places
                types = (getattr(node, "annotation", None), getattr(node, "returns", None))
                waiting += [(place, child) for child in ast.iter_child_nodes(node) if child not in types]
            for edits in swaps.of(node, module_name(path)):
                yield Mutant("swap", path, place, _edited(path, edits))
            for edits in _operators(node) if place != path else ():
                yield Mutant("operator", path, place, _edited(path, edits))


def _operators(node: ast.AST) -> Iterator[list[Edit]]:
    if not isinstance(node, ast.expr):
        return
    match new := copy.deepcopy(node):
        case ast.BinOp() | ast.BoolOp() if name := _OPERATORS.get(type(new.op).__name__):
            new.op = getattr(ast, name)()
        case ast.Compare() if name := _OPERATORS.get(type(new.ops[0]).__name__):
            new.ops[0] = getattr(ast, name)()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            new = operand
        case _:
            return
    yield [(node, f"({ast.unparse(new)})")]


def _same_typed(record: Record) -> list[list[str]]:
    """The fields of a record, those of one type together."""
    kinds = dict.fromkeys(record.fields.values())
    return [[field for field, other in record.fields.items() if other == kind] for kind in kinds]


def _edited(path: str, edits: list[Edit]) -> bytes:
    text = (TOP / path).read_bytes()
    starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
    for old, new in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        begin, end = starts[old.lineno - 1] + old.col_offset, starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
        text = text[:begin] + new.encode() + text[end:]
    return text
