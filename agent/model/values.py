"""The values every record is made of: CPU sets, limits that may be unlimited, and the words for what is missing.

Records are frozen `msgspec.Struct`s and not dataclasses: with a hundred of them, a dataclass costs some forty times as
much to make at import and six times as much to fill (`make bench` prints both), and JSON and schema come with a Struct.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct

T = TypeVar("T")
Number = TypeVar("Number", int, float)

Origin = Literal["measured", "configured", "inferred", "synthesised"]
"""Where a value that the kernel does not state itself comes from."""

Reason = Literal["absent", "denied", "unsupported", "late", "failed"]

Detail = Literal["metrics", "document"]
"""How much of a source a pass reads: what metrics show, or all that a document does."""

ReadTimes = dict[str | int, float]
"""When counters were read (time.monotonic, seconds): by the path of their group, by the pid of their process, or by the file.

A pass that has to import, or to wait, comes to its files at other times than the next one does.
"""

UPTIME = "proc/uptime"
STAT = "proc/stat"

USER_HZ = 100
"""What the kernel counts times and starts of processes in for its readers: part of its interface, 100 on every architecture here."""

MAX_NUMBER = (1 << 63) - 1
"""The largest whole number in a document or a metric: JSON readers and the kernel's own signed counters hold no larger one."""

Count = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
"""What is no other number where it is decoded."""

MAX_ADDRESS_SPACE = 1 << 57
"""Bytes of the largest address space there is, of x86-64 with five levels of page tables: no process has more of anything."""

# NR_CPUS is at most 8192 on x86-64 and 4096 elsewhere, MAX_NUMNODES 1024: anything beyond twice that is a broken or hostile file,
# and as many sets as CPUs take as many bits as their square.
MAX_ID = 1 << 14
# Below so many bits, a set is walked from bit to bit.
_FEW = 8

_LIST = re.compile(r"[0-9]{1,9}(?:-[0-9]{1,9}(?::[0-9]{1,9}/[0-9]{1,9})?)?")
_MASK = re.compile(r"[0-9a-fA-F]*")
# As the kernel writes it: no group but the first is short.
_WHOLE_MASK = re.compile(r"[0-9a-fA-F]{1,8}(?:,[0-9a-fA-F]{8})*")


class Fact(Struct, frozen=True, omit_defaults=True):
    """A frozen record. A field that is None is left out of the JSON: absent."""


class CpuSet:
    """An immutable set of kernel CPU numbers (or NUMA node numbers), printed as the kernel's list format: "0-3,8"."""

    __slots__ = ("mask",)
    mask: int

    def __init__(self, cpus: Iterable[int] = ()) -> None:
        mask = 0
        for cpu in cpus:
            if not 0 <= cpu < MAX_ID:
                raise ValueError(f"CPU or node number {cpu} is outside 0-{MAX_ID - 1}")
            mask |= 1 << cpu
        object.__setattr__(self, "mask", mask)

    @classmethod
    def of_mask(cls, mask: int) -> CpuSet:
        new = cls.__new__(cls)
        object.__setattr__(new, "mask", mask)
        return new

    @classmethod
    def union(cls, sets: Iterable[CpuSet]) -> CpuSet:
        """What is in one of the sets."""
        mask = 0
        for cpus in sets:
            mask |= cpus.mask
        return cls.of_mask(mask)

    @classmethod
    def parse_list(cls, text: str) -> CpuSet:
        """`cpulist` of sysfs: "0-3,8", "0-31:4/8" (used/group), or "" for none (lib/bitmap-str.c, bitmap_parselist)."""
        mask = 0
        parts = text.strip().split(",", MAX_ID)
        if len(parts) > MAX_ID:
            raise ValueError(f"not a CPU list: {text[:80]!r}")
        for part in parts:
            part = part.strip()
            if not part:
                continue
            if not _LIST.fullmatch(part):
                raise ValueError(f"not a CPU list: {text[:80]!r}")
            span, _, stride = part.partition(":")
            first, _, last = span.partition("-")
            low, high = int(first), int(last or first)
            if high < low or high >= MAX_ID:
                raise ValueError(f"not a CPU list: {text[:80]!r}")
            length = high - low + 1
            pattern = (1 << length) - 1
            if stride:
                used, _, group = stride.partition("/")
                if int(group) == 0 or int(used) > int(group):
                    raise ValueError(f"not a CPU list: {text[:80]!r}")
                pattern &= _repeated(min(int(used), length), min(int(group), length), length)
            mask |= pattern << low
        return cls.of_mask(mask)

    @classmethod
    def parse_mask(cls, text: str) -> CpuSet:
        """`cpumap` of sysfs: comma-separated 32-bit hexadecimal groups, the most significant first; groups may be empty."""
        text = text.strip()
        if len(text) < MAX_ID // 3 and _WHOLE_MASK.fullmatch(text):
            return cls.of_mask(int(text.replace(",", ""), 16))
        groups = text.split(",", MAX_ID // 32)
        if len(groups) > MAX_ID // 32:
            raise ValueError(f"not a CPU mask: {text[:80]!r}")
        mask = 0
        for group in groups:
            if len(group) > (8 if len(groups) > 1 else MAX_ID // 4) or not _MASK.fullmatch(group):
                raise ValueError(f"not a CPU mask: {text[:80]!r}")
            mask = mask << 32 | int(group or "0", 16)
        return cls.of_mask(mask)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a CpuSet is immutable")

    def __iter__(self) -> Iterator[int]:
        mask = self.mask
        if mask.bit_count() <= _FEW:
            while mask:
                low = mask & -mask
                yield low.bit_length() - 1
                mask ^= low
            return
        # To take bit by bit off a long number copies it as often.
        digits = bin(mask)[:1:-1]
        at = digits.find("1")
        while at >= 0:
            yield at
            at = digits.find("1", at + 1)

    @property
    def first(self) -> int | None:
        """The lowest; none of an empty set."""
        return (self.mask & -self.mask).bit_length() - 1 if self.mask else None

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __bool__(self) -> bool:
        return self.mask != 0

    def __contains__(self, cpu: object) -> bool:
        return isinstance(cpu, int) and cpu >= 0 and bool(self.mask >> cpu & 1)

    def __and__(self, other: CpuSet) -> CpuSet:
        return CpuSet.of_mask(self.mask & other.mask)

    def __or__(self, other: CpuSet) -> CpuSet:
        return CpuSet.of_mask(self.mask | other.mask)

    def __sub__(self, other: CpuSet) -> CpuSet:
        return CpuSet.of_mask(self.mask & ~other.mask)

    def __le__(self, other: CpuSet) -> bool:
        return self.mask & ~other.mask == 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CpuSet) and self.mask == other.mask

    def __hash__(self) -> int:
        # Of an int alone, the powers of two have 61 different ones: hash() is modulo 2^61 - 1.
        return hash((self.mask.bit_length(), self.mask))

    def __str__(self) -> str:
        spans: list[str] = []
        mask, base = self.mask, 0
        while mask:
            skip = (mask & -mask).bit_length() - 1
            mask >>= skip
            base += skip
            run = (~mask & (mask + 1)).bit_length() - 1
            spans.append(str(base) if run == 1 else f"{base}-{base + run - 1}")
            mask >>= run
            base += run
        return ",".join(spans)

    def __repr__(self) -> str:
        return f"CpuSet({str(self)!r})"


def is_number(text: str) -> bool:
    """Whether a name's digits number a CPU or a node: "7", and neither "07" nor "4294967295"."""
    return len(text) < 6 and text.isascii() and text.isdecimal() and int(text) < MAX_ID and (text[0] != "0" or text == "0")


def _repeated(used: int, group: int, length: int) -> int:
    """The first `used` of every `group` bits, over at least `length` bits; by doubling, so that a hostile list costs little."""
    pattern, width = (1 << used) - 1, group
    while width < length:
        pattern |= pattern << width
        width *= 2
    return pattern


class Limit(float):
    """An upper bound that may be unlimited: infinity inside, the string "max" in JSON, a number otherwise."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Limit:
        """ "max" (cgroup v2), or a whole number. Source: Documentation/admin-guide/cgroup-v2.rst, "Conventions"."""
        text = text.strip()
        return cls(math.inf) if text == "max" else cls(int(text))

    @property
    def unlimited(self) -> bool:
        return self == math.inf


UNLIMITED = Limit(math.inf)


class Gap(Fact, frozen=True):
    """A source, or part of one, that had nothing to say: why, about what, and what would make it speak."""

    source: str
    reason: Reason
    detail: str
    remedy: str | None = None


def safe(name: str) -> str:
    """A name with all characters escaped that a terminal might act on or hide: control characters, directions of writing."""
    return name if name.isprintable() else "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)


def all_or_none(values: Iterable[T | None]) -> list[T] | None:
    """The values; None where one of them is not known, or there is none."""
    listed = list(values)
    present = [value for value in listed if value is not None]
    return present if present and len(present) == len(listed) else None


def number_or_none(value: int | None) -> int | None:
    """None for what no counter holds: below 0, or beyond `MAX_NUMBER`."""
    return value if value is not None and 0 <= value <= MAX_NUMBER else None


def sum_if_known(values: Iterable[Number | None]) -> Number | None:
    """None where one of them is not known, or there is none: a smaller sum would be a wrong one. None, too, beyond `MAX_NUMBER`."""
    present = all_or_none(values)
    if present is None:
        return None
    total = sum(present)
    return total if total <= MAX_NUMBER else None


def encode_value(value: object) -> object:
    """JSON for the values that msgspec does not know: its `enc_hook`.

    A type that this and the two below do not know either is a fault of ours, and NotImplementedError is msgspec's word for it: None would
    be written as `null`, and a TypeError while decoding would be taken for bad data.
    """
    match value:
        case CpuSet():
            return str(value)
        case Limit():
            if value.unlimited:
                return "max"
            return min(int(value), MAX_NUMBER) if value.is_integer() else float(value)
    raise NotImplementedError(type(value).__name__)


def decode_value(kind: type, value: Any) -> object:
    """Those values from JSON, for replayed answers: msgspec's `dec_hook`. A ValueError or TypeError becomes its ValidationError."""
    if kind is CpuSet:
        if not isinstance(value, str):
            raise ValueError(f"not a CPU list: {value!r:.80}")
        return CpuSet.parse_list(value)
    if kind is Limit:
        return Limit.parse(value) if isinstance(value, str) else Limit(value)
    raise NotImplementedError(kind.__name__)


def schema_value(kind: type) -> dict[str, object]:
    """JSON Schema of those values: msgspec's `schema_hook`."""
    if kind is CpuSet:
        return {
            "type": "string",
            "pattern": r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$",
            "description": "kernel list of CPU or node numbers",
        }
    if kind is Limit:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"const": "max"}], "description": 'a limit; "max" is unlimited'}
    raise NotImplementedError(kind.__name__)
