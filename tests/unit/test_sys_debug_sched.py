"""collectors/sys_debug_sched.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.root import SysRoot, Unavailable
from collectors.sys_debug_sched import SCHED, DebugfsDomain, SchedDebug, parse_preempt, parse_words, read
from tests.unit.tree import grow

OLD = "proc/sys/kernel/sched_domain"
ZERO = CpuSet((0,))


def test_a_kernel_of_today(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            f"{SCHED}/features": "PLACE_LAG NO_NEXT_BUDDY \n",
            f"{SCHED}/preempt": "none voluntary (full) lazy \n",
            f"{SCHED}/tunable_scaling": "1\n",
            f"{SCHED}/base_slice_ns": "3000000\n",
            f"{SCHED}/migration_cost_ns": "500000\n",
            f"{SCHED}/nr_migrate": "32\n",
            f"{SCHED}/domains/cpu0/domain0/name": "SMT\n",
            f"{SCHED}/domains/cpu0/domain0/flags": "SD_BALANCE_NEWIDLE SD_SHARE_CPUCAPACITY \n",
            f"{SCHED}/domains/cpu0/domain1/name": "MC\n",
            f"{SCHED}/domains/cpu1/domain0/name": "SMT\n",
        },
    )
    domains = (DebugfsDomain(0, "SMT", ("SD_BALANCE_NEWIDLE", "SD_SHARE_CPUCAPACITY")), DebugfsDomain(0, "MC"))
    assert read(root, ZERO) == SchedDebug(
        features=("PLACE_LAG", "NO_NEXT_BUDDY"),
        preempt="full",
        tunable_scaling="log",
        base_slice_ns=3000000,
        migration_cost_ns=500000,
        nr_migrate=32,
        domains=domains,
    )
    assert read(root, CpuSet()).domains == ()


def test_before_debugfs_had_a_directory(tmp_path: Path) -> None:
    """The domains were for everybody, and their flags a number."""
    root = grow(tmp_path, {f"{OLD}/cpu0/domain0/name": "DIE\n", f"{OLD}/cpu0/domain0/flags": "4143\n"})
    assert read(root, ZERO) == SchedDebug(domains=(DebugfsDomain(0, "DIE"),))
    grow(tmp_path, {"sys/kernel/debug/sched_features": "GENTLE_FAIR_SLEEPERS\n"})
    assert read(root, ZERO).features == ("GENTLE_FAIR_SLEEPERS",)


def test_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(SysRoot(tmp_path), ZERO)
    assert (caught.value.reason, "debugfs" in (caught.value.remedy or "")) == ("absent", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [("A B_2 \n", ("A", "B_2")), ("4143", ()), ('x" {y} \u0663', ()), ("a" * 65, ()), (" ".join(["A"] * 999), ("A",) * 256)],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert parse_words(text) == words


@pytest.mark.parametrize(("text", "model"), [("(none) full", "none"), ("none full", None), ("", None), ("()", None)])
def test_preemption(text: str, model: str | None) -> None:
    assert parse_preempt(text) == model
