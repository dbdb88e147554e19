"""agent/collect/background.py: questions in threads that may be left behind, and readers that break."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect import sample
from agent.collect.sample import BackgroundQueries
from agent.config import Config
from collectors.root import MARK, SysRoot
from tests.unit.tree import A_MARK, grow


def test_a_question_that_is_out_is_not_asked_again_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, never = BackgroundQueries(), threading.Event()

    def ask() -> None:
        never.wait()

    first = queries.send("daemon", ask)
    assert first is not None
    assert queries.send("daemon", ask) is None
    other = queries.send("other", lambda: None)
    assert other is not None
    monkeypatch.setattr(sample, "_GIVEN_UP_SECONDS", 0.0)
    asked = [queries.send("daemon", ask) for _ in range(10)]
    assert sum(thread is not None for thread in asked) == sample._LEFT_BEHIND
    never.set()
    for thread in filter(None, [first, *asked]):
        thread.join(5)
    again = queries.send("daemon", ask)
    assert again is not None
    again.join(5)


@pytest.mark.parametrize("reader", ["proc_stat", "docker_engine"])
def test_a_reader_that_breaks_costs_its_own_source(reader: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is asked on the way, and one that is asked in the background."""

    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of a kind that nobody thought of")

    engine = '[{"name": "docker", "version": "1", "containers": []}]'
    grow(tmp_path, {MARK: A_MARK, "proc/stat": "cpu0 1 2 3 4\n", "proc/uptime": "10.0 10.0\n", "replies/docker_engine.json": engine})
    config = Config(root=str(tmp_path), only=("proc_stat", "proc_sys", "docker_engine"))
    whole = sample.take(SysRoot(tmp_path), config, BackgroundQueries())
    assert None not in (whole.stat, whole.engines)
    monkeypatch.setattr(f"agent.collect.sample.{reader}.read", breaks)
    broken = sample.take(SysRoot(tmp_path), config, BackgroundQueries())
    (gap,) = (gap for gap in broken.gaps if gap.source == reader)
    assert gap.reason == "failed"
    assert gap.detail.startswith("ZeroDivisionError: of a kind that nobody thought of (test_background.py:")
    assert (broken.stat is None, broken.engines is None) == (reader == "proc_stat", reader == "docker_engine")
    other: dict[str, object] = {"stat": None, "engines": None, "gaps": (), "seconds": {}, "read_at": {}}
    assert replace(broken, **other) == replace(whole, **other)
