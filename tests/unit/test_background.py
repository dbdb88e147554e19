"""agent/collect/background.py: questions in threads that may be left behind, and readers that break."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect import background
from agent.collect.background import BackgroundQueries
from agent.collect.caches import Caches
from agent.collect.sample import Sample
from agent.collect.take import take
from agent.config import Config
from collectors.root import MARK, SysRoot
from tests.unit.tree import A_MARK, grow


def test_a_question_that_is_out_is_not_asked_again_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, never = BackgroundQueries(), threading.Event()

    def ask() -> None:
        never.wait()

    first = queries.start("daemon", ask)
    assert first is not None
    assert queries.start("daemon", ask) is None
    other = queries.start("other", lambda: None)
    assert other is not None
    monkeypatch.setattr(background, "_GIVEN_UP_SECONDS", 0.0)
    asked = [queries.start("daemon", ask) for _ in range(10)]
    assert sum(thread is not None for thread in asked) == background._MAX_ABANDONED
    never.set()
    for thread in filter(None, [first, *asked]):
        thread.join(5)
    again = queries.start("daemon", ask)
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
    whole = take(SysRoot(tmp_path), config, Caches())
    assert None not in (whole.host.stat, whole.workloads.engines)
    monkeypatch.setattr(f"collectors.{reader}.read", breaks)
    broken = take(SysRoot(tmp_path), config, Caches())
    (gap,) = (gap for gap in broken.gaps if gap.source == reader)
    assert gap.reason == "failed"
    assert gap.detail.startswith("ZeroDivisionError: of a kind that nobody thought of (test_background.py:")
    assert (broken.host.stat is None, broken.workloads.engines is None) == (reader == "proc_stat", reader == "docker_engine")
    assert _rest(broken) == _rest(whole)


def _rest(sample: Sample) -> Sample:
    """All but what the readers that break say, and what says when and how well all were read."""
    host, workloads = replace(sample.host, stat=None), replace(sample.workloads, engines=None)
    return replace(sample, host=host, workloads=workloads, gaps=(), seconds={}, read_at={})
