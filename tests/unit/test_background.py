"""agent/collect/background.py: questions in threads that may be left behind, and readers that break."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect import background
from agent.collect.ask import Pass
from agent.collect.background import BackgroundQueries, DatedAnswer
from agent.collect.caches import Caches
from agent.collect.sample import Sample
from agent.collect.take import take
from agent.config import Config
from agent.model.values import Reason
from collectors.root import MARK, SysRoot, Unavailable
from tests.unit.tree import A_MARK, grow


class Program:
    """A program that answers with how often it was asked, after so many seconds, until it ends; or fails, or never answers."""

    def __init__(self, root: Path, seconds: float = 0.0) -> None:
        self.root, self.seconds = SysRoot(root), seconds
        self.queries: BackgroundQueries[int] = BackgroundQueries()
        self.asked = 0
        self.failure: Unavailable | None = None
        self.gone: Unavailable | None = None
        self.hangs: threading.Event | None = None

    def _addresses(self, _: SysRoot) -> tuple[str, ...]:
        if self.gone:
            raise self.gone
        return ("unix:///run/engine.sock?x=1",)

    def _read(self, _: SysRoot, __: str) -> int:
        self.asked += 1
        number = self.asked
        if self.hangs:
            self.hangs.wait(30)
        time.sleep(self.seconds)
        if self.failure:
            raise self.failure
        return number

    def scrape(self, patience_seconds: float = 0.2) -> tuple[list[DatedAnswer[int]], list[tuple[str, str]], float]:
        """The answers, the gaps, and how long it took."""
        began = time.monotonic()
        wait = self.queries.begin(Pass(self.root, ()), "docker_engine", self._addresses, self._read, began + patience_seconds)
        answers = wait()
        return list(answers.answers), [(gap.reason, gap.detail) for gap in answers.gaps], time.monotonic() - began

    def settle(self) -> None:
        """Until no question is out."""
        end = time.monotonic() + 10
        while any(query.thread and query.thread.is_alive() for query in self.queries._queries.values()):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_an_engine_that_answers_in_time_is_asked_at_each_scrape(tmp_path: Path) -> None:
    program = Program(tmp_path)
    for number in (1, 2, 3):
        answers, gaps, _ = program.scrape()
        assert (answers, gaps) == ([DatedAnswer(number, 0.0)], [])


def test_an_engine_that_is_too_slow_keeps_its_last_answer_with_its_age(tmp_path: Path) -> None:
    """The first scrape waits for it in vain, the later ones do not wait: what came late is what they show."""
    program = Program(tmp_path, seconds=0.5)
    answers, ((reason, detail),), seconds = program.scrape()
    assert (answers, reason, detail) == ([], "late", "unix:///run/engine.sock: no answer in 0.2 s")
    assert seconds >= 0.2
    for number in (1, 2, 3):
        program.settle()
        ((answer,), ((reason, detail),), seconds) = program.scrape()
        assert (answer.value, reason) == (number, "late")
        assert detail == f"unix:///run/engine.sock: its last answer took 0.5 s; shown is what it said {answer.seconds_ago:.1f} s ago"
        assert seconds < 0.15
    # It is fast again: the one that was asked in the background shows it.
    program.settle()
    program.seconds = 0.0
    program.scrape()
    program.settle()
    answers, gaps, _ = program.scrape()
    assert (answers, gaps) == ([DatedAnswer(6, 0.0)], [])


def test_an_engine_that_falls_silent_is_waited_for_once(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.scrape()
    program.hangs = threading.Event()
    took = []
    for _ in range(4):
        ((answer,), ((reason, detail),), seconds) = program.scrape()
        assert (answer.value, reason) == (1, "late")
        assert "; shown is what it said 0." in detail
        took.append(seconds)
    assert took[0] >= 0.2
    assert max(took[1:]) < 0.15
    assert program.asked == 2
    program.hangs.set()
    program.settle()
    # What it said in the end is shown first, then it is asked again.
    assert program.scrape()[0][0].value in (2, 3)
    program.settle()
    assert program.scrape()[1] == []


@pytest.mark.parametrize("reason", ["failed", "denied"])
def test_an_engine_that_fails_keeps_its_last_answer(tmp_path: Path, reason: Reason) -> None:
    """Killed and started again, or its socket no longer ours."""
    program = Program(tmp_path)
    program.failure = Unavailable(reason, "connection refused")
    assert program.scrape()[:2] == ([], [(reason, "connection refused")])
    program.failure = None
    program.scrape()
    program.failure = Unavailable(reason, "connection refused")
    ((answer,), (gap,), _) = program.scrape()
    assert answer.value == 2
    assert gap == (reason, f"connection refused; shown is what it said {answer.seconds_ago:.1f} s ago")
    program.failure = None
    assert program.scrape()[:2] == ([DatedAnswer(4, 0.0)], [])


def test_an_engine_whose_socket_is_gone_keeps_its_last_answer_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(tmp_path)
    program.scrape()
    program.gone = Unavailable("absent", "no engine socket")
    ((answer,), (none, gone), _) = program.scrape()
    assert (answer.value, none) == (1, ("absent", "no engine socket"))
    assert gone == ("absent", f"unix:///run/engine.sock: gone; shown is what it said {answer.seconds_ago:.1f} s ago")
    monkeypatch.setattr(background, "KEPT_SECONDS", 0.0)
    assert program.scrape()[:2] == ([], [("absent", "no engine socket")])
    assert program.queries._queries == {}


def test_a_question_that_is_out_is_not_asked_again_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(tmp_path)
    program.hangs = threading.Event()
    for _ in range(3):
        program.scrape(0.01)
    assert program.asked == 1
    monkeypatch.setattr(background, "_GIVEN_UP_SECONDS", 0.0)
    for _ in range(10):
        program.scrape(0.01)
    assert program.asked == 1 + background._MAX_ABANDONED
    program.hangs.set()
    for thread in program.queries._abandoned:
        thread.join(5)
    program.settle()
    # The newest question's answer counts, whichever ended last.
    assert [answer.value for answer in program.scrape()[0]] == [program.asked]


def test_a_recording_asks_nobody(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.root = grow(tmp_path, {MARK: A_MARK})
    assert program.scrape()[:2] == ([], [])
    assert program.asked == 0


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
    return replace(sample, host=host, workloads=workloads, gaps=(), seconds={}, ages={}, read_at={})
