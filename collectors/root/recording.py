"""Recordings: trees of files that `agent record` made, with a mark beside them that says what cannot be copied into a tree."""

from __future__ import annotations

import errno
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from agent.model.values import decode_value
from collectors.root.files import Tree
from collectors.root.reasons import Refusal, Unavailable, reason_of
from collectors.text import Malformed, printable

T = TypeVar("T")

MARK = "stratascope-recording.json"
LATER = "later"
"""The directory of a second pass, a recording of its own."""

FORMAT = 2
"""The newest format of recordings. 1: no `format`, no `read_times`."""

_YEAR_10000 = 253402300800


class Mark(msgspec.Struct, kw_only=True):
    """What a recording says of itself. Keys are printable paths.

    `taken_at` is in Unix seconds; `by_root`: whether root made it; `read_times` are seconds of one unnamed clock, by what `SysRoot.date`
    was called with.
    """

    format: int = 1
    taken_at: float
    version: str
    page_bytes: int
    by_root: bool = False
    read_times: dict[str, float] = {}
    inodes: dict[str, int] = {}
    links: dict[str, str] = {}
    refusals: dict[str, Refusal] = {}


class _Header(msgspec.Struct, frozen=True):
    """The part of a mark that every format has."""

    format: int = 1
    version: str = ""


def read_mark(tree: Tree, path: str) -> Mark | None:
    """The mark of the recording at `path`, None where it is none.

    `Unavailable` where there is a mark that cannot be read, is damaged, or is of a newer format: its tree must not be taken for a live one.
    """
    try:
        data = tree.read(MARK)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        reason, detail = reason_of(error)
        raise Unavailable(reason, f"{path}/{MARK}: {detail}") from None
    return _decode_mark(data, f"{path}/{MARK}")


def _decode_mark(data: bytes, path: str) -> Mark:
    """A mark's JSON; `path` is where it was read, for errors."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.format > FORMAT:
            raise Unavailable(
                "unsupported",
                f"{path}: a recording of format {header.format}, and this agent reads formats up to {FORMAT}",
                f"read it with the agent that made it: version {header.version or 'not stated'}",
            )
        mark = msgspec.json.decode(data, type=Mark)
        if mark.format < 1:
            raise ValueError(f"format: there is no format {mark.format}")
        if not 0 <= mark.taken_at < _YEAR_10000:
            raise ValueError(f"taken_at: {mark.taken_at} is no time")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unavailable("failed", f"{path}: {error}", "record again with agent record") from None
    return mark


def recorded_refusals(mark: Mark | None, error: OSError) -> dict[str, Refusal]:
    """What the recorded host refused, by path: it stands for what is absent from the recording."""
    return mark.refusals if mark is not None and error.errno == errno.ENOENT else {}


def recorded_links(mark: Mark, path: str) -> set[str]:
    """The names of the links in a directory. What was read through a link is a directory of the recording."""
    return {name for directory, _, name in (link.rpartition("/") for link in mark.links) if directory == printable(path)}


def recorded_reply(tree: Tree, mark: Mark, name: str, kind: type[T]) -> tuple[T, list[Malformed]]:
    """The stored answer to a question, and what is left out of it: records in it that cannot be understood.

    `Unavailable` as it was recorded, or where it was not asked.
    """
    path = f"replies/{name}.json"
    try:
        answer = tree.read(path)
    except OSError as error:
        if (refusal := recorded_refusals(mark, error).get(path)) is not None:
            raise Unavailable(refusal.reason, refusal.detail, refusal.remedy) from None
        detail = f"{path}: {reason_of(error)[1]}"
        raise Unavailable("unsupported", detail, "this recording was made without it: record again") from None
    # Not `decode`: a backslash that it puts for a bad byte would not be JSON.
    text = answer.decode("utf-8", "replace")
    try:
        if mark.format < 2 and name == "processes":
            text = _with_named_stat(text)
        try:
            return msgspec.json.decode(text, type=kind, dec_hook=decode_value), []
        except msgspec.ValidationError:
            malformed: list[Malformed] = []
            understood = _understood(msgspec.json.decode(text), kind, malformed)
            return _converted(understood, kind), malformed
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(str(error), path=path) from None


def _converted(value: Any, kind: type[T]) -> T:
    return msgspec.convert(value, kind, dec_hook=decode_value, str_keys=True)


_IDENTITIES = frozenset(("id", "pid", "uuid"))


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _understood(value: Any, kind: Any, malformed: list[Malformed]) -> Any:
    """A stored answer without those records in its lists that are none of their kind: each is a domain, a container or a process."""
    if get_origin(kind) is tuple and isinstance(value, list) and _is_record(record := get_args(kind)[0]):
        records = []
        for place, entry in enumerate(value):
            try:
                _converted(part := _understood(entry, record, malformed), record)
            except (msgspec.MsgspecError, ValueError) as error:
                malformed.append(Malformed(f"{record.__name__} {place}: {error}"))
            else:
                records.append(part)
        return records
    # What is about one thing is lost with any part of it: a machine with a vCPU less would be another one.
    if _is_record(kind) and isinstance(value, dict) and _IDENTITIES.isdisjoint(kind.__struct_fields__):
        types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        return {name: _understood(part, types.get(name), malformed) for name, part in value.items()}
    return value


_STAT = ("name", "state", "parent_pid", "threads", "start_ticks", "last_cpu")


def _with_named_stat(text: str) -> str:
    """The table of processes, in whose `stat` format 1 has the values without their names."""
    rows = msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    for row in rows:
        if "stat" in row and bytes(row["stat"]).startswith(b"["):
            values = msgspec.json.decode(row["stat"], type=list[msgspec.Raw])
            row["stat"] = msgspec.Raw(msgspec.json.encode(dict(zip(_STAT, values, strict=False))))
    return msgspec.json.encode(rows).decode()
