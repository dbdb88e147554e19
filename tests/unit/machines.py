"""Machines as a test wants them: packages of cores of threads, with caches and memory, without a tree of files."""

from __future__ import annotations

from agent.model.device import CpuDevices, Devices, MemoryDevices
from agent.model.host import Host, Identity
from agent.model.logical import KernelCpu, KernelMemory, Logical
from agent.model.physical import Cache, Core, Cpus, MainMemory, Node, Package, Physical
from agent.model.values import CpuSet


def regular(packages: int, nodes: int, cores: int, threads: int) -> Physical:
    """`nodes` in each package, `cores` in each node, numbered as Linux does on x86: second threads after all first ones."""
    total = packages * nodes * cores

    def group(size: int, position: int) -> CpuSet:
        return CpuSet(thread * total + core for thread in range(threads) for core in range(position * size, (position + 1) * size))

    every = packages * nodes
    return Physical(
        cpus=Cpus(online=CpuSet(range(total * threads))),
        memory=MainMemory(architecture="numa" if every > 1 else "uma", total_bytes=every << 35),
        architecture="numa" if every > 1 else "smp",
        packages=tuple(Package(cpus=group(nodes * cores, number), os_index=number, model_name="Model") for number in range(packages)),
        cores=tuple(Core(group(1, number), number // (nodes * cores), number % (nodes * cores)) for number in range(total)),
        caches=(
            *(Cache(level=1, type="Data", cpus=group(1, number), size_bytes=32 << 10) for number in range(total)),
            *(Cache(level=2, type="Unified", cpus=group(1, number), size_bytes=1 << 20) for number in range(total)),
            *(Cache(level=3, type="Unified", cpus=group(cores, number), size_bytes=32 << 20) for number in range(every)),
        ),
        nodes=tuple(
            Node(
                os_index=number,
                cpus=group(cores, number),
                memory_bytes=32 << 30,
                free_bytes=1 << 30,
                local_cpus=group(cores, number),
                local_cpus_evidence="own",
                distances={other: 10 if other == number else 12 if other // nodes == number // nodes else 32 for other in range(every)},
            )
            for number in range(every)
        ),
    )


def host(physical: Physical, **more: object) -> Host:
    logical, devices = Logical(cpu=KernelCpu(), memory=KernelMemory()), Devices(CpuDevices(), MemoryDevices())
    return Host(identity=Identity(hostname="host"), physical=physical, logical=logical, devices=devices, **more)  # type: ignore[arg-type]
