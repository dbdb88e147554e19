"""agent/model/runtimes.py: one row a runtime, and nobody else who spells its names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import get_args

import pytest

from agent.model.runtimes import (
    ENGINES,
    HARDWARE,
    HYPERVISORS,
    MODES,
    NAMESPACES,
    RUNTIMES,
    WASM_RUNTIMES,
    Paradigm,
    identity_options,
    is_iothread,
    is_monitor,
    isolation,
    limits_group,
    monitor,
    thread_role,
    vcpu_number,
)
from collectors.wasm_maps.layouts import layouts_of
from tests.need import TOP

# What is written of these elsewhere: a source's own name, the driver of a domain, a directory, a word of another trade.
AMBIGUOUS = {"qemu", "kvm", "lxc", "runc", "crun", "node", "v8", "xen", "bun", "bhyve", "libvirt", "systemd", "hyperv", "cgroup", "unknown"}


def test_a_name_is_one_row() -> None:
    rows = {id(runtime): runtime.name for runtime in (*ENGINES, *HYPERVISORS, *WASM_RUNTIMES)}
    assert sorted(rows.values()) == sorted(RUNTIMES)


def test_every_row_can_be_recognised() -> None:
    for runtime in RUNTIMES.values():
        patterns = [runtime.groups, runtime.processes, runtime.files, *(pattern for pattern, _ in runtime.thread_roles)]
        words = (*runtime.clocksources, *runtime.code_words, runtime.smbios_vendor, runtime.domain_isolation)
        assert any(patterns) or any(words) or runtime in ENGINES, runtime.name
        assert runtime.isolation
    assert MODES.keys() == set(get_args(Paradigm))


def test_patterns_of_groups_and_of_vcpu_threads_give_the_id() -> None:
    for runtime in RUNTIMES.values():
        for pattern in (runtime.groups, runtime.vcpu_threads):
            assert pattern is None or pattern.groups >= 1, runtime.name


def test_a_runtime_whose_memories_are_visible_has_a_layout() -> None:
    for runtime in WASM_RUNTIMES:
        assert bool(layouts_of(runtime.name).fixed) == runtime.visible, runtime.name


@pytest.mark.parametrize(
    ("process", "name"),
    [
        ("qemu-system-x86", "qemu"),
        ("qemu-kvm", "qemu"),
        ("kvm", "qemu"),
        ("firecracker", "firecracker"),
        ("cloud-hyperviso", "cloud-hypervisor"),
        ("crosvm_gpu", "crosvm"),
        ("lkvm", "lkvm"),
        ("kvmtool", "lkvm"),
        ("kvmtop", None),
        ("kvm-pit/4711", None),
        ("kvm-nx-lpage-re", None),
        ("bash", None),
    ],
)
def test_monitors(process: str, name: str | None) -> None:
    hypervisor = monitor(process)
    assert (hypervisor and hypervisor.name) == name
    assert is_monitor(process) == (name is not None)
    assert bool(identity_options(process)) == (name is not None)


@pytest.mark.parametrize(
    ("thread", "number"),
    [
        ("CPU 0/KVM", 0),
        ("CPU 12/TCG", 12),
        ("vcpu3", 3),
        ("crosvm_vcpu7", 7),
        ("fc_vcpu 1", 1),
        ("CPU 0/KVMX", None),
        ("", None),
        (None, None),
    ],
)
def test_threads_of_vcpus(thread: str | None, number: int | None) -> None:
    assert vcpu_number(thread) == number


def test_threads_of_disks() -> None:
    assert [name for name in ("IO iothread1", "IO mon_iothread", "IO mon_iothread2", "worker") if is_iothread(name)] == [
        "IO iothread1",
        "IO mon_iothread2",
    ]


@pytest.mark.parametrize(
    ("program", "engine", "expected"),
    [
        ("runsc", "docker", "application kernel"),
        ("runc", "docker", NAMESPACES),
        (None, "kata", "virtual machine"),
        ("kata", "containerd", "virtual machine"),
        (None, "firecracker", HARDWARE),
        (None, "systemd", "cgroup"),
        ("wasmtime", "containerd", NAMESPACES),
        ("a runtime that nobody knows", "an engine that nobody knows", NAMESPACES),
    ],
)
def test_what_runs_it_isolates_it(program: str | None, engine: str, expected: str) -> None:
    assert isolation(program, engine) == expected


def test_names_that_nobody_knows() -> None:
    assert limits_group("podman") == "container"
    assert limits_group("an engine that nobody knows") == ""
    assert thread_role("a thread") is None
    assert thread_role(None) is None
    assert thread_role("V8 DefaultWorke") == "compiler"


def constants(tree: ast.Module) -> Iterator[str]:
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def test_nobody_else_spells_a_runtime() -> None:
    names = RUNTIMES.keys() - AMBIGUOUS
    spelt = {
        str(path.relative_to(TOP)): found
        for room in ("agent/collect", "agent/normalise", "collectors")
        for path in sorted((TOP / room).rglob("*.py"))
        if path.name != "layouts.py" and (found := names & set(constants(ast.parse(path.read_text()))))
    }
    assert spelt == {}
