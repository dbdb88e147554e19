"""Machines that are made, not recorded: as many CPUs and nodes as they are told."""

from __future__ import annotations

from agent.model.values import CpuSet
from tests.hosts.memory_root import CPU, NODE, Files


class Machine:
    """A machine as large as it is told: packages, of dies, of cores, of two threads that are far apart; a node a die, or more."""

    def __init__(self, packages: int, dies: int, cores: int, nodes: int, possible: int | None = None) -> None:
        self.count = packages * dies * cores * 2
        self.possible = possible or self.count
        self.half = self.count // 2
        self.package = self.half // packages
        self.die = self.package // dies
        self.nodes = nodes

    def span(self, cpu: int, size: int) -> CpuSet:
        """The CPUs of the group of `size` cores that a CPU is in."""
        first = cpu % self.half // size * size
        return CpuSet((*range(first, first + size), *range(first + self.half, first + self.half + size)))

    def files(self) -> Files:
        found: Files = {
            f"{CPU}/online": f"0-{self.count - 1}\n".encode(),
            f"{CPU}/present": f"0-{self.count - 1}\n".encode(),
            f"{CPU}/possible": f"0-{self.possible - 1}\n".encode(),
            f"{CPU}/kernel_max": b"5119\n",
            f"{CPU}/isolated": b"\n",
            f"{CPU}/hotplug/states": b"  0: offline\n236: online\n",
            f"{NODE}/online": f"0-{self.nodes - 1}\n".encode(),
            f"{NODE}/has_memory": f"0-{self.nodes - 1}\n".encode(),
            "proc/cpuinfo": b"".join(self.processor(cpu) for cpu in range(self.count)),
            "proc/meminfo": f"MemTotal: {self.nodes << 20} kB\nMemFree: {self.nodes << 19} kB\n".encode(),
            "proc/stat": b"".join(f"cpu{cpu} 1 2 3 4 5 6 7 8 0 0\n".encode() for cpu in range(self.count)) + b"ctxt 9\nbtime 1700000000\n",
        }
        sets = {size: {cpu: self.both(self.span(cpu, size)) for cpu in range(0, self.half, size)} for size in {1, self.die, self.package}}
        for cpu in range(self.count):
            found |= self.cpu(cpu, {size: sets[size][cpu % self.half // size * size] for size in sets})
        for node in range(self.nodes):
            found |= self.node(node)
        return found

    def both(self, cpus: CpuSet) -> tuple[bytes, bytes]:
        """As a mask of as many bits as CPUs are possible, and as a list."""
        words = -(-self.possible // 32)
        digits = f"{cpus.mask:0{words * 8}x}"
        return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8)).encode() + b"\n", f"{cpus}\n".encode()

    def processor(self, cpu: int) -> bytes:
        core = cpu % self.half
        return (
            f"processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\n"
            f"model name\t: A Machine of {self.count} CPUs\nstepping\t: 6\nmicrocode\t: 0x1\n"
            f"physical id\t: {core // self.package}\nsiblings\t: {self.package * 2}\ncore id\t\t: {core % self.package}\n"
            f"cpu cores\t: {self.package}\nflags\t\t: {'fpu vme de pse tsc msr pae mce ' * 20}\n\n"
        ).encode()

    def cpu(self, cpu: int, sets: dict[int, tuple[bytes, bytes]]) -> Files:
        here, core = f"{CPU}/cpu{cpu}", cpu % self.half
        found: Files = {
            f"{here}/hotplug/state": b"236\n",
            f"{here}/hotplug/target": b"236\n",
            f"{here}/topology/core_id": f"{core % self.package}\n".encode(),
            f"{here}/topology/die_id": f"{core % self.package // self.die}\n".encode(),
            f"{here}/topology/physical_package_id": f"{core // self.package}\n".encode(),
            f"{here}/topology/cluster_id": b"-1\n",
            f"{here}/cpufreq/cpuinfo_max_freq": b"3500000\n",
        }
        for names, size in (
            (("core_cpus", "thread_siblings", "cluster_cpus"), 1),
            (("die_cpus",), self.die),
            (("package_cpus", "core_siblings"), self.package),
        ):
            for name in names:
                found[f"{here}/topology/{name}"], found[f"{here}/topology/{name}_list"] = sets[size]
        for index, (level, kind, size, kibibytes) in enumerate(
            ((1, "Data", 1, 48), (1, "Instruction", 1, 32), (2, "Unified", 1, 1280), (3, "Unified", self.die, 36864))
        ):
            cache = f"{here}/cache/index{index}"
            found |= {
                f"{cache}/level": f"{level}\n".encode(),
                f"{cache}/type": f"{kind}\n".encode(),
                f"{cache}/size": f"{kibibytes}K\n".encode(),
                f"{cache}/id": f"{core // size}\n".encode(),
                f"{cache}/coherency_line_size": b"64\n",
                f"{cache}/ways_of_associativity": b"12\n",
                f"{cache}/number_of_sets": b"64\n",
                f"{cache}/shared_cpu_map": sets[size][0],
                f"{cache}/shared_cpu_list": sets[size][1],
            }
        return found

    def node(self, node: int) -> Files:
        here, dies = f"{NODE}/node{node}", self.half // self.die
        cpus = self.span(node * self.die, self.die) if node < dies else CpuSet()
        return {
            f"{here}/cpumap": self.both(cpus)[0],
            f"{here}/cpulist": self.both(cpus)[1],
            f"{here}/meminfo": f"Node {node} MemTotal: {1 << 20} kB\nNode {node} MemFree: {1 << 19} kB\n".encode(),
            f"{here}/numastat": b"numa_hit 1\nnuma_miss 2\n",
            f"{here}/distance": b" ".join(b"10" if other == node else b"20" for other in range(self.nodes)) + b"\n",
            f"{here}/hugepages/hugepages-2048kB/nr_hugepages": b"0\n",
            f"{here}/hugepages/hugepages-2048kB/free_hugepages": b"0\n",
        }
