"""Channels between parts of the machine: PCI devices by their locality, sockets by the model of their CPUs and by distances.

No kernel interface names the links between sockets. They are inferred, marked as such, and only on bare metal: a guest sees the
sockets that its hypervisor invents.
"""

from __future__ import annotations

from itertools import combinations

from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.model.channels import Channels, Interconnect, SocketLink
from agent.model.facts.sys_pci import PciDevice
from agent.model.physical import Node, Package
from agent.model.values import CpuSet, all_or_none
from agent.normalise.kernel import virtualization

# Intel's family 6 by model. Names of models: arch/x86/include/asm/intel-family.h; their links: Intel's data sheets (Xeon 5500 to E7 v4:
# QuickPath; Xeon Scalable and Xeon 6: Ultra Path). Models before 26 shared a front-side bus; models without a second socket have no link.
_QPI = {26, 44, 46, 47, 45, 62, 63, 79}
_UPI = {85, 106, 143, 207, 173, 175}
# AMD by family: K8 to Bulldozer (15 to 21) and Zen (from 23 on). Source: AMD's BIOS and Kernel Developer's Guides.
_AMD = {
    15: "HyperTransport",
    16: "HyperTransport",
    21: "HyperTransport",
    23: "Infinity Fabric",
    25: "Infinity Fabric",
    26: "Infinity Fabric",
}

# What Linux assumes of remote memory where firmware has no table (include/linux/topology.h, REMOTE_DISTANCE).
_REMOTE = 20


def channels(sample: Sample, online: CpuSet, nodes: tuple[Node, ...], packages: tuple[Package, ...]) -> Channels | None:
    """The links between sockets and the PCI devices with their local CPUs; None where neither is known."""
    interconnect, pci = _interconnect(sample, nodes, packages), _pci(sample, online)
    return Channels(interconnect, pci) if interconnect or pci else None


def _pci(sample: Sample, online: CpuSet) -> tuple[PciDevice, ...]:
    devices = [function.device for function in sample.host.pci_devices or ()]
    return tuple(replace(device, cpus=None if device.cpus is None else device.cpus & online or None) for device in devices)


def _interconnect(sample: Sample, nodes: tuple[Node, ...], packages: tuple[Package, ...]) -> Interconnect | None:
    virtual = virtualization(sample)
    if len(packages) < 2 or virtual is None or virtual.kind != "none":
        return None
    technologies = {_technology(package) for package in packages}
    technology = technologies.pop() if len(technologies) == 1 else None
    links = _links(nodes, packages)
    return Interconnect(technology, links) if technology or links else None


def _technology(package: Package) -> str | None:
    family, model = package.family or "", package.model or ""
    if not (family.isdecimal() and model.isdecimal()):
        return None
    if package.vendor == "AuthenticAMD":
        return _AMD.get(int(family))
    if package.vendor == "GenuineIntel" and int(family) == 6:
        return "QPI" if int(model) in _QPI else "UPI" if int(model) in _UPI else None
    return None


def _links(nodes: tuple[Node, ...], packages: tuple[Package, ...]) -> tuple[SocketLink, ...]:
    """Links between sockets. Two sockets are always linked; of more, those at the least distance are, where firmware states distances."""
    distance_by_pair: dict[tuple[int, int], int | None] = {
        (first, second): _distance(nodes, packages[first], packages[second]) for first, second in combinations(range(len(packages)), 2)
    }
    if len(packages) == 2:
        return (SocketLink((0, 1), distance_by_pair[0, 1]),)
    distances = {distance for distance in distance_by_pair.values() if distance is not None}
    if None in distance_by_pair.values() or distances == {_REMOTE}:
        return ()
    return tuple(SocketLink(pair, distance) for pair, distance in distance_by_pair.items() if distance == min(distances))


def _distance(nodes: tuple[Node, ...], first: Package, second: Package) -> int | None:
    """The least distance between nodes of two packages, in either direction; None where an input is not known."""
    if any(node.cpus is None for node in nodes):
        return None
    first_nodes, second_nodes = ([node for node in nodes if (node.cpus or CpuSet()) & package.cpus] for package in (first, second))
    distances = all_or_none(
        source.distances.get(target.os_index)
        for sources, targets in ((first_nodes, second_nodes), (second_nodes, first_nodes))
        for source in sources
        for target in targets
    )
    return None if distances is None else min(distances)
