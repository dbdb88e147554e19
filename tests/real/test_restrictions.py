"""What the agent itself may use is told, and cuts nothing else of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from agent.config import Config
from agent.model.physical import Physical
from agent.model.values import CpuSet
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from tests.lab.objects import ours
from tests.need import need

pytestmark = pytest.mark.real


@pytest.fixture
def one_cpu() -> Iterator[int]:
    """This process on one CPU, as under `taskset`."""
    need(cpus=2)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield min(before)
    os.sched_setaffinity(0, before)


def host() -> Physical:
    sources = ("sys_cpu", "sys_node", "hugepages", "proc_cpuinfo", "proc_vm", "proc_stat", "proc_self")
    return take_snapshot(Session(root=SysRoot("/"), config=Config(only=sources))).physical


def test_the_agents_affinity_does_not_shrink_the_host(one_cpu: int) -> None:
    bound = host()
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    free = host()
    assert bound.restrictions is not None
    assert bound.restrictions.allowed_cpus == CpuSet((one_cpu,))
    assert free.restrictions != bound.restrictions
    assert (ours(bound), bound.cpus, bound.cpu_kinds) == (ours(free), free.cpus, free.cpu_kinds)
    assert len(bound.cpus.online) > 1
