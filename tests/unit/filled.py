"""A document whose every field is filled, each with a value of its own: whoever swaps two fields, or drops one, shows another text.

Values follow from the path of their field, so that a new field changes no other. Of a choice of words each is taken in turn: there are as
many elements of a list as it takes.
"""

from __future__ import annotations

import operator
import zlib
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec.structs import replace

from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet, Fact, Limit

T = TypeVar("T")
F = TypeVar("F", bound=Fact)

# Positions in other lists, sets of which one holds the other, words that the type does not name: each in turn.
FIXED: dict[str, dict[str, tuple[Any, ...]]] = {
    "Snapshot": {"schema": ("stratascope/1",), "taken_at": (datetime(2026, 1, 2, tzinfo=UTC),)},
    "Cpus": {"online": (CpuSet((0, 1)),), "present": (CpuSet((0, 1, 2)),), "isolated": (CpuSet((1,)),)},
    "Core": {"package": (1, 0), "cpus": (CpuSet((0,)), CpuSet((1,)))},
    "CpuGroup": {"cpus": (CpuSet((1,)), CpuSet((0,)))},
    "Node": {"cpus": (CpuSet((0,)), CpuSet((1,)))},
    "Workload": {"processes": (1,)},
    "Param": {"unit": ("ratio", "seconds")},
}
# A sample: old enough for all that is counted in it, and on four CPUs and nodes, which have their numbers in turn.
SAMPLE = "sample"
FIXED_IN_A_SAMPLE: dict[str, dict[str, tuple[Any, ...]]] = {
    "Kernel": {"uptime_seconds": (1e9,)},
    "SysfsCpus": {"numbers": (CpuSet(range(4)),), "online": (CpuSet(range(4)),), "present": (CpuSet(range(8)),)},
}
NUMBERS_IN_A_SAMPLE = {"cpu", "last_cpu", "node", "os_index"}
# The kernel's own names, of which only those that are known are read.
KVM = (
    *("exits", "io_exits", "halt_exits", "halt_poll_success_ns", "halt_poll_fail_ns", "halt_wait_ns"),
    *("directed_yield_attempted", "directed_yield_successful", "pages_4k", "pages_2m", "pages_1g"),
)
RECLAIMERS = ("kswapd", "direct", "khugepaged", "proactive")
KEYS = {
    "kvm": KVM,
    "meminfo_bytes": ("MemTotal", "MemFree", "MemAvailable", "Cached", "SwapTotal", "SwapFree", "HugePages_Total", "Committed_AS"),
    "vmstat": (
        *("pgfault", "pgmajfault", "pswpin", "pswpout", "oom_kill", "compact_stall", "compact_fail", "compact_success"),
        *(f"pg{what}_{who}" for what in ("scan", "steal") for who in RECLAIMERS),
        *("numa_pte_updates", "numa_hint_faults", "numa_hint_faults_local", "numa_pages_migrated"),
        *("thp_fault_alloc", "thp_fault_fallback", "thp_collapse_alloc", "thp_split_page"),
    ),
}


def document() -> Snapshot:
    return filled(Snapshot)


def records(kind: Any, around: frozenset[Any] = frozenset()) -> set[type[Fact]]:
    """All kinds of records that a document is made of."""
    if not _is_record(kind):
        return set().union(*(records(argument, around) for argument in get_args(kind)))
    if kind in around:
        return set()
    return {kind}.union(*(records(hint, around | {kind}) for hint in get_type_hints(kind).values()))


def optional_fields() -> list[tuple[type[Fact], str]]:
    """Every field of a document that may be None, with its kind of record."""
    kinds = sorted(records(Snapshot), key=lambda kind: kind.__name__)
    return [(kind, name) for kind in kinds for name, hint in get_type_hints(kind).items() if NoneType in get_args(hint)]


def without(part: T, kind: type[Fact], name: str) -> T:
    """A part of a document in which this field of all records of this kind is None."""
    values: Any
    if isinstance(part, dict):
        values = {key: without(value, kind, name) for key, value in part.items()}
        return part if all(values[key] is part[key] for key in part) else values
    if isinstance(part, tuple) and not hasattr(part, "_fields"):
        values = tuple(without(value, kind, name) for value in part)
        return part if all(map(operator.is_, values, part)) else values
    if not isinstance(part, Fact) or kind not in _inside(type(part)):
        return part
    fields = {field: without(getattr(part, field), kind, name) for field in part.__struct_fields__}
    values = {field: value for field, value in fields.items() if value is not getattr(part, field)}
    if isinstance(part, kind):
        values[name] = None
    return replace(part, **values) if values else part


@cache
def _inside(kind: type[Fact]) -> set[type[Fact]]:
    return records(kind)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Fact)


def filled(kind: type[F], path: str = "", turn: int = 0, around: frozenset[Any] = frozenset()) -> F:
    """`around`: the kinds of records that this one is in. Of these there is none in it: parts of parts end."""
    hints, fixed = get_type_hints(kind), (FIXED_IN_A_SAMPLE if path.startswith(SAMPLE) else FIXED).get(kind.__name__, {})
    return kind(
        **{
            name: fixed[name][turn % len(fixed[name])] if name in fixed else _value(hints[name], f"{path}.{name}", turn, around | {kind})
            for name in kind.__struct_fields__
        }
    )


def _value(kind: Any, path: str, turn: int, around: frozenset[Any]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _value(next(argument for argument in arguments if argument is not NoneType), path, turn, around)
    if origin is Literal:
        return arguments[turn % len(arguments)]
    if origin is tuple and arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], f"{path}[{at}]", at, around) for at in range(_turns(arguments[0], around)))
    if origin is tuple:
        return tuple(_value(argument, f"{path}[{at}]", at, around) for at, argument in enumerate(arguments))
    if origin is dict:
        keys = KEYS.get(path.rpartition(".")[2]) or [_value(arguments[0], f"{path}.key{at}", at, around) for at in range(2)]
        return {key: _value(arguments[1], f"{path}[{key}]", at, around) for at, key in enumerate(keys)}
    if _is_record(kind):
        return filled(kind, path, turn, around)
    if hasattr(kind, "_fields"):
        return kind(*(_value(hint, f"{path}.{name}", turn, around) for name, hint in get_type_hints(kind).items()))
    return _plain(kind, path, turn)


def _turns(kind: Any, around: frozenset[Any]) -> int:
    """As many elements as the widest choice of words in them has words."""
    if kind in around:
        return 0
    if not _is_record(kind):
        return 2
    choices = [get_args(hint) if get_origin(hint) is Literal else () for hint in _flat(kind)]
    return max(2, *(len(words) for words in choices))


def _flat(kind: type[Fact]) -> list[Any]:
    hints = get_type_hints(kind).values()
    return [part for hint in hints for part in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))]


def _plain(kind: Any, path: str, turn: int) -> Any:
    number = zlib.crc32(path.encode())
    match kind:
        case _ if kind is bool:
            return turn % 2 == 0
        case _ if kind is int and path.startswith(SAMPLE) and (".key" in path or path.rpartition(".")[2] in NUMBERS_IN_A_SAMPLE):
            return turn % 4
        case _ if kind is int:
            return number % 10_000_000
        case _ if kind is float:
            return number % 10_000_000 / 8
        case _ if kind is Limit:
            return Limit(number % 10_000_000)
        case _ if kind is CpuSet:
            return CpuSet((turn % 4, number % 4) if path.startswith(SAMPLE) else (number % 4096, number % 4095 + 1))
        case _ if kind is datetime:
            return datetime.fromtimestamp(1_700_000_000 + number % 100_000, UTC)
        case _ if kind is str:
            return f"{path.rpartition('.')[2]} {number % 100_000}"
    raise TypeError(f"{path}: no value is made for {kind}; add one to _plain()")
