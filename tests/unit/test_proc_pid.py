"""collectors/proc_pid: maps, numa_maps, smaps, smaps_rollup and status as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.values import CpuSet
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.proc_pid.numa_maps import parse_numa_maps
from collectors.proc_pid.smaps import Mapping, Usage, parse_smaps, parse_smaps_rollup
from collectors.proc_pid.status import status_parser
from collectors.text import Malformed

hexadecimal = st.text("0123456789abcdef-", max_size=20)
line = st.builds(
    " ".join, st.lists(st.one_of(hexadecimal, st.sampled_from(["rw-p", "N0=3", "N1=x", "kernelpagesize_kB=4", "Rss:", "kB"]), st.text()))
)


@pytest.mark.parametrize("parser", [parse_maps, parse_numa_maps, parse_smaps, status_parser("Rss")])
@given(text=st.one_of(st.text(), st.lists(line).map("\n".join)))
def test_any_text_is_read_or_malformed(parser: object, text: str) -> None:
    assert callable(parser)
    with suppress(Malformed):
        parser(text)


@pytest.mark.parametrize(
    ("text", "vma"),
    [
        ("7f00-8f00 rw-p 00000000 00:00 0 \n", Vma(0x7F00, 0x8F00, "rw-p", "")),
        ("7f00-8f00 r-xp 00001000 fe:01 12                    /a b/c (deleted)\n", Vma(0x7F00, 0x8F00, "r-xp", "/a b/c (deleted)")),
        (
            "7f00-8f00 r--p 00001000 fe:01 12      /x\\0127f-8f ---p\x0b\x85\u2028\n",
            Vma(0x7F00, 0x8F00, "r--p", "/x\\0127f-8f ---p\x0b\x85\u2028"),
        ),
        (
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]",
            Vma(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, "--xp", "[vsyscall]"),
        ),
    ],
)
def test_a_line_of_maps(text: str, vma: Vma) -> None:
    assert parse_maps(text) == [vma]


@pytest.mark.parametrize("text", ["\n", "x\n", "1-2\n", "2-1 rw-p 0 0 0\n", "1-1 rw-p\n", "1-z rw-p\n", f"0-1{'0' * 20} rw-p\n"])
def test_a_bad_line_of_maps(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_maps("1000-2000 rw-p 0 0 0\n" + text)
    assert caught.value.line == 2


def test_numa_maps() -> None:
    text = (
        "7f00 default anon=3 dirty=3 active=0 N0=2 N1=1 kernelpagesize_kB=4\n"
        "8f00 default\n"
        "9f00 prefer (many):0-1 file=/memfd:N0\\0759\\040(deleted) huge dirty=1 N3=1 kernelpagesize_kB=2048\n"
    )
    assert parse_numa_maps(text) == {0x7F00: {0: 8 << 10, 1: 4 << 10}, 0x8F00: {}, 0x9F00: {3: 2 << 20}}
    for bad in (
        "z default\n",
        "7f00 default N0=x kernelpagesize_kB=4\n",
        "7f00 default N0=1\n",
        "2000 default N99999=1 kernelpagesize_kB=4\n",
    ):
        with pytest.raises(Malformed):
            parse_numa_maps(bad)


def test_smaps() -> None:
    text = (
        "7f00-8f00 rw-p 00000000 00:00 0 \n"
        "Size: 4 kB\nRss:                   8 kB\nAnonHugePages:         2 kB\nSwap: 0 kB\nTHPeligible:    1\nVmFlags: rd wr mr \n"
        "8f00-9f00 rw-s 00000000 00:0f 7 /dev/hugepages/x: y\n"
        "Rss: 0 kB\nShared_Hugetlb: 2048 kB\nPrivate_Hugetlb: 4096 kB\nShmemPmdMapped: 1 kB\nFilePmdMapped: 3 kB\nKSM: 5 kB\n"
    )
    assert parse_smaps(text) == [
        Mapping(0x7F00, 0x8F00, "rw-p", Usage(rss=8 << 10, anon_huge_pages=2 << 10, swap=0)),
        Mapping(
            *(0x8F00, 0x9F00, "rw-s"),
            Usage(shared_hugetlb=2 << 20, private_hugetlb=4 << 20, shmem_pmd_mapped=1 << 10, file_pmd_mapped=3 << 10, ksm=5 << 10),
        ),
    ]


def test_smaps_rollup() -> None:
    usage = parse_smaps_rollup("00-ff ---p [rollup]\nRss: 8 kB\nAnonHugePages:   2048 kB\n")
    assert usage == Usage(rss=8 << 10, anon_huge_pages=2 << 20)
    assert parse_smaps_rollup("00-ff ---p [rollup]\nRss: 8 kB\n") == Usage(rss=8 << 10)
    assert parse_smaps_rollup("") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Rss: 1 kB\n", 1),
        ("x\n", 1),
        ("1000-\n", 1),
        ("1000-2000 r\nRss: x\n", 2),
        ("1000-2000 r\nAnonHugePages:\n", 2),
        ("AnonHugePages: x kB\n", 1),
        ("1000-2000 r\n\n", 2),
    ],
)
def test_a_bad_line_of_smaps(text: str, line: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse_smaps(text)
    assert caught.value.line == line


def test_status() -> None:
    parse = status_parser("NSpid", "VmSize", "VmRSS", "Threads", "Cpus_allowed_list")
    status = parse("Name:\tVmRSS:\\nVmRSS: 1\nNSpid:\t9\t1\nodd\nVmRSS:\t 8 kB\nVmSize:\t9 kB\nCpus_allowed_list:\t0-1\nThreads:\tx")
    assert status.fields == {"NSpid": "9\t1", "VmRSS": "8 kB", "VmSize": "9 kB", "Threads": "x", "Cpus_allowed_list": "0-1"}
    assert (status.size_bytes("VmRSS"), status.cpus("Cpus_allowed_list"), status.size_bytes("VmSwap")) == (8 << 10, CpuSet((0, 1)), None)
    assert status.checked(3) == 3
    assert (status.number("Threads"), status.size_bytes("NSpid")) == (None, None)
    with pytest.raises(Malformed) as caught:
        status.checked(3)
    assert (caught.value.line, caught.value.rest, caught.value.more) == (7, 3, 1)
