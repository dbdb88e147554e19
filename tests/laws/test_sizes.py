"""Modules and functions that can be read at a sitting."""

from __future__ import annotations

from tests.laws.offenders import check
from tests.laws.source import PRODUCT, FunctionNode, modules, statements
from tests.need import TOP

MOST_LINES = 350
MOST_FUNCTION_LINES = 60
TABLES = ("_table.py", "/matrices.py")


def test_no_module_is_long() -> None:
    """Tables may be: a row for each thing, whatever there is of them."""
    lengths = {path: len((TOP / path).read_text().splitlines()) for path in modules(*PRODUCT, "tests")}
    check({path for path, lines in lengths.items() if lines > MOST_LINES and not path.endswith(TABLES)})


def test_no_function_is_long() -> None:
    check(
        {
            f"{path} {node.name}"
            for path, tree in modules(*PRODUCT, "tests").items()
            for node in statements(tree)
            if isinstance(node, FunctionNode) and (node.end_lineno or 0) - node.lineno >= MOST_FUNCTION_LINES
        },
    )
