from __future__ import annotations

import pytest

from agent.model.values import CpuSet, safe
from exporters.views.words import FIRM, cpus, digits, frequency, guessed, ordered, sets, size, words


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        *((None, None), (0, "0 B"), (512, "512 B"), (32 << 10, "32 KiB"), (1280 << 10, "1.25 MiB")),
        *((1023 << 20, "1023 MiB"), (126 << 30, "126 GiB"), (5 << 60, "5120 PiB"), (7073910784, "6.59 GiB")),
    ],
)
def test_size(size_bytes: int | None, shown: str | None) -> None:
    assert size(size_bytes) == shown


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        *(([], ""), ([3], "3"), ([0, 1, 2, 3, 8], "0-3,8"), ([0, 2], "0,2")),
        *((range(0, 96, 4), "0,4,...,92"), ([0, 1, 16, 17, 32, 33, 48, 49, 64, 65], "0-1,16-17,...,64-65")),
        # The order is the map's, not the numbers'.
        *(([4, 5, 0, 1], "4-5,0-1"), ([0, 2, 4, 6, 9], "0,2,4,6,9")),
    ],
)
def test_ordered(numbers: list[int], shown: str) -> None:
    assert ordered(numbers) == shown


def test_cpus_are_counted() -> None:
    assert [cpus(CpuSet(numbers)) for numbers in ((), (7,), (0, 1))] == ["no CPUs", "CPU 7", "CPUs 0-1"]


def test_long_rows_of_sets_are_cut() -> None:
    assert sets(CpuSet((cpu,)) for cpu in range(3)) == "0 | 1 | 2"
    assert sets(CpuSet((cpu,)) for cpu in range(40)) == "0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | ... | 39"


def test_frequency() -> None:
    assert [frequency(hertz) for hertz in (None, 800_000_000, 3_700_000_000)] == [None, "800 MHz", "3.7 GHz"]


def test_only_a_guess_is_marked() -> None:
    assert [guessed("DRAM", origin) for origin in (None, "measured", "inferred")] == ["DRAM", "DRAM", "DRAM~"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *(("web", "web"), ("鲸 🐳", "鲸 🐳"), ("[red]x[/]", "[red]x[/]"), ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb\r\x07", r"a\nb\r\x07")),
        *(("\u202egnp.exe", r"\u202egnp.exe"), ("\x9b31m", r"\x9b31m"), ("\ue000", r"\ue000"), ("\udcff", r"\udcff"), ("\x00", r"\x00")),
    ],
)
def test_names_are_shown_and_not_obeyed(name: str, shown: str) -> None:
    assert safe(name) == shown
    assert words(name).plain.replace(FIRM, " ") == shown
    assert not words(name).spans or {str(span.style) for span in words(name).spans} == {""}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (12.345, "12.3"),
        (999.4, "999"),
        (999.6, "1000"),
        (4000.0, "4000"),
        (1.5e9, "1500000000"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (1e-9, "0"),
        (-1e-9, "0"),
        (-0.25, "-0.25"),
        (-0.00002, "-0.00002"),
    ],
)
def test_digits_have_no_exponent(value: float, text: str) -> None:
    assert digits(value) == text
