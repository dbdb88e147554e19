"""collectors/text.py: the kernel's formats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.values import UNLIMITED, CpuSet, Limit
from collectors import text as formats
from collectors.text import (
    Malformed,
    convert,
    cpu_columns,
    cpu_list,
    cpu_mask,
    cpu_number,
    decimal,
    flag,
    flat_keyed,
    hexadecimal,
    integer,
    kibibytes,
    limit,
    nested_keyed,
    newline_separated,
    node_number,
    number_lines,
    numbers,
    phrase,
    printable,
    process_stat,
    size_bytes,
    space_separated,
    unsigned,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (integer, "0\n", 0),
        (integer, " 42 ", 42),
        (integer, "-1\n", -1),
        (integer, "9223372036854775807", (1 << 63) - 1),
        (integer, "-9223372036854775807", 1 - (1 << 63)),
        (unsigned, "0\n", 0),
        (unsigned, "9223372036854775807", (1 << 63) - 1),
        (kibibytes, "24684096", 24684096 << 10),
        (flat_keyed, "limit 9223372036854775807\n", {"limit": (1 << 63) - 1}),
        (hexadecimal, "0x00000000410fd0c0\n", 0x410FD0C0),
        (hexadecimal, "ff", 255),
        (cpu_number, "16383", 16383),
        (decimal, "0.25", 0.25),
        (limit, "max\n", UNLIMITED),
        (limit, "9223372036854771712", Limit(9223372036854771712)),
        (limit, "9223372036854775807", Limit((1 << 63) - 1024)),
        (cpu_list, "0-1,4\n", CpuSet((0, 1, 4))),
        (cpu_list, "", CpuSet()),
        (cpu_mask, "00000001,00000003\n", CpuSet((0, 1, 32))),
        (size_bytes, "32K\n", 32 << 10),
        (size_bytes, "8192 kB", 8 << 20),
        (size_bytes, "  7 KiB", 7 << 10),
        (size_bytes, "1M", 1 << 20),
        (size_bytes, "2G", 2 << 30),
        (size_bytes, "1T", 1 << 40),
        (size_bytes, "512", 512),
        (newline_separated, "", []),
        (newline_separated, "a\n", ["a"]),
        (newline_separated, "a\nb", ["a", "b"]),
        (newline_separated, "\n\n", ["", ""]),
        # Only "\n" ends a line: a name in it may hold what str.splitlines() takes for an end.
        (newline_separated, "a\x0bb\x85c\u2028d\n", ["a\x0bb\x85c\u2028d"]),
        (space_separated, " 1  2\t3\n", ["1", "2", "3"]),
        (flat_keyed, "", {}),
        (flat_keyed, "\n", {}),
        (flat_keyed, "low 0\n\nhigh 0\n", {"low": 0, "high": 0}),
        (flat_keyed, "nr_periods 3\nthrottled_usec 0\n", {"nr_periods": 3, "throttled_usec": 0}),
        (flat_keyed, "oom_kill_disable 0", {"oom_kill_disable": 0}),
        (nested_keyed, "some avg10=0.00 total=12\n", {"some": {"avg10": "0.00", "total": "12"}}),
        (nested_keyed, "8:0 rbps=max wbps=1=2\n", {"8:0": {"rbps": "max", "wbps": "1=2"}}),
    ],
)
def test_formats(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (integer, ""),
        (integer, "-"),
        (integer, "--1"),
        (integer, "+1"),
        (integer, "1_000"),
        (integer, "1 2"),
        (integer, "٣"),
        (integer, "²"),
        (integer, "1.0"),
        (integer, "0x10"),
        (integer, "9" * 5000),
        # 2^63 and more: a counter that ran below 0, or was read while it was written.
        (integer, "9223372036854775808"),
        (integer, "-9223372036854775808"),
        (unsigned, "18446744073709551615"),
        (unsigned, "-1"),
        (unsigned, "-0x1"),
        (kibibytes, "18446744073708785356"),
        (kibibytes, "9007199254740992"),
        (hexadecimal, "0x8000000000000000"),
        (limit, "-1"),
        (limit, "9223372036854775808"),
        (size_bytes, "999999999999999T"),
        (flat_keyed, "a 18446744073709551000\n"),
        (flat_keyed, "a -5\n"),
        (cpu_number, "16384"),
        (cpu_number, "-1"),
        (decimal, "nan"),
        (decimal, "inf"),
        (decimal, "1e999"),
        (decimal, ""),
        (hexadecimal, "0xg"),
        (hexadecimal, ""),
        (limit, "maximum"),
        (limit, ""),
        (cpu_list, "0-4294967295"),
        (cpu_mask, "xyz"),
        (size_bytes, "K"),
        (size_bytes, "1.5K"),
        (size_bytes, "-1K"),
        (size_bytes, "1 PB"),
        (size_bytes, "9" * 16),
        (flat_keyed, "a b\n"),
        (flat_keyed, "a\n"),
        (flat_keyed, "a 1_0\n"),
        (flat_keyed, f"a {'9' * 4000}\n"),
        (flat_keyed, f"a {'9' * 5000}\n"),
        (nested_keyed, "some total\n"),
        (nested_keyed, "some  total=1\n"),
    ],
)
def test_bad_texts(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("parse", [flat_keyed, nested_keyed])
def test_the_line_is_named(parse: Callable[[str], object]) -> None:
    with pytest.raises(Malformed) as caught:
        parse("ok 1\nbad x\n" if parse is flat_keyed else "ok a=1\nbad x\n")
    assert caught.value.line == 2
    assert "bad x" in caught.value.detail


def test_a_malformed_says_where() -> None:
    assert str(Malformed("what")) == "text: what"
    assert str(Malformed("what", 3, "proc/stat")) == "proc/stat:3: what"
    assert str(Malformed("what", path="proc/stat")) == "proc/stat: what"


def test_convert_shows_what_it_got() -> None:
    assert convert(float, "1.5") == 1.5
    with pytest.raises(Malformed, match=r"expected float, got 'x+'$") as caught:
        convert(float, "x" * 500, 7)
    assert caught.value.line == 7


@pytest.mark.parametrize(
    ("text", "shown"), [("a", "a"), ("é", "é"), ("\udcff", "\\xff"), ("\ud800", "\\ud800"), ("é\udcff\ud800", "é\\udcff\\ud800")]
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("words", "values"), [([], ()), (["0"], (0,)), (["9223372036854775807", "1"], ((1 << 63) - 1, 1))])
def test_counters(words: list[str], values: tuple[int, ...]) -> None:
    assert numbers(words) == values


@pytest.mark.parametrize("words", [["-1"], ["1", "x"], ["1", ""], ["1_0"], ["٣"], ["9" * 21], ["1", "9" * 5000], [""], ["1.5"]])
def test_no_counters(words: list[str]) -> None:
    with pytest.raises(Malformed, match="expected numbers") as caught:
        numbers(words, 3)
    assert caught.value.line == 3


@given(st.binary())
def test_printable_text_can_be_encoded(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    printable(text).encode()
    with suppress(UnicodeDecodeError):
        assert printable(text) == name.decode()


PARSERS: list[Callable[[str], object]] = [
    cpu_columns,
    process_stat,
    integer,
    unsigned,
    kibibytes,
    cpu_number,
    node_number,
    decimal,
    hexadecimal,
    limit,
    cpu_list,
    cpu_mask,
    size_bytes,
    newline_separated,
    space_separated,
    flag,
    flat_keyed,
    nested_keyed,
    number_lines,
    phrase,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.one_of(st.text(), st.text("0123456789abcdef-,:/= \nKMxN", max_size=60), st.text("9", min_size=4200, max_size=4400)))
def test_any_text_is_read_or_malformed(parse: Callable[[str], object], text: str) -> None:
    with suppress(Malformed):
        parse(text)


# Exceptions and records, and what is made of more or less than a text.
OTHERS = {*("Malformed", "MalformedLines", "ProcessStat", "bounded", "convert", "nonzero", "numbers", "printable", "within")}


def test_every_format_is_fuzzed() -> None:
    public = {name for name, value in vars(formats).items() if callable(value) and getattr(value, "__module__", "") == formats.__name__}
    assert public - {parse.__name__ for parse in PARSERS} == OTHERS
