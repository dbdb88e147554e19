"""/proc/PID/smaps and smaps_rollup: what each mapping of a process has in memory, and the sum over all of them."""

from __future__ import annotations

from agent.model.values import MAX_ADDRESS_SPACE, Fact
from collectors.text import Malformed, kibibytes, newline_separated, within


class Usage(Fact, frozen=True, kw_only=True):
    """Bytes of one mapping, or of a whole process; None where the kernel does not say. `rss` leaves explicit huge pages (hugetlb) out."""

    rss: int = 0
    anon_huge_pages: int | None = None
    shmem_pmd_mapped: int | None = None
    file_pmd_mapped: int | None = None
    shared_hugetlb: int | None = None
    private_hugetlb: int | None = None
    swap: int | None = None
    ksm: int | None = None


class Mapping(Fact, frozen=True):
    """The addresses [start, end) with what is in memory of them; `perms` as in maps."""

    start: int
    end: int
    perms: str
    usage: Usage


_FIELDS = {
    "Rss": "rss",
    "AnonHugePages": "anon_huge_pages",
    "ShmemPmdMapped": "shmem_pmd_mapped",
    "FilePmdMapped": "file_pmd_mapped",
    "Shared_Hugetlb": "shared_hugetlb",
    "Private_Hugetlb": "private_hugetlb",
    "Swap": "swap",
    "KSM": "ksm",
}
_HEXADECIMAL = frozenset("0123456789abcdef")


def parse_smaps(text: str) -> list[Mapping]:
    """A line as in maps for each mapping, and below it "Rss:  12 kB" and more of the kind; other keys are skipped."""
    heads: list[tuple[int, int, str]] = []
    sizes: list[dict[str, int]] = []
    for number, line in enumerate(newline_separated(text), 1):
        key, colon, value = line.partition(":")
        try:
            if key in _FIELDS:
                sizes[-1][_FIELDS[key]] = within(0, MAX_ADDRESS_SPACE, kibibytes(value.removesuffix(" kB")))
            elif line[:1] in _HEXADECIMAL:
                addresses, _, rest = line.partition(" ")
                start, _, end = addresses.partition("-")
                heads.append((int(start[:20], 16), int(end[:20], 16), rest.partition(" ")[0]))
                sizes.append({})
            elif not colon:
                raise ValueError
        except (ValueError, IndexError, Malformed):
            raise Malformed(f"expected a mapping or 'key: number kB', got {line[:60]!r}", number) from None
    return [Mapping(*head, Usage(**fields)) for head, fields in zip(heads, sizes, strict=True)]


def parse_smaps_rollup(text: str) -> Usage | None:
    """The whole process as one mapping. None of a process without an address space, of which the file is empty."""
    return next((mapping.usage for mapping in parse_smaps(text)), None)
