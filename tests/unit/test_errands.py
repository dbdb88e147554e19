"""agent/sample.py: questions in threads that may be left behind."""

from __future__ import annotations

import threading

import pytest

from agent import sample
from agent.sample import Errands


def test_a_question_that_is_out_is_not_asked_again_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    errands, never = Errands(), threading.Event()

    def ask() -> None:
        never.wait()

    first = errands.send("daemon", ask)
    assert first is not None
    assert errands.send("daemon", ask) is None
    other = errands.send("other", lambda: None)
    assert other is not None
    monkeypatch.setattr(sample, "_GIVEN_UP_SECONDS", 0.0)
    asked = [errands.send("daemon", ask) for _ in range(10)]
    assert sum(thread is not None for thread in asked) == sample._LEFT_BEHIND
    never.set()
    for thread in filter(None, [first, *asked]):
        thread.join(5)
    again = errands.send("daemon", ask)
    assert again is not None
    again.join(5)
