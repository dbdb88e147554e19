"""Scheduling domains of the recorded machines: derived from topology alone they are what the kernel built there."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.logical import KernelCpu
from agent.normalise import normalise
from collectors.root import SysRoot
from tests.hosts.trees import TINY, unpack
from tests.lab import oracles
from tests.lab.oracles import Set


def chains(cpu: KernelCpu) -> dict[int, list[Set]]:
    return {entry.cpu: [frozenset(cpus) for cpus in entry.domains] for entry in cpu.map}


def derived(tree: Path) -> KernelCpu:
    """With all taken away that the kernel says of its domains itself."""
    sample = take(SysRoot(tree), Config(root=str(tree)), Caches())
    return normalise(replace(sample, host=replace(sample.host, schedstat=None, sched_debug=None))).logical.cpu


def named(tree: Path, cpu: int) -> list[str]:
    """What debugfs calls a CPU's domains. DIE is called PKG since Linux f577cd57bfaa (6.7)."""
    names = sorted((tree / f"sys/kernel/debug/sched/domains/cpu{cpu}").glob("domain*/name"), key=lambda path: int(path.parts[-2][6:]))
    return [path.read_text().strip().replace("DIE", "PKG") for path in names]


def compare(tree: Path) -> str:
    """Fails where our domains are not the kernel's, derived or read; else a line for people."""
    kernel = oracles.schedstat((tree / "proc/schedstat").read_text())
    guessed = derived(tree)
    stated = normalise(take(SysRoot(tree), Config(root=str(tree)), Caches())).logical.cpu
    assert chains(guessed) == kernel
    assert chains(stated) == kernel
    assert {domain.origin for domain in guessed.domains} <= {"inferred"}
    assert {domain.origin for domain in stated.domains} <= {None}
    for cpu in kernel:
        names = named(tree, cpu)
        ours = [domain.name for domain in guessed.domains if cpu in (domain.members or domain.cpus)]
        assert not names or ours == names
    count = sum(map(len, kernel.values()))
    names = sorted({domain.name or "?" for domain in guessed.domains})
    told = f", {len(named(tree, 0))} names of CPU 0 from debugfs" if named(tree, 0) else ""
    return f"derived = kernel's: {count} domains of {len(kernel)} CPUs, {len(guessed.domains)} distinct ({', '.join(names)}){told}"


@pytest.mark.parametrize("name", TINY)
def test_derived_domains_are_the_kernels(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = compare(unpack(name, tmp_path))
    with capsys.disabled():
        print(f"\n{name:12} {said}", end="")
