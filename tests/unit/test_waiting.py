"""agent/cli/waiting.py: an interval passes, and only a terminal is told how much of it is left."""

from __future__ import annotations

import io
import sys
import time

import pytest

from agent.cli import waiting


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "long_seconds"), [(0.05, 1.0), (0.3, 0.1)])
@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_the_interval_passes(monkeypatch: pytest.MonkeyPatch, seconds: float, long_seconds: float, stream: type[io.StringIO]) -> None:
    standard_error = stream()
    monkeypatch.setattr(sys, "stderr", standard_error)
    monkeypatch.setattr(waiting, "LONG_SECONDS", long_seconds)
    began = time.monotonic()
    waiting.wait(seconds)
    assert time.monotonic() - began >= seconds
    assert bool(standard_error.getvalue()) == (standard_error.isatty() and seconds >= long_seconds)
