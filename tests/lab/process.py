"""Ends that leave nothing behind: what a lab does when it is interrupted."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the block is over."""
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


def mounting(directory: str | Path) -> dict[str, str]:
    """An environment in which mount(8) keeps its table in `directory` and not in /run/mount, which is the host's.

    Two that clean up after themselves there, one while the other runs, leave what each found of the other's.
    """
    return {"LIBMOUNT_UTAB": f"{directory}/utab"}  # libmount's mnt_get_utab_path()
