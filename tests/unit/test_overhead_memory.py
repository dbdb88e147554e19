"""agent/overhead/memory.py: what a layer adds to its workload's memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.overhead import parameters
from agent.overhead.memory import container_kernel_bytes, qemu_bytes, sandbox_bytes

MIB = 1 << 20


def test_qemu_as_kubevirt_reckons() -> None:
    """1 GiB, 1 vCPU, 1 iothread, 32 MiB of video: 30 + 8 + 8 + 32 MiB; the page tables of the guest's memory (2 MiB) are not QEMU's."""
    assert qemu_bytes(30 * MIB, 8 * MIB, 1, 8 * MIB, 1, 32 * MIB) == 78 * MIB


def test_container() -> None:
    assert container_kernel_bytes(26 * 1024, 10, 64 * 1024, 2, 60 * 1024, 4, 8192) == (260 + 128 + 240 + 8) * 1024


def test_sandbox() -> None:
    assert sandbox_bytes(1, 65536, 65536) == 12288
    assert sandbox_bytes(0, 65536, 131072) == 0
    assert sandbox_bytes(2, 70000, 65536, tables=4) == 70000 - 65536 + 2 * 4 * 4096


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 8))
def test_machine_over_container_over_sandbox(vcpus: int, threads: int, memories: int) -> None:
    """The same application, at default parameters, one CPU of the host for each of its threads."""
    machine = qemu_bytes(parameters.QEMU_BASE.mode, parameters.QEMU_PER_VCPU.mode, vcpus, parameters.QEMU_PER_IOTHREAD.mode, 0, 0)
    container = container_kernel_bytes(
        parameters.KERNEL_PER_THREAD.mode, threads, parameters.KERNEL_PER_PROCESS.mode, 1, parameters.KERNEL_PER_CPU.mode, vcpus, 4096
    )
    assert machine > container > sandbox_bytes(memories, 65536, 65536, parameters.PAGE_TABLES.mode)
