"""collectors/proc_irq.py, and the routes that agent/normalise/interrupts.py makes of it."""

from __future__ import annotations

from pathlib import Path

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.channels import IrqRoute
from agent.model.values import CpuSet
from agent.normalise.interrupts import irq_routes
from collectors.proc_irq import Affinity, read
from collectors.root import SysRoot
from collectors.sys_pci import DEVICES
from tests.unit.tree import grow, recorded


def test_affinities(tmp_path: Path) -> None:
    files = {
        "proc/irq/9/smp_affinity_list": "0-3\n",
        "proc/irq/24/smp_affinity_list": "0-3\n",
        "proc/irq/24/effective_affinity_list": "2\n",
        "proc/irq/25/smp_affinity_list": "0-3\n",  # nobody asks
    }
    assert read(grow(tmp_path, files), [24, 9, 77]) == (Affinity(9, CpuSet(range(4))), Affinity(24, CpuSet(range(4)), CpuSet((2,))))


def test_none(tmp_path: Path) -> None:
    assert read(SysRoot(tmp_path), []) == ()


def test_routes(tmp_path: Path) -> None:
    files = {
        "proc/interrupts": "  CPU0 CPU2\n 9: 0 0 IO-APIC 9-fasteoi acpi\n 24: 5 7 PCI-MSI 0-edge eth0\n LOC: 1 1 Local timer interrupts\n",
        "proc/irq/24/smp_affinity_list": "0,2\n",
        "proc/irq/24/effective_affinity_list": "2\n",
        f"{DEVICES}/0000:00:02.0/class": "0x020000\n",
        f"{DEVICES}/0000:00:02.0/msi_irqs/24": "msi\n",
    }
    root = recorded(tmp_path, files)
    sample = take(root, Config(root=str(tmp_path), only=("proc_interrupts", "proc_irq", "sys_pci")), Caches())
    assert irq_routes(sample) == (
        IrqRoute(irq=9, taken_by=CpuSet(), count=0),
        IrqRoute(
            irq=24, device="0000:00:02.0", affinity=CpuSet((0, 2)), effective_affinity=CpuSet((2,)), taken_by=CpuSet((0, 2)), count=12
        ),
    )


def test_without_interrupts_there_are_no_routes(tmp_path: Path) -> None:
    sample = take(
        recorded(tmp_path, {"proc/irq/24/smp_affinity_list": "0\n"}),
        Config(root=str(tmp_path), only=("proc_interrupts",)),
        Caches(),
    )
    assert irq_routes(sample) == ()
