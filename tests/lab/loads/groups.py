"""Control groups of this host for loads: one directory in each v1 hierarchy that counts and in v2's beside them, or one of v2."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.crowd import TOP, enable, hierarchies, inherit

PERIOD_USEC = 100_000
_LET_GO_SECONDS = 10
_BESIDE = TOP / "unified"
"""v2 beside v1, as systemd mounts it: it has no controllers there, and counts pressure."""


class LoadGroup:
    """The group `path` in each hierarchy. It is made with the object, and empty."""

    def __init__(self, path: str) -> None:
        beside = (_BESIDE,) if (_BESIDE / "cgroup.procs").is_file() else ()
        self.places = tuple(top / path for top in (*hierarchies(), *beside))
        try:
            for place in self.places:
                enable(place.parent)
                place.mkdir()
                inherit(place)
        except BaseException:
            self.remove()
            raise

    @property
    def join(self) -> tuple[Path, ...]:
        """What a process writes "0" to, to be in it."""
        return tuple(place / "cgroup.procs" for place in self.places)

    def limit(self, cpus: float | None) -> None:
        """So many CPUs in each period; None: no limit."""
        quota = None if cpus is None else round(cpus * PERIOD_USEC)
        if (v1 := self._file("cpu.cfs_quota_us")) is not None:
            v1.with_name("cpu.cfs_period_us").write_text(str(PERIOD_USEC))
            v1.write_text(str(-1 if quota is None else quota))
        elif (v2 := self._file("cpu.max")) is not None:
            v2.write_text(f"{'max' if quota is None else quota} {PERIOD_USEC}")

    def weigh(self, weight: int) -> None:
        """`weight` as of v2, where 100 is usual; v1 counts 1024 there."""
        if (v1 := self._file("cpu.shares")) is not None:
            v1.write_text(str(round(weight * 10.24)))
        elif (v2 := self._file("cpu.weight")) is not None:
            v2.write_text(str(weight))

    def pin(self, cpus: str) -> None:
        if (file := self._file("cpuset.cpus")) is not None:
            file.write_text(cpus)

    def remove(self) -> None:
        """The kernel lets go of a process some time after it was waited for."""
        ends = time.monotonic() + _LET_GO_SECONDS
        while left := [place for place in self.places if place.is_dir()]:
            for place in left:
                with suppress(OSError):
                    place.rmdir()
            if time.monotonic() > ends:
                raise OSError(f"cannot be removed: {', '.join(map(str, left))}")
            time.sleep(0.01)

    def _file(self, name: str) -> Path | None:
        return next((place / name for place in self.places if (place / name).is_file()), None)


@contextmanager
def group(path: str) -> Iterator[LoadGroup]:
    made = LoadGroup(path)
    try:
        yield made
    finally:
        made.remove()
