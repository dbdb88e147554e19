"""Running domains as libvirt knows them, over read-only connections: definition, vCPUs, pins, memory.

Only calls that never wait for a guest are made (list, info, XML, vcpus, vcpuPinInfo, emulatorPinInfo): the bulk statistics
block for 30 s and more behind one stopped QEMU, and so does ioThreadInfo. Run time and delay of vCPUs are read from their threads.
Definitions are read in every pass, a tenth of the time of all these calls, and parsed when their text is new. Events could not stand in
for that: libvirt 9.0 announces a change of pins, shares or quotas, and says nothing when vCPUs, iothreads or memory limits change.
Source: the libvirt-domain API reference.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from agent.model.values import MAX_ID, Count, CpuSet, Fact, Gap, number_or_none
from collectors.domain_xml import Definition, parse_xml
from collectors.libvirt_connection import Connections, named
from collectors.root import SysRoot
from collectors.text import Malformed, printable

_DOMAIN_STATES = ("no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed", "suspended")
_VCPU_STATES = ("offline", "running", "blocked")
# Drivers that run what they run beside libvirt; others speak to a machine elsewhere, or to none (test).
_HERE = ("qemu", "lxc", "xen", "ch", "vz", "bhyve")
_NAMED = 5


class VirtualCpu(Fact, frozen=True, kw_only=True):
    """One vCPU: its time and last host CPU as libvirt says, and the host CPUs it may run on (all of them: it floats)."""

    number: Annotated[int, Meta(ge=0, lt=MAX_ID)]
    state: str | None = None
    time_ns: Count | None = None
    last_cpu: Annotated[int, Meta(ge=0, lt=MAX_ID)] | None = None
    affinity: CpuSet | None = None


class Domain(Fact, frozen=True, kw_only=True):
    """One running domain. Memory in bytes; `memory_bytes` is what the balloon leaves it of `max_memory_bytes`."""

    uuid: str
    name: str
    id: int
    state: str
    definition: Definition
    max_memory_bytes: Count | None = None
    memory_bytes: Count | None = None
    cpu_time_ns: Count | None = None
    vcpus: tuple[VirtualCpu, ...] = ()
    emulator_affinity: CpuSet | None = None


class LibvirtHost(Fact, frozen=True, kw_only=True):
    """One connection that answered, now or `seconds_ago`. `here`: its domains run on this host."""

    uri: str
    libvirt_version: str
    domains: tuple[Domain, ...]
    here: bool = True
    seconds_ago: float = 0.0


class LibvirtHosts(Fact, frozen=True):
    """The connections that answered, and why others did not."""

    hypervisors: tuple[LibvirtHost, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(slots=True)
class DomainCache:
    """Connections to lend, and by URI and UUID each definition that was parsed, with a digest of its text."""

    connections: Connections = field(default_factory=Connections)
    definitions: dict[str, dict[str, tuple[bytes, Definition]]] = field(default_factory=dict)


def read(root: SysRoot, gather: Callable[[], LibvirtHosts]) -> LibvirtHosts:
    """The running domains: of a live host what `gather` has of them, else what was recorded."""
    return root.reply("libvirt_domains", LibvirtHosts, gather)


def aged(hosts: LibvirtHosts, seconds_ago: float) -> LibvirtHosts:
    """An answer that stands in for a later one: without what has counted on since, where vCPUs ran, and what was broken then."""
    if not seconds_ago:
        return hosts
    hypervisors = (
        replace(hypervisor, seconds_ago=seconds_ago, domains=tuple(_without_counters(domain) for domain in hypervisor.domains))
        for hypervisor in hosts.hypervisors
    )
    return LibvirtHosts(tuple(hypervisors))


def _without_counters(domain: Domain) -> Domain:
    vcpus = tuple(replace(vcpu, state=None, time_ns=None, last_cpu=None) for vcpu in domain.vcpus)
    return replace(domain, cpu_time_ns=None, vcpus=vcpus)


def ask(cache: DomainCache, uri: str) -> LibvirtHosts:
    """The running domains of one URI. `Unavailable` where its daemon is not to be had; whoever asks has a deadline, this has none."""

    def ask_connection(libvirt: Any, connection: Any) -> LibvirtHosts:
        version = connection.getLibVersion()
        definitions = _Definitions(cache.definitions.get(uri, {}))
        domains: list[Domain] = []
        broken: list[str] = []
        for handle in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                domain = _domain(libvirt, handle, definitions)
            except (libvirt.libvirtError, Malformed) as error:
                # Without a daemon no domain answers: that is the connection's to say.
                if not connection.isAlive():
                    raise
                broken.append(f"{printable(handle.name())}: {printable(str(error))}")
            else:
                domains += [domain] if domain is not None else []
        cache.definitions[uri] = definitions.current
        text = f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
        listed = tuple(sorted(domains, key=lambda domain: domain.uuid))
        hypervisor = LibvirtHost(uri=named(uri), libvirt_version=text, domains=listed, here=is_here(uri))
        return LibvirtHosts((hypervisor,), tuple(_gaps(broken)))

    return cache.connections.use(uri, ask_connection)


class _Definitions:
    """Parses the definitions of one connection's domains: the same text of a domain is not parsed again."""

    def __init__(self, previous: dict[str, tuple[bytes, Definition]]) -> None:
        self.previous = previous
        self.current: dict[str, tuple[bytes, Definition]] = {}

    def of(self, uuid: str, text: str) -> Definition:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        cached = self.previous.get(uuid)
        self.current[uuid] = cached if cached is not None and cached[0] == digest else (digest, parse_xml(text))
        return self.current[uuid][1]


def _gaps(broken: list[str]) -> Iterator[Gap]:
    """Of domains that did not answer as the others did."""
    remedy = "ask virsh dumpxml and dominfo for them, and see the log of libvirt's daemon"
    for detail in broken[:_NAMED]:
        yield Gap("libvirt_domains", "failed", detail, remedy)
    if len(broken) > _NAMED:
        yield Gap("libvirt_domains", "failed", f"{len(broken) - _NAMED} domains more", remedy)


def is_here(uri: str) -> bool:
    """ "qemu:///system", and neither "qemu+ssh://other/system" nor "esx://other/"."""
    scheme, _, rest = uri.partition("://")
    return rest.startswith("/") and scheme.partition("+")[0] in _HERE


def _domain(libvirt: Any, handle: Any, definitions: _Definitions) -> Domain | None:
    """None when the domain ended while it was asked. What its driver does not know is absent."""

    def if_supported(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except libvirt.libvirtError as error:
            if error.get_error_code() in (
                libvirt.VIR_ERR_NO_SUPPORT,
                libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
                libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
            ):
                return None
            raise

    uuid = handle.UUIDString()
    try:
        state, max_memory, memory, _, cpu_time = handle.info()
        definition = definitions.of(uuid, handle.XMLDesc(0))
        infos, in_force = if_supported(handle.vcpus) or ((), ())
        pins = [_cpus(bools) for bools in if_supported(lambda: handle.vcpuPinInfo(0)) or ()]
        emulator = if_supported(lambda: handle.emulatorPinInfo(0))
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        # "cannot get CPU affinity of process 4711": the daemon has not heard yet that the process ended.
        ended = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() == errno.ESRCH
        if ended or code in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            return None
        raise
    return Domain(
        uuid=uuid,
        name=printable(handle.name()),
        id=handle.ID(),
        state=_DOMAIN_STATES[state] if 0 <= state < len(_DOMAIN_STATES) else "no state",
        definition=definition,
        max_memory_bytes=number_or_none(max_memory << 10),
        memory_bytes=number_or_none(memory << 10),
        cpu_time_ns=number_or_none(cpu_time),
        vcpus=tuple(_vcpu(info, _pin(info[0], pins, definition, mask)) for info, mask in zip(infos, in_force, strict=True)),
        emulator_affinity=None if emulator is None else _cpus(emulator),
    )


def _vcpu(info: tuple[int, int, int, int], affinity: CpuSet | None) -> VirtualCpu:
    number, state, time_ns, cpu = info
    return VirtualCpu(
        number=number,
        state=_VCPU_STATES[state] if 0 <= state < len(_VCPU_STATES) else None,
        time_ns=number_or_none(time_ns),
        # libvirt says -1 where the last CPU is not known.
        last_cpu=cpu if 0 <= cpu < MAX_ID else None,
        affinity=affinity,
    )


def _pin(number: int, pins: list[CpuSet], definition: Definition, in_force: Iterable[bool]) -> CpuSet | None:
    """The library asks for as many pins as there are vCPUs: one whose number lies beyond a gap has its pin in the definition, or none."""
    if number < len(pins):
        return pins[number]
    return definition.tuning.vcpu_pins.get(number, _cpus(in_force)) if pins else None


def _cpus(bools: Iterable[bool]) -> CpuSet:
    return CpuSet(number for number, allowed in enumerate(bools) if allowed)
