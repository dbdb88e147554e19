"""One run of the matrix: loads run, and the agent looks at them pass after pass as its daemon does."""

from __future__ import annotations

import copyreg
import pickle
import re
import time
import zlib
from collections import abc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent.config import Config
from agent.model.host import Host
from agent.model.values import CpuSet, ReadTimes
from agent.model.workload import Workload
from agent.session import Session, advance
from collectors.root import SysRoot
from tests.lab import host
from tests.lab.loads.generator import Generator, Running, generator
from tests.validation.matrix_plan import Change, Run

SETTLE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one pass read, when (Unix seconds), and which workload each load is."""

    host: Host
    read_at: ReadTimes
    taken_at: float
    ids: dict[str, str]


def passes(
    run: Run, top: str, place: Path, program: Path, libvirt: host.Libvirt | None, windows: int, seconds: float
) -> abc.Generator[Pass, None, None]:
    """One at the beginning, and one at the end of each window. The loads end with the run, however it ends."""
    with generator(top, place, program, libvirt) as loads:
        running = {load.name: loads.start(load) for load in run.loads}
        if run.outside_cpus > 0.05:
            loads.outside(run.outside_cpus, run.number)
        time.sleep(SETTLE_SECONDS)
        session = Session(root=SysRoot(), config=_config(top, libvirt))
        yield _pass(session, running)
        began = time.monotonic()
        for window in range(windows):
            for change in run.changes:
                if change.window == window:
                    _apply(change, loads, running)
            time.sleep(max(0.0, began + (window + 1) * seconds - time.monotonic()))
            yield _pass(session, running)


def _config(top: str, libvirt: host.Libvirt | None) -> Config:
    groups = re.compile(f"{re.escape(top)}/(?P<name>[^/]+)")
    return Config(libvirt=() if libvirt is None else (libvirt.uri,), workload_groups=(groups,))


def _pass(session: Session, running: dict[str, Running]) -> Pass:
    after = advance(session, "metrics").after
    workloads = {name: _workload(load, after.workloads) for name, load in running.items()}
    ids = {name: workload.id for name, workload in workloads.items() if workload is not None}
    return Pass(host=after, read_at=session.read_at, taken_at=session.taken_at, ids=ids)


def _apply(change: Change, loads: Generator, running: dict[str, Running]) -> None:
    if change.starts is not None:
        running[change.starts.name] = loads.start(change.starts)
    if change.stops is not None:
        loads.stop(running.pop(change.stops))
    if change.quota_of is not None:
        running[change.quota_of].limit(change.quota_cpus)


def _workload(running: Running, workloads: tuple[Workload, ...]) -> Workload | None:
    """The agent's record of a load."""
    load = running.load
    if load.paradigm == "sandbox":
        return next((workload for workload in workloads if workload.paradigm == "sandbox" and workload.pid == running.pid), None)
    return next((workload for workload in workloads if workload.name == load.name and workload.paradigm != "sandbox"), None)


def write(file: IO[bytes], thing: Run | Pass) -> None:
    """Passes as they were read, for other code to judge: as Python's objects, for this version of the agent and those near it."""
    packed = zlib.compress(pickle.dumps(thing, protocol=5))
    file.write(len(packed).to_bytes(4, "little") + packed)


def stored(file: IO[bytes]) -> Iterator[tuple[Run, list[Pass]]]:
    """The runs of such a file, which is one's own."""
    run: Run | None = None
    of_run: list[Pass] = []
    while length := file.read(4):
        thing = pickle.loads(zlib.decompress(file.read(int.from_bytes(length, "little"))))  # noqa: S301
        if isinstance(thing, Pass):
            of_run.append(thing)
            continue
        if run is not None:
            yield run, of_run
        run, of_run = thing, []
    if run is not None:
        yield run, of_run


def _cpu_set(cpus: CpuSet) -> tuple[type[CpuSet], tuple[tuple[int, ...]]]:
    return CpuSet, (tuple(cpus),)


# A set cannot be changed, and so not be filled after it was made.
copyreg.pickle(CpuSet, _cpu_set)
