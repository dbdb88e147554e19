"""What predictions were off by, kept across restarts of the daemon: one file beside the calibration, replaced atomically.

It holds for one boot, kernel, microcode and topology: after that nothing of what it knows still lives, or runs as it did. What is in it is
checked like the answer of a stranger; a file that is not understood is left aside, with a gap, and written anew.
"""

from __future__ import annotations

from array import array
from typing import Literal, get_type_hints

import msgspec

from agent import __version__
from agent.calibrate.machine import machine_of
from agent.calibrate.store import differences, read_file, replace_file
from agent.model.calibration import MachineIdentity
from agent.model.components import COMPONENTS
from agent.model.host import Host
from agent.model.values import Fact, Gap
from agent.overhead.learned import KEPT, Track
from agent.overhead.residuals import EXPERTS, Histories, History, Key

MOST_HISTORIES = 2000
"""So many are kept, of those that were watched longest: 7 MB, packed in 50 ms every five minutes."""
_MOST_BYTES = 1 << 24
_WIDEST_TAIL = 1.0
_ANEW = "nothing: it is written anew, and intervals are learned again"

_Values = tuple[msgspec.Raw, ...]


class _StoredTrack(msgspec.Struct, array_like=True, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A track without the order of its residuals by size, which follows from the residuals. These are 64-bit floats of this machine."""

    level: float
    windows: int
    residuals: tuple[bytes, ...]
    costs: list[float]
    tails: tuple[float, float]
    scored: float
    inside: float
    score: float


class _Entry(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """`values` are those of a history, in the order of its fields."""

    workload: str
    identity: str
    component: str
    values: _Values


class _Stored(Fact, frozen=True, kw_only=True):
    """`fields` are those of a history and of a track: another version may have others."""

    schema: Literal["stratascope-histories/1"]
    version: str
    machine: MachineIdentity
    topology: str
    fields: tuple[str, ...]
    entries: tuple[_Entry, ...]


_FIELDS = (*History.__struct_fields__, *Track.__struct_fields__)
_HINTS = get_type_hints(History)


def load(path: str, host: Host) -> tuple[Histories, Gap | None]:
    """The stored histories of this host as it runs now; none and a gap where the file is not one, or of before. No file is no gap."""
    try:
        data = read_file(path, _MOST_BYTES)
        if data is None:
            return {}, None
        stored = msgspec.msgpack.decode(data, type=_Stored)
        if was := _another(stored, host):
            return {}, Gap("histories", "unsupported", f"{path}: of another {was}", _ANEW)
        if len(stored.entries) > MOST_HISTORIES:
            raise msgspec.ValidationError(f"more than {MOST_HISTORIES} of them")
        return {(entry.workload, entry.identity, entry.component): _history(entry) for entry in stored.entries}, None
    except OSError as error:
        return {}, Gap("histories", "denied", f"{path}: {error.strerror}", f"let the agent read and write {path}")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return {}, Gap("histories", "failed", f"{path}: no histories: {error}", _ANEW)


def packed(histories: Histories, host: Host) -> bytes:
    """The file's content: those that were watched longest."""
    longest = sorted(histories.items(), key=lambda item: item[1].seconds, reverse=True)[:MOST_HISTORIES]
    return msgspec.msgpack.encode(
        _Stored(
            schema="stratascope-histories/1",
            version=__version__,
            machine=machine_of(host),
            topology=_topology(host),
            fields=_FIELDS,
            entries=tuple(_entry(key, history) for key, history in longest),
        )
    )


def keep(path: str, content: bytes) -> None:
    """Replaces the file. Raises OSError where that cannot be done."""
    replace_file(path, content, ".histories-")


def _another(stored: _Stored, host: Host) -> str | None:
    """What of this host is not as it was."""
    here = machine_of(host)
    if stored.version != __version__ or stored.fields != _FIELDS:
        return "version of the agent"
    if here.boot_id is None or stored.machine.boot_id != here.boot_id:
        return "boot"
    if differing := differences(stored.machine, here):
        return differing[0].replace("_", " ")
    return "topology" if stored.topology != _topology(host) else None


def _topology(host: Host) -> str:
    """The CPUs, cores and nodes in words."""
    physical = host.physical
    cores = "|".join(str(core.cpus) for core in physical.cores)
    nodes = "|".join(f"{node.os_index}:{node.cpus}" for node in physical.nodes)
    return f"{physical.cpus.online}; {cores}; {nodes}"


def _entry(key: Key, history: History) -> _Entry:
    values = [_packed_track(value) if isinstance(value, Track) else value for value in msgspec.structs.astuple(history)]
    workload, identity, component = key
    return _Entry(
        workload=workload,
        identity=identity,
        component=component,
        values=tuple(msgspec.Raw(msgspec.msgpack.encode(value)) for value in values),
    )


def _packed_track(track: Track) -> _StoredTrack:
    return _StoredTrack(
        level=track.level,
        windows=track.windows,
        residuals=tuple(residuals.tobytes() for residuals in track.residuals),
        costs=track.costs,
        tails=track.tails,
        scored=track.scored,
        inside=track.inside,
        score=track.score,
    )


def _history(entry: _Entry) -> History:
    names = History.__struct_fields__
    if entry.component not in COMPONENTS:
        raise msgspec.ValidationError(f"no component {entry.component[:40]!r}")
    if len(entry.values) != len(names):
        raise msgspec.ValidationError(f"{len(entry.values)} values of a history")
    history = History()
    for name, value in zip(names, entry.values, strict=True):
        if _HINTS[name] is Track:
            setattr(history, name, _track(msgspec.msgpack.decode(value, type=_StoredTrack)))
        elif name == "by_habit":
            stored = msgspec.msgpack.decode(value, type=_StoredTrack | None)
            history.by_habit = None if stored is None else _track(stored)
        else:
            setattr(history, name, _finite(name, msgspec.msgpack.decode(value, type=_HINTS[name])))
    if len(history.errors) not in (0, len(EXPERTS)) or not 0 <= history.chosen < len(EXPERTS) or history.outside < 0:
        raise msgspec.ValidationError("errors of experts that there are not")
    # They were of the next window, and that is over.
    history.points = ()
    return history


def _finite(name: str, value: object) -> object:
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    if any(isinstance(number, (int, float)) and not -1e18 < number < 1e18 for number in numbers):
        raise msgspec.ValidationError(f"{name} of {value}: no number that can be")
    return value


def _track(stored: _StoredTrack) -> Track:
    """Raises msgspec.ValidationError or ValueError for one that no windows can have made."""
    fresh = Track()
    residuals = tuple(_numbers(data) for data in stored.residuals)
    count = min(stored.windows, KEPT)
    if len(residuals) != len(fresh.residuals) or any(len(part) != count for part in residuals):
        raise msgspec.ValidationError(f"residuals of {stored.windows} windows")
    if len(stored.costs) != len(fresh.costs) or any(not 0 <= tail <= _WIDEST_TAIL for tail in stored.tails):
        raise msgspec.ValidationError("costs or tails that no windows leave")
    _finite("costs", stored.costs)
    for name in ("level", "windows", "scored", "inside", "score"):
        _finite(name, getattr(stored, name))
        if getattr(stored, name) < 0:
            raise msgspec.ValidationError(f"{name} below nothing")
    if stored.inside > stored.scored * (1 + 1e-9):
        raise msgspec.ValidationError("more windows inside than scored")
    return Track(
        level=stored.level,
        windows=stored.windows,
        residuals=residuals,
        ordered=tuple(array("d", sorted(part)) for part in residuals),
        costs=stored.costs,
        tails=stored.tails,
        scored=stored.scored,
        inside=stored.inside,
        score=stored.score,
    )


def _numbers(data: bytes) -> array[float]:
    numbers = array("d")
    numbers.frombytes(data)
    _finite("residuals", tuple(numbers))
    return numbers
