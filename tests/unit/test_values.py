"""agent/model/values.py: CPU sets and limits, as text and as JSON."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.values import MAX_ID, UNLIMITED, CpuSet, Fact, Limit, decode_value, encode_value, schema_value

numbers = st.sets(st.one_of(st.integers(0, 300), st.integers(0, MAX_ID - 1)), max_size=40)
cpu_sets = numbers.map(CpuSet)


@given(cpu_sets)
def test_a_list_is_read_as_it_is_printed(cpus: CpuSet) -> None:
    assert CpuSet.parse_list(str(cpus)) == cpus
    assert CpuSet.parse_list(f"{cpus}\n") == cpus


@given(st.sets(st.integers(0, 8191), max_size=40).map(CpuSet))
def test_a_mask_is_read_as_the_kernel_prints_it(cpus: CpuSet) -> None:
    digits = f"{cpus.mask:x}"
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    groups = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    assert CpuSet.parse_mask(",".join(groups)) == cpus
    # Some kernels leave a group of zeros empty, and wide ones begin with many of them.
    assert CpuSet.parse_mask(",".join("" if group == "00000000" else group for group in groups)) == cpus
    assert CpuSet.parse_mask("00000000," * 5 + ",".join(groups)) == cpus


@given(numbers, numbers)
def test_sets_are_sets(left: set[int], right: set[int]) -> None:
    a, b = CpuSet(left), CpuSet(right)
    assert list(a) == sorted(left)
    assert (len(a), bool(a)) == (len(left), bool(left))
    assert set(a & b) == left & right
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)
    assert all(cpu in a for cpu in left)
    assert hash(CpuSet(sorted(left, reverse=True))) == hash(a)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("\n", ""),
        ("0", "0"),
        ("0-3,8", "0-3,8"),
        ("8,0-3", "0-3,8"),
        ("0-2,1-4", "0-4"),
        ("0-1, 4\n", "0-1,4"),
        ("0-31:4/8", "0-3,8-11,16-19,24-27"),
        ("0-7:1/2", "0,2,4,6"),
        ("2-7:2/3", "2-3,5-6"),
        ("0-6:1/2", "0,2,4,6"),
        ("0-3:0/2", ""),
        ("0-3:2/2", "0-3"),
        ("5-9:3/100", "5-7"),
        ("5-9:100/100", "5-9"),
        ("0-16383:1/999999999", "0"),
        ("16383", "16383"),
        ("1023", "1023"),
    ],
)
def test_lists(text: str, printed: str) -> None:
    assert str(CpuSet.parse_list(text)) == printed


@given(st.integers(0, 90), st.integers(0, 90), st.integers(0, 20), st.integers(1, 20))
def test_strides(low: int, length: int, used: int, group: int) -> None:
    high, used = low + length, min(used, group)
    wanted = {cpu for cpu in range(low, high + 1) if (cpu - low) % group < used}
    assert set(CpuSet.parse_list(f"{low}-{high}:{used}/{group}")) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "x", "-1", "3-1", "0-", "-", "0-1-2", "0 1", "0-16384", "16384", "0-4294967295", "4294967295", "0-99999999999999999999",
        "0-3:1/0", "0-3:2/1", "0-3:1", "3:1/2", "0-3:/2", "٣", "all", "(null)", "0x3", "1e3",
    ],
)  # fmt: skip
def test_no_lists(text: str) -> None:
    with pytest.raises(ValueError, match="not a CPU list"):
        CpuSet.parse_list(text)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("0", ""),
        ("f", "0-3"),
        ("ff\n", "0-7"),
        ("FF", "0-7"),
        ("00000000,0000000f", "0-3"),
        ("1,00000000", "32"),
        ("1,,", "64"),
        (",,", ""),
        (",,3", "0-1"),
        ("80000000,00000001", "0,63"),
        ("0" * 64 + "3", "0-1"),
    ],
)
def test_masks(text: str, printed: str) -> None:
    assert str(CpuSet.parse_mask(text)) == printed


@pytest.mark.parametrize("text", ["g", "0-3", "-1", "1,-1", "1,000000000", "0x0f", "1_0", "+1", "1 0", "٣"])
def test_no_masks(text: str) -> None:
    with pytest.raises(ValueError, match="not a CPU mask"):
        CpuSet.parse_mask(text)


@pytest.mark.parametrize("digits", [4097, 20000])
def test_masks_too_wide(digits: int) -> None:
    assert len(CpuSet.parse_mask("f" * 4096)) == MAX_ID
    assert len(CpuSet.parse_mask("1" + "," * 511)) == 1
    for text in ("f" * digits, "1" + "," * 512):
        with pytest.raises(ValueError, match="not a CPU mask"):
            CpuSet.parse_mask(text)


@pytest.mark.parametrize("parse", [CpuSet.parse_list, CpuSet.parse_mask], ids=["list", "mask"])
@pytest.mark.parametrize(
    ("unit", "times"), [(",", 8 << 20), ("1,", 4 << 20), ("0-16383,", 500_000), ("0-16383:1/2,", 500_000), ("0-16383:1/2,", 20_000)]
)
def test_a_hostile_text_costs_little(parse: Callable[[str], CpuSet], unit: str, times: int) -> None:
    began = time.process_time()
    with suppress(ValueError):
        parse("1" + unit * times)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("cpu", [-1, MAX_ID, 1 << 40])
def test_numbers_out_of_range(cpu: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        CpuSet((cpu,))


def test_a_set_does_not_change() -> None:
    cpus = CpuSet((1,))
    with pytest.raises(AttributeError):
        cpus.mask = 3
    assert -1 not in cpus
    assert "1" not in cpus
    assert cpus != "1"
    assert repr(cpus) == "CpuSet('1')"


@pytest.mark.parametrize(
    ("text", "limit", "encoded"),
    [("max", UNLIMITED, "max"), ("max\n", UNLIMITED, "max"), ("0", Limit(0), 0), ("4096\n", Limit(4096), 4096)],
)
def test_limits(text: str, limit: Limit, encoded: object) -> None:
    assert Limit.parse(text) == limit
    assert encode_value(limit) == encoded
    assert decode_value(Limit, encoded) == limit
    assert limit.unlimited == (encoded == "max")


@pytest.mark.parametrize("text", ["", "maximum", "1.5", "infinity", "nan"])
def test_no_limits(text: str) -> None:
    with pytest.raises(ValueError, match="int"):
        Limit.parse(text)


def test_a_limit_compares_and_divides() -> None:
    assert min(UNLIMITED, Limit(5)) == Limit(5)
    assert encode_value(Limit(1.5)) == 1.5
    assert math.isinf(UNLIMITED / 1000)


class Record(Fact, frozen=True):
    cpus: CpuSet | None = None
    limit: Limit | None = None
    sets: tuple[CpuSet, ...] = ()


limits = st.one_of(st.just(UNLIMITED), st.integers(0, 1 << 53).map(Limit), st.floats(0, 1e6).map(Limit))


@given(st.builds(Record, st.none() | cpu_sets, st.none() | limits, st.lists(cpu_sets, max_size=3).map(tuple)))
def test_records_survive_json(record: Record) -> None:
    text = msgspec.json.encode(record, enc_hook=encode_value)
    assert msgspec.json.decode(text, type=Record, dec_hook=decode_value) == record


@pytest.mark.parametrize("text", ['{"cpus": "0-x"}', '{"cpus": 3}', '{"limit": "many"}', '{"limit": []}', '{"cpus": "0-4294967295"}'])
def test_bad_json_is_a_validation_error(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Record, dec_hook=decode_value)


class Strange:
    """A type that no hook knows."""


class Stranger(Fact, frozen=True):
    value: Strange


def test_a_type_that_no_hook_knows_is_a_fault_of_ours() -> None:
    """Not `null` when it is written, not bad data when it is read, not anything in the schema."""
    with pytest.raises(NotImplementedError, match="Strange"):
        msgspec.json.encode(Stranger(Strange()), enc_hook=encode_value)
    with pytest.raises(NotImplementedError, match="Strange"):
        msgspec.json.decode('{"value": 1}', type=Stranger, dec_hook=decode_value)
    with pytest.raises(TypeError, match=r"Strange.* is not supported"):
        msgspec.json.schema(Stranger, schema_hook=schema_value)


@given(cpu_sets)
def test_the_schema_accepts_what_is_printed(cpus: CpuSet) -> None:
    assert re.search(str(schema_value(CpuSet)["pattern"]), str(cpus))
