"""Running domains as libvirt knows them, over a read-only connection: definition, vCPUs, pins, memory.

Only calls that never wait for a guest are made (list, info, XML, vcpus, vcpuPinInfo, emulatorPinInfo): the bulk statistics
block for 30 s and more behind one stopped QEMU. Run time and delay of vCPUs are read from their threads instead.
Source: the libvirt-domain API reference; formatdomain for the XML.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from agent.model.values import MAX_ID, CpuSet, Fact
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed, convert, printable

SOCKETS = ("run/libvirt/virtqemud-sock-ro", "run/libvirt/libvirt-sock-ro")

_DOMAIN_STATES = ("no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed", "suspended")
_VCPU_STATES = ("offline", "running", "blocked")
_TOPOLOGY = ("sockets", "dies", "cores", "threads")


class VirtualCpu(Fact, frozen=True):
    """One vCPU: its time and last host CPU as libvirt says, and the host CPUs it may run on (all of them: it floats)."""

    number: int
    state: str | None = None
    time_ns: int | None = None
    last_cpu: Annotated[int, Meta(ge=0, lt=MAX_ID)] | None = None
    affinity: CpuSet | None = None


class Definition(Fact, frozen=True):
    """What the domain's XML says. `pinned_vcpus` have a <vcpupin> of their own: the others float with the emulator's default."""

    type: str | None = None
    machine: str | None = None
    cpu_mode: str | None = None
    sockets: int | None = None
    dies: int | None = None
    cores: int | None = None
    threads: int | None = None
    numa_cells: int | None = None
    numatune_mode: str | None = None
    numatune_nodes: CpuSet | None = None
    pinned_vcpus: CpuSet = CpuSet()
    hugepages: bool = False
    iothreads: int = 0
    video_bytes: int = 0


class Domain(Fact, frozen=True):
    """One running domain. Memory in bytes; `memory_bytes` is what the balloon leaves it of `max_memory_bytes`."""

    uuid: str
    name: str
    id: int
    state: str
    definition: Definition
    max_memory_bytes: int | None = None
    memory_bytes: int | None = None
    cpu_time_ns: int | None = None
    vcpus: tuple[VirtualCpu, ...] = ()
    max_vcpus: int | None = None
    emulator_affinity: CpuSet | None = None


class Hypervisor(Fact, frozen=True):
    """One connection that answered."""

    uri: str
    libvirt_version: str
    domains: tuple[Domain, ...]


def read(root: SysRoot, uris: tuple[str, ...] = ()) -> tuple[Hypervisor, ...]:
    return root.reply("libvirt_domains", tuple[Hypervisor, ...], lambda: ask(root, uris))


def ask(root: SysRoot, uris: tuple[str, ...]) -> tuple[Hypervisor, ...]:
    found = uris or tuple(f"qemu:///system?socket={path}" for name in SOCKETS if (path := root.socket(name)) is not None)[:1]
    if not found:
        raise Unavailable("absent", "no libvirt socket: " + ", ".join(SOCKETS), "start libvirtd, or name it with --libvirt URI")
    try:
        import libvirt
    except ImportError:
        raise Unavailable("unsupported", "libvirt-python is not installed", "pip install libvirt-python (needs libvirt-dev)") from None
    # The library prints every error to stderr unless it is told not to.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return tuple(_hypervisor(libvirt, uri) for uri in found)


def _hypervisor(libvirt: Any, uri: str) -> Hypervisor:
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            version = connection.getLibVersion()
            domains = [
                domain
                for handle in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
                if (domain := _domain(libvirt, handle)) is not None
            ]
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        denied = error.get_error_code() in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_ACCESS_DENIED)
        raise Unavailable("denied" if denied else "failed", f"{uri}: {error}", "see that the libvirt daemon of this URI runs") from None
    text = f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
    return Hypervisor(uri.partition("?")[0], text, tuple(sorted(domains, key=lambda domain: domain.uuid)))


def _domain(libvirt: Any, handle: Any) -> Domain | None:
    """None when the domain ended while it was asked."""
    try:
        state, max_memory, memory, _, cpu_time = handle.info()
        definition = parse_xml(handle.XMLDesc(0))
        infos, _ = handle.vcpus()
        pins = [_cpus(bools) for bools in handle.vcpuPinInfo(0)]
        emulator = _cpus(handle.emulatorPinInfo(0))
        return Domain(
            handle.UUIDString(),
            printable(handle.name()),
            handle.ID(),
            _DOMAIN_STATES[state] if 0 <= state < len(_DOMAIN_STATES) else "no state",
            definition,
            max_memory_bytes=max_memory << 10,
            memory_bytes=memory << 10,
            cpu_time_ns=cpu_time,
            vcpus=tuple(_vcpu(info, pins) for info in infos),
            max_vcpus=handle.maxVcpus(),
            emulator_affinity=emulator,
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            return None
        raise


def _vcpu(info: tuple[int, int, int, int], pins: list[CpuSet]) -> VirtualCpu:
    number, state, time_ns, cpu = info
    return VirtualCpu(
        number,
        _VCPU_STATES[state] if 0 <= state < len(_VCPU_STATES) else None,
        time_ns,
        # libvirt says -1 where the last CPU is not known.
        cpu if cpu >= 0 else None,
        pins[number] if number < len(pins) else None,
    )


def _cpus(bools: Iterable[bool]) -> CpuSet:
    return CpuSet(number for number, allowed in enumerate(bools) if allowed)


def parse_xml(text: str) -> Definition:
    """The parts of a domain's XML that bear on placement and cost."""
    from xml.etree import ElementTree

    try:
        # Written by libvirt itself; expat bounds the expansion of entities since 2.4.1.
        domain = ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError) as error:
        raise Malformed(f"domain XML: {error}") from None
    topology = domain.find("cpu/topology")
    machine = domain.find("os/type")
    cpu = domain.find("cpu")
    tune = domain.find("numatune/memory")
    nodes = None if tune is None else tune.get("nodeset")
    sockets, dies, cores, threads = (_number(topology.get(name)) for name in _TOPOLOGY) if topology is not None else (None,) * 4
    video = [_number(model.get("vgamem") or model.get("vram")) for model in domain.iterfind("devices/video/model")]
    return Definition(
        type=domain.get("type"),
        machine=None if machine is None else machine.get("machine"),
        cpu_mode=None if cpu is None else cpu.get("mode") or "custom",
        sockets=sockets,
        dies=dies,
        cores=cores,
        threads=threads,
        numa_cells=len(domain.findall("cpu/numa/cell")) or None,
        numatune_mode=None if tune is None else tune.get("mode"),
        numatune_nodes=None if nodes is None else convert(CpuSet.parse_list, nodes),
        pinned_vcpus=convert(CpuSet.parse_list, ",".join(pin.get("vcpu", "") for pin in domain.iterfind("cputune/vcpupin"))),
        hugepages=domain.find("memoryBacking/hugepages") is not None,
        iothreads=_number(domain.findtext("iothreads")) or 0,
        video_bytes=sum(size << 10 for size in video if size is not None),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 12 else None
