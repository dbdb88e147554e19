"""Guests that come to their end while this run's other tests come to theirs, in a process beside them.

One by one as long as there are other tests to run, which the process knows by its standard input being open, and then as many at a time
as the smallest machine has CPUs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab import full, full_image, guest
from tests.lab.guest import Guest, GuestFailed
from tests.lab.process import terminable
from tests.need import TOP, need


class Ahead:
    """The guests of modules that have a `plan`; each leaves what it says in a directory below `place` that bears the module's name."""

    def __init__(self, place: Path, modules: Sequence[str]) -> None:
        self.place = place
        with (place / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.ahead", str(place), *modules],
                cwd=TOP,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def result(self, module: str) -> full.Result:
        """Waits for this one; there is nothing else to do any more."""
        need(*full_image.PROGRAMS, root=True)
        self._alone()
        into = self.place / module
        said = into / "said"
        while not said.exists() and self._process.poll() is None:
            time.sleep(0.1)
        if not said.exists():
            log = (self.place / "log").read_text(errors="replace")
            raise RuntimeError(f"the guests ended with {self._process.returncode}: {log[-4000:]}")
        told = json.loads(said.read_text())
        if told["failed"]:
            raise GuestFailed(told["failed"])
        return full.result(told["shape"], into, told["seconds"])

    def end(self) -> None:
        self._process.terminate()
        self._alone()
        self._process.wait(60)

    def _alone(self) -> None:
        """Lets the guests have all CPUs."""
        if self._process.stdin:
            self._process.stdin.close()


def main(place: Path, modules: Sequence[str]) -> int:
    def beside() -> int:
        return guest.BESIDE if select.select([sys.stdin], [], [], 0)[0] else guest.BESIDE - 1

    def prepared(stack: contextlib.ExitStack) -> Iterator[Guest]:
        for module in modules:
            into = place / module
            into.mkdir()
            yield stack.enter_context(full.prepared(importlib.import_module(module).plan(into), into))

    def ended(one: Guest) -> None:
        told = {"shape": one.name, "seconds": one.seconds, "failed": str(one.failed) if one.failed else ""}
        (one.into / "saying").write_text(json.dumps(told))
        (one.into / "saying").rename(one.into / "said")

    with terminable(), contextlib.ExitStack() as stack:
        guest.run(prepared(stack), beside, ended)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
