"""Records: those of more than four fields are built by keyword, and each is defined once."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from tests.laws.offenders import check
from tests.laws.source import PRODUCT, Names, Record, dotted, module_name, modules, records

MOST_POSITIONAL = 4


@cache
def names() -> Names:
    return Names(modules(*PRODUCT, "tests"))


@cache
def all_records() -> dict[str, Record]:
    return records(names())


def test_these_laws_see_the_records() -> None:
    kinds = {record.kind for record in all_records().values()}
    assert kinds == {"Struct", "NamedTuple", "dataclass"}
    assert all_records()["agent.model.snapshot.Snapshot"].fields.keys() >= {"host", "workloads"}
    assert sum(1 for _ in calls()) > 1000


def test_large_records_are_keyword_only() -> None:
    check({full for full, record in all_records().items() if len(record.fields) > MOST_POSITIONAL and record.positional})


def test_named_tuples_are_small() -> None:
    """A NamedTuple cannot be keyword-only, and may be unpacked and made by position anywhere."""
    check({full for full, record in all_records().items() if record.kind == "NamedTuple" and len(record.fields) > MOST_POSITIONAL})
    makers = {"collections.namedtuple", "typing.NamedTuple", "msgspec.defstruct", "dataclasses.make_dataclass"}
    check({f"{path}:{call.lineno}" for path, full, call in every_call() if full in makers and not path.startswith("tests/")})


def test_no_call_of_a_record_has_more_than_four_positional_arguments() -> None:
    check({f"{path}:{call.lineno} {full}" for path, full, call in calls() if len(call.args) > MOST_POSITIONAL})


def test_a_record_is_defined_once() -> None:
    homes = defaultdict(list)
    for full, record in all_records().items():
        if not record.path.startswith("tests/"):
            homes[full.rpartition(".")[2]].append(record.path)
    check({name for name, paths in homes.items() if len(paths) > 1})


def test_no_record_is_copied_into_another_field_by_field() -> None:
    """A fact is one record, which its reader fills and the model holds; what a join adds, it adds with `replace`."""
    copying = {"__struct_fields__", "asdict", "astuple", "from_attributes", "_asdict"}
    check(
        {
            f"{path}:{node.lineno}"
            for path, tree in modules("agent/normalise", "agent/collect").items()
            for node in ast.walk(tree)
            if (isinstance(node, ast.Attribute) and node.attr in copying) or (isinstance(node, ast.keyword) and node.arg in copying)
        }
    )


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Calls that make a record: the file, the full name of the record, the call."""
    return ((path, full, call) for path, full, call in every_call() if full in all_records())


@cache
def every_call() -> tuple[tuple[str, str, ast.Call], ...]:
    """Every call of the tree: the file, the full name of what is called, the call. `cls` and `type(self)` are the class around them."""
    return tuple((path, *call) for path, tree in modules(*PRODUCT, "tests").items() for call in calls_in(module_name(path), tree))


def calls_in(module: str, tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        owner, node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            owner = f"{owner}.{node.name}".lstrip(".")
        waiting += [(owner, child) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            own = name == "cls" or (name == "?" and ast.unparse(node.func) == "type(self)")
            yield names().resolve(owner if own else name, module), node
