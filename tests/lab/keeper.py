"""Keeps one daemon for as long as whoever asked for it lives; then ends it and takes its traces away.

A process of its own: the end of its standard input is the sign to end, so it comes however its parent ends. Whatever the daemon
starts stays below this process (PR_SET_CHILD_SUBREAPER, prctl(2)), so all of it is found and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")

_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_STOP_SECONDS = 20


@dataclass(frozen=True)
class Kept:
    """What to run and what goes with it: `directory` whole, and in `places` and `cgroups` all that was not there before."""

    command: Sequence[str]
    directory: str
    places: Sequence[str]
    cgroups: Sequence[str]

    def written(self) -> str:
        return json.dumps(asdict(self))


def cgroups(names: Iterable[str]) -> set[Path]:
    """The cgroups with one of these names directly below a hierarchy, and those within."""
    tops = [top for name in names for top in (*CGROUP.glob(name), *CGROUP.glob(f"*/{name}"))]
    # Others' groups come and go while they are looked at: os.walk() goes on where Path.rglob() raises.
    return {Path(path) for top in tops if top.is_dir() for path, _, _ in os.walk(top)}


def files(places: Iterable[str]) -> set[Path]:
    """What is at these places and below them."""
    return {path for place in map(Path, places) if place.exists() for path in (place, *place.rglob("*"))}


def keep(kept: Kept) -> str:
    """Says the daemon's PID, waits and cleans up. Gives what could not be removed."""
    were, grouped = files(kept.places), cgroups(kept.cgroups)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)  # not SIG_IGN, which the daemon would inherit
    # Who left a child to itself may wait for it to be gone: libvirtd asks kill(2), which finds zombies, too.
    signal.signal(signal.SIGCHLD, lambda number, frame: _bury())
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        return "prctl(PR_SET_CHILD_SUBREAPER) failed"
    with Path(kept.directory, "log.txt").open("wb") as log:
        daemon = subprocess.Popen(kept.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    print(daemon.pid, flush=True)
    sys.stdin.buffer.read()
    return _end(daemon, kept, grouped) or _wipe(kept, were, grouped)


def _end(daemon: subprocess.Popen[bytes], kept: Kept, grouped: set[Path]) -> str:
    """Kills the daemon, then all that it has started. What an orderly end would tidy up goes with the directory."""
    ours = psutil.Process()
    daemon.kill()
    end = time.monotonic() + _STOP_SECONDS
    while left := ours.children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # Frozen by v1's freezer, as paused containers are, a process does not even die.
        for group in cgroups(kept.cgroups) - grouped:
            with contextlib.suppress(OSError):
                if (group / "freezer.state").exists():
                    (group / "freezer.state").write_text("THAWED")
        if time.monotonic() > end:
            return f"still running: {left}"
        time.sleep(0.01)
    return ""


def _bury() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _wipe(kept: Kept, were: set[Path], grouped: set[Path]) -> str:
    for path in sorted(files(kept.places) - were, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(kept.directory)
    # The last process of a cgroup is gone a moment before the cgroup lets itself be removed.
    end = time.monotonic() + _STOP_SECONDS
    while left := sorted(cgroups(kept.cgroups) - grouped, reverse=True):
        for path in left:
            with contextlib.suppress(OSError):
                path.rmdir()
        if time.monotonic() > end:
            return f"left behind: {', '.join(map(str, left))}"
        time.sleep(0.01)
    return ""


if __name__ == "__main__":
    sys.exit(keep(Kept(**json.loads(sys.argv[1]))) or 0)
