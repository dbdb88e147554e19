"""The machines that tiny guests are: each a set of QEMU arguments, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab.smbios import DDR5, DRAM, NON_VOLATILE, OPTANE, Dimm, array_address, device_address, memory_array, memory_device

# Emulated AMD has no topology extensions, so no threads within a core; with 57 address bits TCG only gets slower.
CPU = "max,la57=off,vendor=GenuineIntel"


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    arguments: tuple[str, ...]
    append: str = ""  # to the kernel's command line
    machine: str = "q35"
    smbios: tuple[bytes, ...] = ()  # structures that stand for those that QEMU would make of the same types

    def firmware(self, into: Path) -> tuple[str, ...]:
        """QEMU's arguments for the SMBIOS structures, which are written to files in this directory."""
        files = [into / f"smbios-{number}" for number in range(len(self.smbios))]
        for file, structure in zip(files, self.smbios, strict=True):
            file.write_bytes(structure)
        return tuple(word for file in files for word in ("-smbios", f"file={file}"))


def _node(number: int, cpus: str = "", mebibytes: int = 0, more: str = "") -> tuple[str, ...]:
    """One NUMA node, with memory of its own unless that is 0."""
    node = f"node,nodeid={number}" + "".join(f",cpus={span}" for span in cpus.split()) + more
    if not mebibytes:
        return ("-numa", node)
    return ("-object", f"memory-backend-ram,id=m{number},size={mebibytes}M", "-numa", f"{node},memdev=m{number}")


def _distances(table: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    return tuple(
        word
        for source, row in enumerate(table)
        for target, value in enumerate(row)
        for word in ("-numa", f"dist,src={source},dst={target},val={value}")
    )


def _initiators(rows: tuple[tuple[int, int, int, int], ...]) -> tuple[str, ...]:
    """HMAT's locality: initiator, target, nanoseconds, MiB/s."""
    return tuple(
        word
        for initiator, target, latency, bandwidth in rows
        for kind in (f"data-type=access-latency,latency={latency}", f"data-type=access-bandwidth,bandwidth={bandwidth}M")
        for word in ("-numa", f"hmat-lb,initiator={initiator},target={target},hierarchy=memory,{kind}")
    )


# Two threads a core, two dies a socket, a node a die; it is farther from socket 0 to socket 1 than back.
DIES = Shape(
    name="dies",
    arguments=(
        *("-smp", "16,sockets=2,dies=2,cores=2,threads=2", "-m", "1024"),
        *(word for number in range(4) for word in _node(number, f"{number * 4}-{number * 4 + 3}", 256)),
        *_distances(((10, 12, 21, 31), (12, 10, 21, 21), (22, 21, 10, 12), (31, 21, 12, 10))),
        *("-smbios", "type=1,manufacturer=Stratascope,product=Two Sockets,version=1"),
        *("-smbios", "type=2,manufacturer=Stratascope Boards,product=Four Dies"),
    ),
)

# Node 2 has memory only, slower and near to node 0; a cache of memory lies before node 0.
HMAT = Shape(
    name="hmat",
    arguments=(
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "768"),
        *_node(0, "0-1", 256),
        *_node(1, "2-3", 256),
        *_node(2, "", 256, ",initiator=0"),
        *_initiators(
            ((0, 0, 100, 102400), (0, 1, 200, 51200), (0, 2, 350, 20480), (1, 0, 200, 51200), (1, 1, 100, 102400), (1, 2, 400, 10240))
        ),
        *("-numa", "hmat-cache,node-id=0,size=10M,level=1,associativity=direct,policy=write-back,line=64"),
    ),
    machine="q35,hmat=on",
)

# Eight sockets and nodes; every other node has CPUs only.
MEMORYLESS = Shape(
    name="memoryless",
    arguments=(
        *("-smp", "16,sockets=8,cores=2,threads=1", "-m", "1024"),
        *(word for number in range(8) for word in _node(number, f"{number * 2}-{number * 2 + 1}", 0 if number % 2 else 256)),
    ),
)

# Six of eight CPUs are plugged in and three are started: 2 without 3, its other thread.
OFFLINE = Shape(name="offline", arguments=("-smp", "6,maxcpus=8,sockets=1,cores=4,threads=2", "-m", "512"), append="maxcpus=3")

UMA = Shape(name="uma", arguments=("-smp", "2,sockets=1,cores=2,threads=1", "-m", "384"))

# A module of persistent memory that stays a disk, and another that the guest makes memory of a node of its own (tests/lab/tiny_init).
NVDIMM = Shape(
    name="nvdimm",
    arguments=(
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "512,slots=2,maxmem=2G"),
        *_node(0, "0-1", 256),
        *_node(1, "2-3", 256),
        *_node(2, "", 0, ",initiator=1"),
        *_initiators(
            ((0, 0, 100, 102400), (0, 1, 200, 51200), (0, 2, 900, 5120), (1, 0, 200, 51200), (1, 1, 100, 102400), (1, 2, 700, 10240))
        ),
        *(word for number in range(2) for word in ("-object", f"memory-backend-ram,id=p{number},size=256M")),
        *("-device", "nvdimm,id=nvdimm0,memdev=p0,node=0", "-device", "nvdimm,id=nvdimm1,memdev=p1,node=2"),
    ),
    append="memhp_default_state=online_movable",
    machine="q35,nvdimm=on,hmat=on",
)

_A, _B = 0x1000, 0x1001
_MIB = 1 << 20

# Firmware that names its memory: DDR5 and persistent modules, an empty slot and one that it knows nothing of. Types 19 and 20 speak
# of the memory that the guest has. A network card is on node 1.
DIMMS = Shape(
    name="dimms",
    arguments=(
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "512"),
        *_node(0, "0-1", 256),
        *_node(1, "2-3", 256),
        *("-device", "pxb-pcie,id=far,bus_nr=32,numa_node=1,bus=pcie.0", "-device", "pcie-root-port,id=way,bus=far,chassis=1"),
        *("-device", "virtio-net-pci,bus=way"),
    ),
    machine="q35,smbios-entry-point-type=64",
    smbios=(
        memory_array(_A, 3, 1024),
        memory_array(_B, 3, 1024),
        *map(
            memory_device,
            (
                Dimm(
                    handle=0x1100,
                    array=_A,
                    locator="CPU1_DIMM_A1",
                    bank="P0_Node0_Channel0_Dimm0",
                    megabytes=128,
                    type=DDR5,
                    technology=DRAM,
                    speed=5600,
                    configured_speed=4800,
                    millivolts=1100,
                    ranks=2,
                    total_width=80,
                    data_width=64,
                    manufacturer="Samsung",
                    serial="4039A1",
                    part="M321R",
                ),
                Dimm(
                    handle=0x1101,
                    array=_A,
                    locator="CPU1_DIMM_B1",
                    bank="P0_Node0_Channel1_Dimm0",
                    megabytes=128,
                    type=DDR5,
                    technology=DRAM,
                    speed=5600,
                    configured_speed=4800,
                    millivolts=1100,
                    ranks=2,
                    total_width=80,
                    data_width=64,
                    manufacturer="Samsung",
                    serial="4039A2",
                    part="M321R",
                ),
                Dimm(handle=0x1102, array=_A, locator="CPU1_DIMM_A2", bank="P0_Node0_Channel0_Dimm1"),
                Dimm(
                    handle=0x1103,
                    array=_B,
                    locator="CPU2_DIMM_A1",
                    bank="P1_Node1_Channel0_Dimm0",
                    megabytes=256,
                    type=DDR5,
                    technology=DRAM,
                    speed=4800,
                    configured_speed=4800,
                    millivolts=1100,
                    ranks=1,
                    total_width=80,
                    data_width=64,
                    manufacturer="Micron",
                    serial="E81C77",
                    part="MTC20",
                ),
                Dimm(
                    handle=0x1104,
                    array=_B,
                    locator="CPU2_DIMM_A2",
                    bank="P1_Node1_Channel0_Dimm1",
                    megabytes=129408,
                    type=NON_VOLATILE,
                    technology=OPTANE,
                    speed=3200,
                    configured_speed=2666,
                    millivolts=1200,
                    ranks=1,
                    total_width=72,
                    data_width=64,
                    manufacturer="Intel",
                    serial="8F0A",
                    part="NMB1XXD128GPS",
                ),
                Dimm(
                    handle=0x1105,
                    array=_B,
                    locator="CPU2_DIMM_B1",
                    bank="P1_Node1_Channel1_Dimm0",
                    megabytes=None,
                    type=DDR5,
                    technology=DRAM,
                    manufacturer="Not Specified",
                ),
            ),
        ),
        array_address(0x1200, _A, 0, 256 * _MIB, 2),
        array_address(0x1201, _B, 256 * _MIB, 512 * _MIB, 1),
        device_address(0x1300, 0x1100, 0x1200, 0, 256 * _MIB, 1),
        device_address(0x1301, 0x1101, 0x1200, 0, 256 * _MIB, 2),
        device_address(0x1302, 0x1103, 0x1201, 256 * _MIB, 512 * _MIB),
    ),
)

SHAPES = (DIES, DIMMS, HMAT, MEMORYLESS, NVDIMM, OFFLINE, UMA)
