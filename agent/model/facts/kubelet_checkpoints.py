"""What the kubelet gave to whom: /var/lib/kubelet/cpu_manager_state and memory_manager_state.

Source: pkg/kubelet/cm/cpumanager/state and pkg/kubelet/cm/memorymanager/state of Kubernetes.
"""

from __future__ import annotations

from agent.model.values import CpuSet, Fact


class CpuGrant(Fact, frozen=True):
    """CPUs that the kubelet gave to a container alone.

    Without a pod's uid, `container` is the container's id (Kubernetes before 1.18), else its name in the pod. None: they are the whole
    pod's.
    """

    pod_uid: str | None
    container: str | None
    cpus: CpuSet


class CpuManager(Fact, frozen=True, kw_only=True):
    """The CPU manager: its policy ("none", "static"), the CPUs of everybody who was given none, and what it gave."""

    policy: str | None = None
    shared_cpus: CpuSet | None = None
    grants: tuple[CpuGrant, ...] = ()


class MemoryGrant(Fact, frozen=True):
    """The memory nodes that the kubelet gave to a container, or to a whole pod where `container` is None."""

    pod_uid: str
    container: str | None
    nodes: CpuSet


class MemoryManager(Fact, frozen=True, kw_only=True):
    """The memory manager: its policy ("None", "Static"), and what it gave."""

    policy: str | None = None
    grants: tuple[MemoryGrant, ...] = ()


class KubeletCheckpoints(Fact, frozen=True, kw_only=True):
    """Both files. None: not there, not open to the agent, or not understood."""

    cpu: CpuManager | None = None
    memory: MemoryManager | None = None
