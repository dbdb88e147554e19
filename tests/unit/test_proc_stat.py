"""collectors/proc_stat.py."""

from __future__ import annotations

import pytest

from agent.model.facts.proc_stat import CpuTime
from collectors.proc_stat import Stat, parse
from collectors.text import Malformed

FULL = """cpu  300 0 100 1000 5 0 1 2 0 0
cpu0 100 1 50 500 2 3 4 5 6 7
cpu12 200 0 50 500 3 0 1 2 0 0
intr 12345 0 9 0 0
ctxt 777
btime 1700000000
processes 42
procs_running 2
procs_blocked 0
softirq 99 1 2 3
"""


def test_everything() -> None:
    found = parse(FULL)
    assert found.cpus == (
        CpuTime(
            cpu=0,
            user_seconds=1.0,
            nice_seconds=0.01,
            system_seconds=0.5,
            idle_seconds=5.0,
            iowait_seconds=0.02,
            irq_seconds=0.03,
            softirq_seconds=0.04,
            steal_seconds=0.05,
            guest_seconds=0.06,
            guest_nice_seconds=0.07,
        ),
        CpuTime(
            cpu=12,
            user_seconds=2.0,
            nice_seconds=0.0,
            system_seconds=0.5,
            idle_seconds=5.0,
            iowait_seconds=0.03,
            irq_seconds=0.0,
            softirq_seconds=0.01,
            steal_seconds=0.02,
            guest_seconds=0.0,
            guest_nice_seconds=0.0,
        ),
    )
    assert found == Stat(
        cpus=found.cpus,
        boot_time=1700000000,
        context_switches=777,
        forks=42,
        procs_running=2,
        procs_blocked=0,
        softirqs=99,
        interrupts=12345,
    )


@pytest.mark.parametrize(
    ("text", "stat"),
    [
        ("", Stat(cpus=())),
        ("cpu 1 2 3 4\n", Stat(cpus=())),
        ("\n\nunknown 1\nctxt\n", Stat(cpus=())),
        ("cpu0 100 0 0 0\n", Stat(cpus=(CpuTime(cpu=0, user_seconds=1.0, nice_seconds=0.0, system_seconds=0.0, idle_seconds=0.0),))),
        (
            "cpu0 100 0 0 0 1 1 1 1 1 1 55 66 77\n",
            Stat(
                cpus=(
                    CpuTime(
                        cpu=0,
                        user_seconds=1.0,
                        nice_seconds=0.0,
                        system_seconds=0.0,
                        idle_seconds=0.0,
                        **dict.fromkeys(CpuTime.__struct_fields__[5:], 0.01),
                    ),
                )
            ),
        ),
    ],
)
def test_older_and_newer_kernels(text: str, stat: Stat) -> None:
    assert parse(text) == stat


@pytest.mark.parametrize("line", ["cpu0", "cpu0 1 2 3", "cpu0 1 2 3 x", "cpu0 -1 2 3 4", "cpu65536 1 2 3 4", f"cpu0 1 2 3 {'9' * 500}"])
def test_bad_lines(line: str) -> None:
    with pytest.raises(Malformed):
        parse(f"ctxt 1\n{line}\n")


def test_a_bad_count() -> None:
    with pytest.raises(Malformed):
        parse("ctxt many\n")


@pytest.mark.parametrize("ticks", ["18446744073709551000", "-1", "9223372036854775808", "9" * 30])
def test_a_mode_that_cannot_be_costs_no_other(ticks: str) -> None:
    """Steal that ran below 0, as on Xen, KVM and VMware after a migration."""
    with pytest.raises(Malformed, match=r"expected ticks from 0 to 2\^63 - 1, got 'cpu0 100 1") as caught:
        parse(f"cpu0 100 1 50 500 2 3 4 {ticks} 6 7\ncpu1 1 2 3 4\n")
    first, second = caught.value.rest.cpus
    assert (first.cpu, first.user_seconds, first.steal_seconds, first.guest_seconds) == (0, 1.0, None, 0.06)
    assert first.busy_seconds is None
    assert first.unused_seconds == pytest.approx(5.02)
    assert (second.cpu, second.idle_seconds) == (1, 0.04)


@pytest.mark.parametrize("key", ["processes", "ctxt", "intr", "procs_running", "btime"])
def test_a_count_below_nothing_is_left_out(key: str) -> None:
    with pytest.raises(Malformed, match=f"got '{key} -2049562273'") as caught:
        parse(f"cpu0 1 2 3 4\n{key} -2049562273\nsoftirq 5\n")
    assert caught.value.rest == Stat(cpus=parse("cpu0 1 2 3 4\n").cpus, softirqs=5)
