"""The stored calibration: one JSON file, replaced atomically and never by a worse one."""

from __future__ import annotations

import contextlib
import os

import msgspec

from agent.model.calibration import TOLERANCE, Calibration, MachineIdentity

_MOST_BYTES = 1 << 20
BUSY = 0.5
"""CPU pressure above which a run does not replace one with less pressure."""


class Unreadable(Exception):
    """A file that is not a valid calibration, or may not be read."""


def load(path: str) -> Calibration | None:
    """The stored calibration; None where there is no file. Raises Unreadable where it is invalid."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    try:
        if len(data) > _MOST_BYTES:
            raise msgspec.ValidationError("larger than a calibration can be")
        return checked(msgspec.json.decode(data, type=Calibration))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not a calibration: {error}") from None


def checked(calibration: Calibration) -> Calibration:
    """`calibration`, if each interval is finite, not negative and in order; else raises msgspec.ValidationError."""
    spans = [(figure.lo, figure.value, figure.hi) for figure in calibration.figures]
    spans += [(rung.lo, rung.seconds, rung.hi) for rung in calibration.ladder]
    spans += [(level.lo, level.seconds, level.hi) for level in calibration.plateaus]
    spans += [(0.0, pair.latency_seconds, pair.bandwidth_bytes_per_second) for pair in calibration.nodes]
    if any(not 0 <= lo <= value <= hi < float("inf") for lo, value, hi in spans):
        raise msgspec.ValidationError("an interval that is none")
    return calibration


def replaces(new: Calibration, old: Calibration | None) -> bool:
    """Whether `new` may replace `old`: not if it has fewer figures of the same machine, or ran under high load and more than `old`."""
    if old is None or not same(new.machine, old.machine):
        return True
    if len(new.figures) < len(old.figures):
        return False
    pressure, before = new.conditions.cpu_pressure, old.conditions.cpu_pressure
    return pressure is None or pressure <= BUSY or (before is not None and pressure <= before)


def same(first: MachineIdentity, second: MachineIdentity) -> bool:
    """Whether figures of the first machine hold on the second: all but the boot id is equal."""
    return differences(first, second) == []


def differences(first: MachineIdentity, second: MachineIdentity) -> list[str]:
    """Names of the fields that differ, without the boot id."""
    names = [name for name in MachineIdentity.__struct_fields__ if name != "boot_id"]
    return [name for name in names if getattr(first, name) != getattr(second, name)]


def keep(path: str, calibration: Calibration) -> None:
    """Writes the file atomically: a reader sees the old or the new one. Raises OSError where it cannot be written."""
    import tempfile

    directory = os.path.dirname(path) or "."
    os.makedirs(directory, mode=0o755, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".calibration-", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(calibration)) + b"\n")
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
