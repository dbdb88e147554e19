"""A workload as it would be under another paradigm: the same threads and the same memory, in another wrapping."""

from __future__ import annotations

from msgspec.structs import replace

from agent.model.facts.cgroup import WorkloadMemory
from agent.model.guest import Guest
from agent.model.runtimes import MODES, Paradigm
from agent.model.sandbox import LinearMemory
from agent.model.workload import VCpu, Workload
from agent.overhead.activity import scheduled
from agent.overhead.translation import PAGE_BYTES, PER_TABLE

_GUARDED_BYTES = 4 << 30


def become(workload: Workload, paradigm: Paradigm) -> tuple[Workload, list[str]]:
    """The workload, and what was assumed of it. What it used is not known on every host, and then neither is what follows from it."""
    used, huge = used_memory(workload)
    threads = scheduled(workload)
    same = replace(
        workload,
        paradigm=paradigm,
        execution_mode=MODES[paradigm].execution,
        memory_mode=MODES[paradigm].memory,
        guest=None,
        vcpus=(),
        memories=(),
        threads=threads,
        memory=WorkloadMemory(),
    )
    if used is None:
        return same if paradigm != "virtualization" else _machine(same, None, None), ["its memory is not known"]
    match paradigm:
        case "virtualization":
            made = _machine(same, used, huge)
            return made, [
                f"a KVM machine with a vCPU for each of its threads ({len(made.vcpus)}), no iothreads, no video memory, pages as now"
            ]
        case "sandbox":
            linear = LinearMemory(
                base="0x0",
                size_bytes=used,
                size_pages=-(-used // 65536),
                reserved_bytes=_GUARDED_BYTES,
                layout="wasmtime",
                confidence="low",
                resident_bytes=used,
            )
            memory = WorkloadMemory(allotted_bytes=used, backing_bytes=used, resident_bytes=used, anon_huge_bytes=huge)
            return replace(same, memories=(linear,), memory=memory), [
                "the same work compiled to WebAssembly for wasmtime, in one linear memory with guard pages"
            ]
        case _:
            tables = used // PER_TABLE + PAGE_BYTES
            stat = {"anon": used, "file_mapped": 0} | ({} if huge is None else {"anon_thp": huge})
            memory = WorkloadMemory(page_table_bytes=tables, stat=stat, resident_bytes=used, anon_huge_bytes=huge)
            return replace(same, memory=memory, processes=1), ["one process with as many threads, its page tables for 4 KiB pages"]


def _machine(same: Workload, used: int | None, huge: int | None) -> Workload:
    vcpus = tuple(VCpu(number=number, thread=thread) for number, thread in enumerate(same.threads))
    guest = Guest(accelerator="kvm", iothreads=0, video_bytes=0)
    return replace(same, guest=guest, vcpus=vcpus, memory=WorkloadMemory(backing_bytes=used, backing_huge_bytes=huge))


def used_memory(workload: Workload) -> tuple[int | None, int | None]:
    """Resident bytes of what the application uses, whatever wraps it, and how many of them lie in huge pages."""
    held, stat = workload.memory, workload.memory.stat
    match workload.paradigm:
        case "virtualization":
            return held.backing_bytes, held.backing_huge_bytes
        case "containerization":
            if "anon" in stat:
                return stat["anon"], stat.get("anon_thp")
            return stat.get("total_rss"), stat.get("total_rss_huge")
        case "sandbox":
            return held.backing_bytes, None if held.anon_huge_bytes is None or held.backing_bytes is None else min(
                held.anon_huge_bytes, held.backing_bytes
            )
    return held.resident_bytes, held.anon_huge_bytes
