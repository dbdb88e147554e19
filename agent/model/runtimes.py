"""Look-ups in the table of runtimes (`agent.model.runtimes_table`): whose names these are, and how it isolates."""

from __future__ import annotations

import re

from agent.model import monitor_options
from agent.model.runtimes_table import (
    CONTAINERD,
    DOCKER,
    EMULATION,
    ENGINES,
    FIRECRACKER,
    GROUP_ALONE,
    HARDWARE,
    HEX_ID,
    HYPERVISORS,
    LIBVIRT,
    LINEAR,
    MODES,
    NAMESPACES,
    PARAVIRTUAL,
    PLAIN_GROUP,
    POD_UID,
    PODMAN,
    SYSTEMD,
    UNKNOWN,
    VIRTUAL_MACHINE,
    WASM_RUNTIMES,
    WASMTIME,
    ExecutionMode,
    MemoryMode,
    Modes,
    Paradigm,
    Role,
    Runtime,
)

__all__ = [
    "CONTAINERD",
    "DOCKER",
    "EMULATION",
    "ENGINES",
    "FIRECRACKER",
    "GROUP_ALONE",
    "HARDWARE",
    "HEX_ID",
    "HYPERVISORS",
    "LIBVIRT",
    "LINEAR",
    "MODES",
    "NAMESPACES",
    "PARAVIRTUAL",
    "PLAIN_GROUP",
    "PODMAN",
    "POD_UID",
    "RUNTIMES",
    "SYSTEMD",
    "UNKNOWN",
    "VIRTUAL_MACHINE",
    "WASMTIME",
    "WASM_RUNTIMES",
    "ExecutionMode",
    "MemoryMode",
    "Modes",
    "Paradigm",
    "Role",
    "Runtime",
    "engine_of",
    "identity_options",
    "is_iothread",
    "is_monitor",
    "isolation",
    "limits_group",
    "machine_name",
    "monitor",
    "owner_of_group",
    "thread_role",
    "vcpu_number",
]

RUNTIMES = {runtime.name: runtime for runtime in (*ENGINES, *HYPERVISORS, *WASM_RUNTIMES)}


def _any(patterns: list[re.Pattern[str] | None]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern.pattern})" for pattern in patterns if pattern is not None), re.DOTALL)


_MONITORS = _any([runtime.processes for runtime in HYPERVISORS])
_VCPU_THREADS = _any([runtime.vcpu_threads for runtime in HYPERVISORS])
_IOTHREADS = _any([runtime.iothreads for runtime in HYPERVISORS])
_THREAD_ROLES = [row for runtime in WASM_RUNTIMES for row in runtime.thread_roles]
_GROUPS = _any([engine.groups for engine in ENGINES])
_LIBVIRT_NAME = re.compile(r"(?:machine-)?qemu-(?:\d+-)?(.+)", re.DOTALL)
_BY_BUNDLES = {bundles: runtime for runtime in ENGINES for bundles in runtime.bundles}


def owner_of_group(path: str) -> tuple[Runtime, str] | None:
    """The engine that named a group so, and the id of what runs there.

    systemd's `SLICE:PREFIX:ID`, which a driver that is told to use cgroupfs makes a name of as it stands, says what systemd would have
    called `PREFIX-ID.scope` (runc, libcontainer/cgroups/systemd).
    """
    parts = path.rsplit("/", 3)
    slice_prefix_id = parts[-1].split(":")
    if len(slice_prefix_id) == 3 and slice_prefix_id[0]:
        parts[-1] = "-".join(part for part in slice_prefix_id[1:] if part) + ".scope"
    tails = [parts[-1], *("/" + "/".join(parts[-count:]) for count in (2, 3) if len(parts) > count)]
    if not any(_GROUPS.fullmatch(tail) for tail in tails):
        return None
    for engine in ENGINES:
        matches = (engine.groups.fullmatch(tail) for tail in tails) if engine.groups else ()
        match = next(filter(None, matches), None)
        if match is not None:
            return engine, next(filter(None, match.groups()))
    return None


def machine_name(owner: str, id_: str) -> str:
    """What a machine is called, by the name of its group: `machine-qemu\\x2d2\\x2dweb.scope` and `qemu-2-web` are of "web"."""
    match = _LIBVIRT_NAME.fullmatch(id_.replace(r"\x2d", "-")) if owner == LIBVIRT.name else None
    return match[1] if match else id_


def is_monitor(process: str) -> bool:
    """Whether a process of this name may run machines: descriptors of all others are not looked at."""
    return _MONITORS.fullmatch(process) is not None


def identity_options(process: str) -> tuple[monitor_options.IdentityOption, ...]:
    """Where the command line of a process of this name says which machine it runs, the option that counts most first."""
    runtime = monitor(process) if is_monitor(process) else None
    return runtime.identity if runtime else ()


def monitor(process: str) -> Runtime | None:
    """The hypervisor whose monitor has this name."""
    return next((runtime for runtime in HYPERVISORS if runtime.processes and runtime.processes.fullmatch(process)), None)


def vcpu_number(thread: str | None) -> int | None:
    """The vCPU that a monitor's thread of this name runs."""
    match = _VCPU_THREADS.fullmatch(thread) if thread else None
    return int(next(filter(None, match.groups()))) if match else None


def is_iothread(thread: str) -> bool:
    """Whether a monitor's thread of this name does input and output for the guest."""
    return _IOTHREADS.fullmatch(thread) is not None


def engine_of(bundles: str) -> Runtime | None:
    """The engine that is called so where bundles are kept: containerd's namespace, or the manager's annotation."""
    return _BY_BUNDLES.get(bundles)


def limits_group(engine: str) -> str:
    """The child of a container's group that bears its limits; "" for the group itself."""
    runtime = RUNTIMES.get(engine)
    return runtime.limits_group if runtime else ""


def isolation(program: str | None, engine: str) -> str:
    """What a container is isolated by: what runs it isolates it, whichever engine asked for it."""
    for name in (program, engine):
        runtime = RUNTIMES.get(name or "")
        if runtime is not None and runtime.paradigm != "sandbox":
            return runtime.isolation
    return NAMESPACES


def thread_role(thread: str | None) -> Role | None:
    """What a thread of this name does in a process with a Wasm runtime, whichever: they share thread pools."""
    return next((role for pattern, role in _THREAD_ROLES if pattern.fullmatch(thread or "")), None)
