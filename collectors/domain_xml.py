"""What a domain's XML says of placement and cost. Source: formatdomain of libvirt; a running domain's XML has what is in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.model.facts.domain_xml import Backing, BackingPages, Bandwidth, CellMemory, GuestCell, Schedule, Tuning
from agent.model.values import MAX_ID, UNLIMITED, CpuSet, Fact, Limit, number_or_none
from collectors.text import Malformed, convert, printable

if TYPE_CHECKING:
    # Imported where it is used: it takes milliseconds.
    from xml.etree.ElementTree import Element

_TOPOLOGY = ("sockets", "dies", "clusters", "cores", "threads")
# formatdomain, "Memory Allocation": powers of 1000 end in B, KiB is meant where nothing is said.
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4} | {
    unit: 1 << shift for letter, shift in (("k", 10), ("K", 10), ("M", 20), ("G", 30), ("T", 40)) for unit in (letter, f"{letter}iB")
}
# libvirt prints a quota that is not set as the largest that cgroup v2 takes, or as -1 (v1).
_NO_QUOTA_USEC = 17_592_186_044_415
_ON = ("on", "yes")


class Definition(Fact, frozen=True, kw_only=True):
    """A machine as it was defined. `enlightenments` are the paravirtual features that change what it costs, by section."""

    type: str | None = None
    machine: str | None = None
    cpu_mode: str | None = None
    cpu_model: str | None = None
    nested: bool | None = None
    """Whether vmx or svm is asked for or forbidden; None: as the CPU model has it."""
    max_vcpus: int | None = None
    sockets: int | None = None
    dies: int | None = None
    clusters: int | None = None
    cores: int | None = None
    threads: int | None = None
    cells: tuple[GuestCell, ...] = ()
    numatune_mode: str | None = None
    numatune_nodes: CpuSet | None = None
    numatune_placement: str | None = None
    cell_memories: tuple[CellMemory, ...] = ()
    tuning: Tuning = Tuning()
    iothreads: tuple[int, ...] = ()
    backing: Backing = Backing()
    memory_bytes: int | None = None
    memory_now_bytes: int | None = None
    memory_slots_bytes: int | None = None
    """What it may grow to by hotplug."""
    enlightenments: tuple[str, ...] = ()
    video_bytes: int | None = 0


def parse_xml(text: str) -> Definition:
    """A domain's XML as libvirt prints it. What is not understood of it is left out; `Malformed` where it is no XML."""
    from xml.etree import ElementTree

    try:
        # Written by libvirt itself; expat bounds the expansion of entities since 2.4.1.
        domain = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise Malformed(f"domain XML: {printable(str(error))}") from None
    machine, cpu, topology = domain.find("os/type"), domain.find("cpu"), domain.find("cpu/topology")
    tune = domain.find("numatune/memory")
    sizes = {name: _number(topology.get(name)) if topology is not None else None for name in _TOPOLOGY}
    video = [_number(model.get("vgamem") or model.get("vram")) for model in domain.iterfind("devices/video/model")]
    count = _number(domain.findtext("iothreads")) or 0
    listed = [_number(iothread.get("id")) for iothread in domain.iterfind("iothreadids/iothread")]
    return Definition(
        type=domain.get("type"),
        machine=None if machine is None else machine.get("machine"),
        cpu_mode=None if cpu is None else cpu.get("mode") or "custom",
        cpu_model=_text(domain, "cpu/model"),
        nested=_nested(domain),
        max_vcpus=_number(domain.findtext("vcpu")),
        **sizes,
        cells=tuple(_cells(domain)),
        numatune_mode=None if tune is None else tune.get("mode"),
        numatune_nodes=None if tune is None else _cpus(tune.get("nodeset")),
        numatune_placement=None if tune is None else tune.get("placement"),
        cell_memories=tuple(
            CellMemory(cell, node.get("mode"), _cpus(node.get("nodeset")))
            for node in domain.iterfind("numatune/memnode")
            if (cell := _number(node.get("cellid"))) is not None
        ),
        tuning=_tuning(domain.find("cputune")),
        # Numbered from 1 where no ids are given.
        iothreads=tuple(id_ for id_ in listed if id_ is not None) or tuple(range(1, min(count, MAX_ID) + 1)),
        backing=_backing(domain.find("memoryBacking")),
        memory_bytes=_size(domain.find("memory")),
        memory_now_bytes=_size(domain.find("currentMemory")),
        memory_slots_bytes=_size(domain.find("maxMemory")),
        enlightenments=tuple(_enlightenments(domain)),
        video_bytes=number_or_none(sum(size << 10 for size in video if size is not None)),
    )


def _cells(domain: Element) -> Iterator[GuestCell]:
    for place, cell in enumerate(domain.iterfind("cpu/numa/cell")):
        number = _number(cell.get("id"))
        siblings = [(_number(sibling.get("id")), _number(sibling.get("value"))) for sibling in cell.iterfind("distances/sibling")]
        yield GuestCell(
            place if number is None else number,
            _cpus(cell.get("cpus")),
            _scaled(cell.get("memory"), cell.get("unit")),
            {other: distance for other, distance in siblings if other is not None and distance is not None},
        )


def _tuning(tune: Element | None) -> Tuning:
    if tune is None:
        return Tuning()

    def pins(name: str, by: str) -> dict[int, CpuSet]:
        all_pins = ((_number(pin.get(by)), _cpus(pin.get("cpuset"))) for pin in tune.iterfind(name))
        return {number: cpus for number, cpus in all_pins if number is not None and cpus is not None}

    emulator = tune.find("emulatorpin")
    return Tuning(
        vcpu_pins=pins("vcpupin", "vcpu"),
        emulator_pin=None if emulator is None else _cpus(emulator.get("cpuset")),
        iothread_pins=pins("iothreadpin", "iothread"),
        shares=_number(tune.findtext("shares")),
        vcpu=_bandwidth(tune, ""),
        machine=_bandwidth(tune, "global_"),
        emulator=_bandwidth(tune, "emulator_"),
        iothread=_bandwidth(tune, "iothread_"),
        schedules=tuple(
            Schedule(threads, sched.get("scheduler", ""), _cpus(sched.get(f"{threads}s")), _number(sched.get("priority")))
            for threads in ("vcpu", "iothread", "emulator")
            for sched in tune.iterfind(f"{threads}sched")
        ),
    )


def _bandwidth(tune: Element, whose: str) -> Bandwidth:
    quota = (tune.findtext(f"{whose}quota") or "").strip()
    usec = _number(quota)
    unlimited = quota == "-1" or (usec is not None and usec >= _NO_QUOTA_USEC)
    return Bandwidth(_number(tune.findtext(f"{whose}period")), UNLIMITED if unlimited else None if usec is None else Limit(usec))


def _backing(backing: Element | None) -> Backing:
    if backing is None:
        return Backing()
    huge = backing.find("hugepages")
    source, access = backing.find("source"), backing.find("access")
    pages = [BackingPages(_scaled(page.get("size"), page.get("unit")), _cpus(page.get("nodeset"))) for page in huge or ()]
    return Backing(
        hugepages=() if huge is None else tuple(pages) or (BackingPages(),),
        locked=backing.find("locked") is not None,
        mergeable=backing.find("nosharepages") is None,
        source=None if source is None else source.get("type"),
        shared=None if access is None else access.get("mode") == "shared",
    )


def _nested(domain: Element) -> bool | None:
    policies = [feature.get("policy") for feature in domain.iterfind("cpu/feature") if feature.get("name") in ("vmx", "svm")]
    return None if not policies else not {"disable", "forbid"} & set(policies)


def _enlightenments(domain: Element) -> Iterator[str]:
    """ "hyperv/vapic", "kvm/hint-dedicated", "pvspinlock", "timer/hypervclock": those that are on."""
    for section in ("hyperv", "kvm", "xen"):
        for feature in domain.find(f"features/{section}") or ():
            if feature.get("state") in _ON:
                yield f"{section}/{feature.tag}"
    for name in ("pvspinlock", "pmu"):
        switch = domain.find(f"features/{name}")
        if switch is not None and switch.get("state", "on") in _ON:
            yield name
    for timer in domain.iterfind("clock/timer"):
        if timer.get("name") in ("kvmclock", "hypervclock", "tsc") and timer.get("present", "yes") in _ON:
            yield f"timer/{timer.get('name')}"


def _cpus(text: str | None) -> CpuSet | None:
    """ "0-3,^2": what stands behind a ^ is taken out again."""
    if text is None:
        return None
    parts = text.split(",")
    out = ",".join(part.strip()[1:] for part in parts if part.strip().startswith("^"))
    chosen = convert(CpuSet.parse_list, ",".join(part for part in parts if not part.strip().startswith("^")))
    return chosen - convert(CpuSet.parse_list, out)


def _size(element: Element | None) -> int | None:
    return None if element is None else _scaled(element.text, element.get("unit"))


def _scaled(text: str | None, unit: str | None) -> int | None:
    number, scale = _number(text), _UNITS.get(unit or "KiB")
    return None if number is None or scale is None else number_or_none(number * scale)


def _text(domain: Element, path: str) -> str | None:
    text = domain.findtext(path)
    return text.strip()[:256] or None if text else None


def _number(text: str | None) -> int | None:
    text = text.strip() if text else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
