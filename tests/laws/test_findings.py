"""docs/findings.md: every kind of finding is in its list."""

from __future__ import annotations

import io
import re
import runpy
import sys
from typing import get_args

import pytest

from agent.model.finding import KINDS, SEVERITIES, Kind, Severity
from exporters.findings import reference
from tests.need import TOP

DOCUMENT = TOP / "docs/findings.md"


def test_every_kind_says_what_it_means() -> None:
    assert (*KINDS,) == get_args(Kind)
    assert get_args(Severity) == SEVERITIES
    assert all(meaning.text and not meaning.text.endswith(".") for meaning in KINDS.values())


def test_the_list_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == reference(DOCUMENT.read_text()), "run: make docs"


def test_every_kind_has_a_section() -> None:
    sections = re.findall(r"^### `(\w+)`$", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(KINDS)


def test_the_list_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "exporters.findings")
    monkeypatch.setattr(sys, "stdin", io.StringIO(DOCUMENT.read_text()))
    runpy.run_module("exporters.findings", run_name="__main__")
    assert capsys.readouterr().out == DOCUMENT.read_text()
