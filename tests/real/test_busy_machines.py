"""Machines whose vCPUs never sleep, on CPUs that they share: who runs for how long, and what their guests lose."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from tests.lab import boot, host
from tests.need import need
from tests.real.scraper import Pass, Scraper, until

pytestmark = pytest.mark.real


# It leaves a jump to itself at 0x8000, gets a data segment of 4 GiB by a moment of protected mode, and writes what starts a processor to
# the local APIC: INIT and twice SIPI to all others, which begin at 0x8000. For itself there is a jump to itself, too.
ALL_BUSY = bytes.fromhex(
    "fa 31c0 8ed8 c7060080ebfe 0f0116487c 0f20c0 0c01 0f22c0 bb0800 8edb 24fe 0f22c0"
    "6766c7050003e0fe00450c00 6766c7050003e0fe08460c00 6766c7050003e0fe08460c00 ebfe"
    "0f004e7c0000 0000000000000000 ffff00000092cf00"
)


QUIET = 0.02
"""Share of a CPU that others may take before a host counts as busy."""


@pytest.mark.quiet
@pytest.mark.parametrize("machines", [2, 1])
def test_two_busy_vcpus_on_one_cpu(libvirt: host.Libvirt, tmp_path: Path, scraper: Scraper, machines: int) -> None:
    """Of two machines or of one: each waits as long as it runs, and as the others on that CPU let it; the prediction holds it."""
    need(modules=["libvirt"], cpus=2)
    names = [f"busy-{number}" for number in range(machines)]
    vcpus = 2 // machines
    try:
        for name in names:
            rom = boot.firmware(tmp_path / name, boot.BUSY if vcpus == 1 else ALL_BUSY)
            libvirt.define_and_start(boot.domain_xml(name, rom, vcpus=vcpus, pins=dict.fromkeys(range(vcpus), "1")))
        until(lambda: all(_booted(libvirt, name) for name in names), 120)
        for _ in range(5):
            before, idle_before = scraper.scrape(), _idle_seconds(1)
            time.sleep(3)
            after, idle_after = scraper.scrape(), _idle_seconds(1)
            taken = _taken_by_others(before, after, names, idle_after - idle_before)
            shares, steals = _shares(before, after, names), [_steal(after, name) for name in names]
            held = ", ".join(f"{steal.measured:.3f} in [{steal.lo:.3f}, {steal.hi:.3f}]" for steal in steals)
            print(f"\ndelay/(run + delay) {', '.join(f'{share:.3f}' for share in shares)}; others took {taken:.3f}; steal {held}")
            if taken < QUIET:
                break
    finally:
        for name in names:
            libvirt.destroy(name)
    # Half each; what others take of that CPU both wait for.
    within = 0.05 if taken < QUIET else 0.1
    assert all(abs(share - (1 + taken) / 2) <= within for share in shares)
    assert all(steal.inside for steal in steals)


def _booted(libvirt: host.Libvirt, name: str) -> bool:
    """Whether all vCPUs are where the boot sector sent them: the firmware's code lies elsewhere, and halts now and then."""
    registers = libvirt.virsh("qemu-monitor-command", name, "--hmp", "info registers -a")
    segments = re.findall(r"^CS =(\w+)", registers, re.MULTILINE)
    return bool(segments) and set(segments) <= {"0000", "0800"}


def _run_ns(machine: Workload) -> list[int]:
    return [vcpu.thread.run_ns or 0 if vcpu.thread else 0 for vcpu in machine.vcpus]


def _shares(before: Pass, after: Pass, names: list[str]) -> list[float]:
    """Of each vCPU, the share of the time in which it could run in which it waited."""
    found = []
    for name in names:
        for old, new in zip(before.named(name).vcpus, after.named(name).vcpus, strict=True):
            assert old.thread is not None
            assert new.thread is not None
            assert None not in (old.thread.run_ns, new.thread.run_ns, old.thread.delay_ns, new.thread.delay_ns)
            run = (new.thread.run_ns or 0) - (old.thread.run_ns or 0)
            delay = (new.thread.delay_ns or 0) - (old.thread.delay_ns or 0)
            found.append(delay / (run + delay))
    return found


def _taken_by_others(before: Pass, after: Pass, names: list[str], idle_seconds: float) -> float:
    """The share of the vCPUs' one CPU that neither they had nor nobody."""
    run = sum(sum(_run_ns(after.named(name))) - sum(_run_ns(before.named(name))) for name in names) / 1e9
    return max(0.0, 1 - (run + idle_seconds) / (after.at - before.at))


def _idle_seconds(cpu: int) -> float:
    (line,) = re.findall(rf"^cpu{cpu} (.+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return sum(map(int, line.split()[3:5])) / os.sysconf("SC_CLK_TCK")


def _steal(found: Pass, name: str) -> Prediction:
    (steal,) = [one for one in found.document.predictions if one.component == "steal" and one.workload == found.named(name).id]
    return steal
