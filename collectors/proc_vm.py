"""Memory of the host as the kernel manages it: /proc/{meminfo,zoneinfo,buddyinfo,vmstat}.

Source: Documentation/filesystems/proc.rst, sections 1.3 (kernel data) and mm/vmstat.c.
"""

from __future__ import annotations

from agent.model.facts.proc_vm import Zone
from agent.model.values import Fact
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, flat_keyed, kibibytes, newline_separated, numbers, unsigned


class ZoneSpan(Fact, frozen=True):
    """A zone, and the page frames that it spans from `start_page` on, holes included."""

    zone: Zone
    start_page: int | None = None
    spanned_pages: int | None = None


class Buddy(Fact, frozen=True):
    """Free blocks of one zone by order: `blocks[k]` blocks of 2^k pages."""

    node: int
    zone: str
    blocks: tuple[int, ...]


class ProcMemory(Fact, frozen=True, kw_only=True):
    """`vmstat` as the kernel counts."""

    meminfo_bytes: dict[str, int]
    zones: tuple[ZoneSpan, ...] = ()
    buddies: tuple[Buddy, ...] = ()
    vmstat: dict[str, int] = {}
    page_bytes: int | None = None


def read(root: SysRoot) -> ProcMemory:
    return ProcMemory(
        meminfo_bytes=root.require_parsed("proc/meminfo", parse_meminfo),
        zones=root.parse("proc/zoneinfo", parse_zoneinfo) or (),
        buddies=root.parse("proc/buddyinfo", parse_buddyinfo) or (),
        vmstat=root.parse("proc/vmstat", flat_keyed) or {},
        page_bytes=root.page_bytes,
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """ "MemTotal:  24684096 kB" -> bytes. Lines without a unit count huge pages, which have a reader of their own."""
    values = {}
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        name, _, rest = line.partition(":")
        words = rest.split()
        try:
            size = kibibytes(words[0]) if words[-1] == "kB" else unsigned(words[0])
        except (IndexError, Malformed):
            malformed.add(number, line, "'Name: value kB'")
            continue
        if words[-1] == "kB":
            values[name] = size
    return malformed.checked(values)


def parse_zoneinfo(text: str) -> tuple[ZoneSpan, ...]:
    """ "Node 0, zone   Normal" heads a block; the fields that matter are "name value" lines in it."""
    zones: list[ZoneSpan] = []
    head: tuple[int, str] | None = None
    values: dict[str, int] = {}
    malformed = MalformedLines()

    def close() -> None:
        if head is not None:
            zone = Zone(
                node=head[0],
                name=head[1],
                free_pages=values.get("free"),
                min_pages=values.get("min"),
                low_pages=values.get("low"),
                high_pages=values.get("high"),
                present_pages=values.get("present"),
                managed_pages=values.get("managed"),
            )
            zones.append(ZoneSpan(zone, values.get("start_pfn:"), values.get("spanned")))

    for number, line in enumerate(newline_separated(text), 1):
        words = line.split()
        try:
            if words[:1] == ["Node"]:
                close()
                # What stands below a malformed one is of no zone that is known.
                head = None
                _, node, _, name = words
                head, values = (unsigned(node.removesuffix(",")), name), {}
            elif words[:2] == ["pages", "free"] and len(words) == 3:
                values["free"] = unsigned(words[2])
            elif len(words) == 2 and words[1].isdecimal():
                # "high:" and "count:" of the per-CPU lists further down end in a colon; the first of a name is the zone's.
                values.setdefault(words[0], unsigned(words[1]))
        except (ValueError, Malformed):
            malformed.add(number, line, "'Node N, zone NAME' or 'name number'")
    close()
    return malformed.checked(tuple(zones))


def parse_buddyinfo(text: str) -> tuple[Buddy, ...]:
    """ "Node 0, zone   Normal   1  2 ..."."""
    zones = []
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        words = line.split()
        try:
            if len(words) < 5 or words[0] != "Node" or words[2] != "zone":
                raise Malformed("no zone")
            zones.append(Buddy(unsigned(words[1].removesuffix(",")), words[3], numbers(words[4:])))
        except Malformed:
            malformed.add(number, line, "'Node N, zone NAME counts'")
    return malformed.checked(tuple(zones))
