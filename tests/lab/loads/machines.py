"""Machines of a few bytes that do what a behaviour says: a boot sector that is assembled here, and its domain."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.lab import boot
from tests.lab.loads.behaviours_table import Behaviour
from tests.lab.loads.groups import PERIOD_USEC
from tests.need import which

SOURCE = Path(__file__).with_name("guest.S")
VCPUS = 3
"""Of a machine of many threads."""

_WORK = {"spin": 0, "sleep": 0, "stream": 1, "chase": 2, "port": 3}
_TIMER_HZ = 1_193_182
_MOST_TICK_MS = 50
"""The divisor has 16 bits."""
_FLAGS = ("-m16", "-nostdlib", "-static", "-Wl,-Ttext=0x7c00,--oformat=binary,--build-id=none")


def definitions(behaviour: Behaviour, on_us: int, off_us: int) -> dict[str, int]:
    """What the source is assembled with."""
    words = dict.fromkeys(("DIVISOR", "ON", "OFF", "SHARE", "OTHERS"), 0) | {"WORK": _WORK[behaviour.work]}
    if behaviour.count > 1:
        return words | {"OTHERS": 1}
    if behaviour.every_us:
        return words | {"DIVISOR": _TIMER_HZ * behaviour.every_us // 1_000_000, "SHARE": max(1, on_us * 1000 // behaviour.every_us)}
    if behaviour.on_us:
        tick_ms = max(1, min(_MOST_TICK_MS, on_us // 10_000))
        ticks = {"ON": on_us // 1000 // tick_ms, "OFF": max(1, off_us // 1000 // tick_ms)}
        return words | ticks | {"DIVISOR": _TIMER_HZ * tick_ms // 1000}
    return words


def firmware(behaviour: Behaviour, on_us: int, off_us: int, into: Path) -> Path:
    if behaviour.work == "sleep":
        return boot.firmware(into, boot.IDLE)
    words = [f"-D{name}={value}" for name, value in definitions(behaviour, on_us, off_us).items()]
    subprocess.run([which("gcc") or "gcc", *_FLAGS, *words, "-o", into, SOURCE], check=True, timeout=60)
    return boot.firmware(into, into.read_bytes())


def vcpus(behaviour: Behaviour) -> int:
    return VCPUS if behaviour.count > 1 and behaviour.work != "sleep" else 1


def domain_xml(name: str, rom: Path, vcpus: int, quota_cpus: float | None, pin: str | None) -> str:
    """`quota_cpus` of all vCPUs together: the quota of a domain is each vCPU's."""
    pins = {} if pin is None else dict.fromkeys(range(vcpus), pin)
    domain = ET.fromstring(boot.domain_xml(name, rom, vcpus=vcpus, pins=pins))  # noqa: S314
    tune = domain.find("cputune")
    if quota_cpus is not None and tune is not None:
        ET.SubElement(tune, "period").text = str(PERIOD_USEC)
        ET.SubElement(tune, "quota").text = str(max(1000, round(quota_cpus / vcpus * PERIOD_USEC)))
    return ET.tostring(domain, encoding="unicode")
