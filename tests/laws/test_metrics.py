"""Names of metrics: each is written once, in exporters/metrics, and nowhere else in the product; what documents and tests name exists."""

from __future__ import annotations

import ast
import re
from collections import Counter

from exporters.metrics.catalogue import METRICS
from exporters.metrics.reference import reference
from tests.laws.source import files, modules
from tests.need import TOP

HOME = "exporters/metrics/"
# Made up, in tests of the renderer.
TESTED = {"tests/unit/test_metrics.py", "tests/laws/test_metrics.py"}
NAME = re.compile(r"\bstrata_\w+")
NAMES = {metric.name for metric in METRICS}


def named(path: str) -> set[str]:
    """The names of families in a file of text."""
    return set(NAME.findall((TOP / path).read_text()))


def test_a_name_is_written_once() -> None:
    written = Counter(
        node.value
        for path, tree in modules().items()
        if path.startswith(HOME)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in NAMES
    )
    assert written == dict.fromkeys(NAMES, 1)


def test_no_name_stands_elsewhere_in_the_product() -> None:
    elsewhere = [path for path in files() if path.startswith(("agent/", "collectors/", "exporters/")) and HOME not in path]
    assert {path: names for path in elsewhere if (names := named(path))} == {}


def test_what_others_name_exists() -> None:
    """A name, or what several begin with."""
    documents = ("README.md", "CONTRIBUTING.md", "docs/", "deploy/", "tests/")
    others = [path for path in files() if path.startswith(documents) and path.endswith((".py", ".md", ".yml", ".service"))]
    unknown = {
        (path, name)
        for path in others
        if path not in TESTED
        for name in named(path)
        if name not in NAMES and not any(known.startswith(f"{name.rstrip('_')}_") for known in NAMES)
    }
    assert unknown == set()


def test_the_reference_is_up_to_date() -> None:
    assert (TOP / "docs/metrics.md").read_text() == reference(), "run: make docs"
