"""Which functions each test calls: `python -m tests.mutants.reach OUT ROOM,ROOM pytest-arguments...` writes it as JSON.

What fixtures and imports call counts for all tests of their file. What other processes call is not known.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

import pytest

from tests.need import TOP


class Reach:
    """A plugin of pytest. Tests go by their function, whatever the parameters; functions by "path:line", and each file by its path."""

    def __init__(self, rooms: tuple[str, ...]) -> None:
        self.rooms = tuple(f"{TOP}/{room}/" for room in rooms)
        self.called: set[CodeType] = set()
        self.seconds: dict[str, float] = defaultdict(float)
        self.by_test: dict[str, set[str]] = defaultdict(set)
        self.failed: set[str] = set()

    def trace(self, frame: FrameType, event: str, argument: object) -> None:
        self.called.add(frame.f_code)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._take(report.nodeid.partition("::")[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        self.seconds[test] += report.duration
        if report.failed:
            self.failed.add(test)
        self._take(test if report.when == "call" else test.partition("::")[0])

    def _take(self, test: str) -> None:
        called, self.called = self.called, set()
        codes = [code for code in called if code.co_filename.startswith(self.rooms)]
        paths = {code.co_filename.removeprefix(f"{TOP}/") for code in codes}
        self.by_test[test] |= paths | {f"{code.co_filename.removeprefix(f'{TOP}/')}:{code.co_firstlineno}" for code in codes}

    def tests(self) -> dict[str, list[str]]:
        """The tests by what they reach, the fastest first, without those that fail as it is."""
        reached = defaultdict(list)
        for test in sorted(self.seconds.keys() - self.failed, key=self.seconds.__getitem__):
            for place in self.by_test[test] | self.by_test[test.partition("::")[0]]:
                reached[place].append(test)
        return reached


def main(out: str, rooms: str, *arguments: str) -> None:
    reach = Reach(tuple(rooms.split(",")))
    threading.settrace(reach.trace)
    sys.settrace(reach.trace)
    pytest.main([*arguments, "-q", "-p", "no:cacheprovider"], plugins=[reach])
    sys.settrace(None)
    Path(out).write_text(json.dumps({"tests": reach.tests(), "seconds": reach.seconds, "failed": sorted(reach.failed)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
