"""`make matrix`: forecasts beside what comes true, for real loads at four levels; scored beside "as in the last window".

A full matrix is 20 runs of 64 windows of 4 s, the first 16 of a run to learn: 88 minutes. Each pair of level and behaviour occurs twice.
Interrupted, it ends what it started and prints what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, get_args

import msgspec
import pytest

from agent.model.values import CpuSet
from tests.lab import host, surroundings
from tests.lab.loads.behaviours_table import Paradigm
from tests.lab.loads.generator import compiled, lacks
from tests.lab.process import terminable
from tests.validation import matrix_guest
from tests.validation.matrix_plan import RUNS, plan
from tests.validation.matrix_rows import Row, rows
from tests.validation.matrix_run import Pass, passes, stored, write
from tests.validation.matrix_table import planned, table

WINDOWS, LEARN, SECONDS = 64, 16, 4.0


def main(words: Sequence[str] | None = None) -> int:
    parsed = _arguments(words)
    if parsed.guest:
        own = (f"--{name} {vars(parsed)[name]}" for name in ("runs", "seed", "windows", "learn", "seconds"))
        return matrix_guest.main(list(own), parsed.runs * (parsed.windows * parsed.seconds + 10), parsed.keep)
    source = again(parsed.judge) if parsed.judge else scored(parsed.score) if parsed.score else taken(parsed)
    if not parsed.judge and not parsed.score and (reason := lacks(parsed.program)) is not None:
        print(f"matrix: {reason}", file=sys.stderr)
        return 1
    figures: list[Row] = []
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        stack.enter_context(terminable())
        out = None if parsed.out is None else stack.enter_context(parsed.out.open("wb"))
        for of_window in source:
            figures += of_window
            if out is not None:
                out.write(b"".join(msgspec.json.encode(row) + b"\n" for row in of_window))
    print(*table(figures, parsed.learn), sep="\n")
    return 0


def scored(path: Path) -> Iterator[tuple[Row, ...]]:
    """Figures of a file, scored anew."""
    yield tuple(msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines())


def again(path: Path) -> Iterator[tuple[Row, ...]]:
    """Passes of a file, judged anew."""
    with path.open("rb") as file:
        for run, of_run in stored(file):
            yield from rows(run, of_run)


def taken(parsed: argparse.Namespace) -> Iterator[tuple[Row, ...]]:
    """The rows of all runs, window by window. Passes are written to the file that was named, too."""
    with contextlib.ExitStack() as stack:
        # Should this process be killed outright, the warden ends what it started.
        warden = stack.enter_context(surroundings.warden())
        stack.callback(warden.communicate)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stratascope-matrix-")))
        program = parsed.program or compiled(place)
        libvirt = None if parsed.no_machines else stack.enter_context(machines())
        keep = None if parsed.keep is None else stack.enter_context(parsed.keep.open("wb"))
        there = {"container": True, "machine": libvirt is not None, "sandbox": importlib.util.find_spec("wasmtime") is not None}
        paradigms = [paradigm for paradigm in get_args(Paradigm) if there[paradigm]]
        cpus = sorted(os.sched_getaffinity(0))
        runs = plan(parsed.seed, parsed.runs, parsed.windows, cpus, paradigms)
        about = f"{parsed.windows} windows of {parsed.seconds:g} s, the first {parsed.learn} to learn"
        print(f"seed {parsed.seed}: {parsed.runs} runs of {about}; CPUs {CpuSet(cpus)}; {', '.join(paradigms)}", flush=True)
        began = time.monotonic()
        for run in runs:
            print(*planned(run), sep="\n", flush=True)
            if keep is not None:
                write(keep, run)
            of_run = passes(run, f"stratascope-load-{os.getpid()}", place, program, libvirt, parsed.windows, parsed.seconds)
            with contextlib.closing(of_run):
                yield from rows(run, of_run if keep is None else _kept(of_run, keep))
            print(f"  {(time.monotonic() - began) / 60:.1f} min", flush=True)


def _kept(of_run: Iterator[Pass], keep: IO[bytes]) -> Iterator[Pass]:
    for one_pass in of_run:
        write(keep, one_pass)
        keep.flush()
        yield one_pass


@contextlib.contextmanager
def machines() -> Iterator[host.Libvirt | None]:
    """A libvirt of the lab's own; None, and why, where there cannot be any."""
    with contextlib.ExitStack() as stack:
        libvirt = None
        try:
            libvirt = stack.enter_context(host.libvirtd())
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            print(f"matrix: no machines: {error}", file=sys.stderr)
        yield libvirt


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.validation.matrix", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"{RUNS}; fewer are the first ones of them")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what the loads are drawn by; it is printed")
    parser.add_argument("--windows", type=int, default=WINDOWS, help=f"of a run; {WINDOWS}")
    parser.add_argument("--learn", type=int, default=LEARN, help=f"the first of them, which are not scored; {LEARN}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of a window; {SECONDS:g}")
    parser.add_argument("--out", type=Path, help="a file for all figures, a line of JSON each")
    parser.add_argument("--score", type=Path, help="such a file: it is scored anew, and nothing is run")
    parser.add_argument("--keep", type=Path, help="a file for all passes, for --judge")
    parser.add_argument("--judge", type=Path, help="such a file: they are judged anew, by the agent as it is now, and nothing is run")
    parser.add_argument("--program", type=Path, help="the loads' C program, where there is no compiler")
    parser.add_argument("--guest", action="store_true", help="in a guest with control groups v2, whose CPUs are emulated")
    parser.add_argument("--no-machines", action="store_true", help="containers and sandboxes only")
    return parser.parse_args(words)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored
    sys.exit(main())
