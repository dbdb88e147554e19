"""The stored calibration: one JSON file, replaced atomically and never by a worse one."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from agent.model.calibration import TOLERANCE, Calibration, Figure, MachineIdentity
from agent.model.values import MAX_ID

_MOST_BYTES = 1 << 20
_MAX_SECONDS = 86400.0


class Unreadable(Exception):
    """A file that is not a valid calibration, or may not be read."""


def load(path: str) -> Calibration | None:
    """The stored calibration; None where there is no file. Raises Unreadable where it is invalid."""
    try:
        data = read_file(path, _MOST_BYTES)
        return None if data is None else checked(msgspec.json.decode(data, type=Calibration))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not a calibration: {error}") from None


def read_file(path: str, most_bytes: int) -> bytes | None:
    """What is in a file that was stored; None where there is none. What is no regular file is not waited for.

    Raises OSError where it may not be read, msgspec.ValidationError where it is no such file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise msgspec.ValidationError("no regular file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise msgspec.ValidationError("larger than it can be")
    return data


class _Kind(NamedTuple):
    """A kind of figure: its names, its unit, and between what its values lie on any machine, also on an emulated or very busy one."""

    names: re.Pattern[str]
    unit: str
    lo: float
    hi: float


_KINDS = (
    _Kind(re.compile(r"latency_(?:l[123]|dram|effective)"), "seconds", 1e-11, 1e-3),
    _Kind(re.compile(r"walk_[a-z0-9_]{1,40}"), "seconds", 0.0, 1e-3),
    _Kind(re.compile(r"switch_process|hop_other_cpu|wake_delay(?:_other_cpu)?|sleep_overshoot"), "seconds", 0.0, 1.0),
    _Kind(re.compile(r"exit_(?:kernel|user)|host_call_(?:native|python)"), "seconds", 0.0, 0.1),
    _Kind(re.compile(r"(?:instantiate|entry)_through_python"), "seconds", 0.0, 1.0),
    _Kind(re.compile(r"checked_bounds|epochs|fuel"), "ratio", 0.0, 1000.0),
    _Kind(re.compile(r"clock"), "1/second", 1e6, 1e11),
)
_MAX_CHUNKS = 1_000_000
_MAX_RECORDS = 1 << 12
_MAX_BANDWIDTH = 1e14
_MAX_MEMORY_BYTES = 1 << 50


def checked(calibration: Calibration) -> Calibration:
    """`calibration`, if it is one that a run can have stored; else raises msgspec.ValidationError, which says what is wrong."""
    records = (calibration.figures, calibration.ladder, calibration.plateaus, calibration.nodes, calibration.skipped)
    if any(len(part) > _MAX_RECORDS for part in records):
        raise msgspec.ValidationError(f"more than {_MAX_RECORDS} records of one kind")
    for figure in calibration.figures:
        _check_figure(figure)
    for rung in calibration.ladder:
        _check_span(f"latency of {rung.size_bytes} bytes", rung.lo, rung.seconds, rung.hi, 1e-11, 1e-3)
        _check_size(rung.size_bytes, rung.size_bytes)
    for level in calibration.plateaus:
        _check_span(f"latency of {level.name}", level.lo, level.seconds, level.hi, 1e-11, 1e-3)
        _check_size(level.from_bytes, level.to_bytes)
    for pair in calibration.nodes:
        name = f"node {pair.cpu_node} to {pair.memory_node}"
        if not (0 <= pair.cpu_node < MAX_ID and 0 <= pair.memory_node < MAX_ID):
            raise msgspec.ValidationError(f"{name}: no such node")
        _check_span(name, pair.latency_seconds, pair.latency_seconds, pair.latency_seconds, 1e-11, 1e-3)
        bandwidth = pair.bandwidth_bytes_per_second
        _check_span(name, bandwidth, bandwidth, bandwidth, 1.0, _MAX_BANDWIDTH)
    _check_unique("figure", [figure.name for figure in calibration.figures])
    _check_unique("rung", [rung.size_bytes for rung in calibration.ladder])
    _check_unique("plateau from", [level.from_bytes for level in calibration.plateaus])
    _check_unique("pair of nodes", [(pair.cpu_node, pair.memory_node) for pair in calibration.nodes])
    if not (0 <= calibration.cpu < MAX_ID and 0 <= calibration.seconds < _MAX_SECONDS):
        raise msgspec.ValidationError(f"CPU {calibration.cpu} in {calibration.seconds} s")
    conditions = calibration.conditions
    for name, share in (("pressure", conditions.cpu_pressure), ("steal", conditions.steal), ("run delay", conditions.run_delay)):
        # A share of time that two clocks tell may be a little more than all of it.
        if share is not None and not 0 <= share <= 2:
            raise msgspec.ValidationError(f"{name} of {share}: not a share of time")
    return calibration


def _check_figure(figure: Figure) -> None:
    kind = next((kind for kind in _KINDS if kind.names.fullmatch(figure.name)), None)
    if kind is None:
        raise msgspec.ValidationError(f"{figure.name[:40]!r}: no such figure")
    if figure.unit != kind.unit:
        raise msgspec.ValidationError(f"{figure.name} in {figure.unit[:40]!r}, and not in {kind.unit}")
    if not 0 < figure.chunks <= _MAX_CHUNKS:
        raise msgspec.ValidationError(f"{figure.name} of {figure.chunks} chunks")
    _check_span(figure.name, figure.lo, figure.value, figure.hi, kind.lo, kind.hi)


def _check_span(name: str, lo: float, value: float, hi: float, least: float, most: float) -> None:
    if not least <= lo <= value <= hi <= most:
        raise msgspec.ValidationError(f"{name}: {value} in {lo} to {hi} is no interval within {least} to {most}")


def _check_size(first: int, last: int) -> None:
    if not 0 < first <= last <= _MAX_MEMORY_BYTES:
        raise msgspec.ValidationError(f"no size of memory: {first} to {last} bytes")


def _check_unique(kind: str, keys: Sequence[object]) -> None:
    if len(set(keys)) < len(keys):
        raise msgspec.ValidationError(f"two records of one {kind}")


def replaces(new: Calibration, old: Calibration | None) -> bool:
    """Whether `new` may replace `old`: not if it has fewer figures of the same machine, or was disturbed and more so than `old`."""
    if old is None or not same(new.machine, old.machine):
        return True
    if len(new.figures) < len(old.figures):
        return False
    load, before = new.conditions.load, old.conditions.load
    return load is None or not new.conditions.busy or (before is not None and load <= before)


def same(first: MachineIdentity, second: MachineIdentity) -> bool:
    """Whether figures of the first machine hold on the second: all but the boot id is equal."""
    return differences(first, second) == []


def differences(first: MachineIdentity, second: MachineIdentity) -> list[str]:
    """Names of the fields that differ, without the boot id."""
    names = [name for name in MachineIdentity.__struct_fields__ if name != "boot_id"]
    return [name for name in names if getattr(first, name) != getattr(second, name)]


def keep(path: str, calibration: Calibration) -> None:
    """Replaces the file. Raises OSError where it cannot be written."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(calibration)) + b"\n", ".calibration-")


def replace_file(path: str, content: bytes, prefix: str) -> None:
    """Writes a file atomically: a reader sees the old or the new one. Raises OSError where it cannot be written."""
    import tempfile

    directory = os.path.dirname(path) or "."
    os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, path)
    finally:
        # After the replacement the temporary file no longer exists.
        with contextlib.suppress(OSError):
            os.unlink(name)


def deviations(new: Calibration, old: Calibration, tolerance: float = TOLERANCE) -> list[tuple[str, float, float, bool]]:
    """(name, old value, new value, whether they differ by more than `tolerance` and their intervals do, too).

    Ratios are extra time, so 1 is added before they are compared.
    """
    before = {figure.name: figure for figure in old.figures}
    compared = []
    for figure in new.figures:
        old_figure = before.get(figure.name)
        if old_figure is None:
            continue
        extra = 1.0 if figure.unit == "ratio" else 0.0
        low, high = sorted((figure.value + extra, old_figure.value + extra))
        differ = high > low * (1 + tolerance) and (
            figure.lo > old_figure.hi * (1 + tolerance) or old_figure.lo > figure.hi * (1 + tolerance)
        )
        compared.append((figure.name, old_figure.value, figure.value, differ))
    return compared
