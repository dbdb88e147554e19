"""A v2 group with every file that is read of one, for the tests of collectors/cgroup."""

from __future__ import annotations

from agent.model.values import Detail
from collectors import cgroup
from collectors.cgroup import CgroupCache, Group
from collectors.root import SysRoot

TOP = "sys/fs/cgroup"
A = "0a" * 32
HERE = f"system.slice/docker-{A}.scope"

FILES = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
    "cgroup.procs": "10\n",
    "cgroup.type": "domain\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
    "cgroup.freeze": "1\n",
    "cgroup.threads": "10\n11\n11\n12\n13\n",
    "cgroup.stat": "nr_descendants 2\nnr_dying_descendants 3\nnr_subsys_memory 1\n",
    "cgroup.max.depth": "max\n",
    "cgroup.max.descendants": "7\n",
    "cpu.max": "25000 100000\n",
    "cpu.max.burst": "5000\n",
    "cpu.weight": "39\n",
    "cpu.weight.nice": "4\n",
    "cpu.idle": "1\n",
    "cpu.uclamp.min": "20.00\n",
    "cpu.uclamp.max": "max\n",
    "cpu.stat": "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 8\nnr_throttled 7\nthrottled_usec 6\nnr_bursts 2\nburst_usec 1\n",
    "cpu.stat.local": "throttled_usec 5\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\n",
    "irq.pressure": "full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n",
    "io.pressure": "some avg10=0.00 total=13\nfull avg10=0.00 total=14\n",
    "cpuset.cpus": "0-3\n",
    "cpuset.cpus.effective": "0-1\n",
    "cpuset.cpus.exclusive": "1-2\n",
    "cpuset.cpus.exclusive.effective": "1\n",
    "cpuset.cpus.partition": "root invalid (Parent is not a partition root)\n",
    "cpuset.mems": "\n",
    "cpuset.mems.effective": "0-1\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.swap.current": "1\n",
    "memory.swap.peak": "2\n",
    "memory.swap.high": "max\n",
    "memory.swap.max": "3\n",
    "memory.zswap.current": "4\n",
    "memory.zswap.max": "max\n",
    "memory.zswap.writeback": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n",
    "memory.events.local": "max 2\noom_kill 0\n",
    "memory.swap.events": "high 0\nmax 1\nfail 0\n",
    "memory.numa_stat": "anon N0=100 N1=20\nfile N0=3 N1=0\nkernel_stack N0=7 N1=0\n",
    "pids.current": "3\n",
    "pids.peak": "5\n",
    "pids.max": "64\n",
    "pids.events": "max 9\n",
    "pids.events.local": "max 4\n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.current": "0\n",
    "hugetlb.2MB.rsvd.max": "4194304\n",
    "hugetlb.2MB.events": "max 1\n",
    "hugetlb.2MB.events.local": "max 0\n",
    "hugetlb.2MB.numa_stat": "total=2097152 N0=0 N1=2097152\n",
}


def read_groups(root: SysRoot, cache: CgroupCache | None = None, detail: Detail = "document") -> dict[str, Group]:
    """All groups by path, without a cache those of a first pass."""
    return {group.path: group for group in cgroup.read(root, cache or CgroupCache(), detail).groups}
