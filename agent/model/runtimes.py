"""Every runtime of workloads that is known by name, one row each: container engines, hypervisors, Wasm runtimes, the service manager.

A row says by which names of control groups, processes, threads and files a runtime is recognised, and how it isolates. A new hypervisor or
engine is a new row; a new Wasm runtime a row and, if its memories can be told from other mappings, its layout in
`collectors.wasm_maps.layouts`. Names are those that the programs' own sources give.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from agent.model import monitor_options
from agent.model.values import Fact

Paradigm = Literal["virtualization", "containerization", "sandbox", "process"]
ExecutionMode = Literal["two-level", "single-level", "application-level"]
MemoryMode = Literal["independent-physical", "shared-kernel", "linear"]
Role = Literal["vcpu", "iothread", "emulator", "vhost", "kvm", "guest", "executor", "compiler", "collector"]
"""What a thread does. Of a machine: "vhost" and "kvm" are the kernel's. Of a Wasm runtime: "guest" runs guest code, "executor" runs tasks,
guests perhaps among them; "compiler" and "collector" run none."""


class Modes(NamedTuple):
    """How a paradigm executes its workloads, and what memory they have."""

    execution: ExecutionMode
    memory: MemoryMode


MODES: dict[Paradigm, Modes] = {
    "virtualization": Modes("two-level", "independent-physical"),
    "containerization": Modes("single-level", "shared-kernel"),
    "sandbox": Modes("application-level", "linear"),
    "process": Modes("single-level", "shared-kernel"),
}

NAMESPACES = "namespaces and cgroup"
HARDWARE = "hardware virtualization"
EMULATION = "emulation"
LINEAR = "bounds-checked linear memory"


class Runtime(Fact, frozen=True, kw_only=True):
    """One runtime. A pattern matches a whole name.

    `groups`: its control groups, as NAME or "/PARENT/NAME", and the id of what runs there. `limits_group`: the child group that bears the
    limits. `bundles`: what containerd's directories, or the annotations of a bundle, call the engine.
    `domain_isolation`: of libvirt's domains of this type. `processes`: the monitors of machines, as the kernel cuts their names.
    `identity`: where a monitor's command line says which machine it runs, the option that counts most first: no other word of a command
    line is kept. `vcpu_threads`: threads, and the number of their vCPU.
    `clocksources`, `smbios_vendor`: what a guest of this hypervisor sees, this host, too.
    `files`: the programs and libraries that a process maps for execution. `map_words`: one of them is in the map of every such process.
    `code_words`: one of them is in every program that contains the runtime, stripped or not. `visible`: its memories can be told from
    other mappings. `learns`: their reservations and guards are the embedder's to choose. `c_library`: linked through its C interface; the
    threads that it starts only compile. `thread_roles`: what threads do, by name.
    """

    name: str
    paradigm: Paradigm
    isolation: str
    groups: re.Pattern[str] | None = None
    limits_group: str = ""
    bundles: tuple[str, ...] = ()
    domain_isolation: str | None = None
    processes: re.Pattern[str] | None = None
    identity: tuple[monitor_options.IdentityOption, ...] = ()
    vcpu_threads: re.Pattern[str] | None = None
    iothreads: re.Pattern[str] | None = None
    clocksources: tuple[str, ...] = ()
    smbios_vendor: str | None = None
    files: re.Pattern[str] | None = None
    c_library: re.Pattern[str] | None = None
    map_words: tuple[bytes, ...] = ()
    code_words: tuple[bytes, ...] = ()
    visible: bool = True
    learns: bool = False
    thread_roles: tuple[tuple[re.Pattern[str], Role], ...] = ()


_HEX = r"[0-9a-f]{64}"
POD_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"


def _engine(
    name: str, groups: str | None = None, *, isolation: str = NAMESPACES, limits_group: str = "", bundles: tuple[str, ...] = ()
) -> Runtime:
    return Runtime(
        name=name,
        paradigm="containerization",
        isolation=isolation,
        groups=re.compile(groups, re.DOTALL) if groups else None,
        limits_group=limits_group,
        bundles=bundles,
    )


DOCKER = _engine("docker", rf"docker-({_HEX})\.scope|/docker/({_HEX})", bundles=("moby",))
# On v2 Podman sets its limits on a group inside the scope.
PODMAN = _engine("podman", rf"libpod-({_HEX})(?:\.scope)?", limits_group="container", bundles=("libpod",))
CONTAINERD = _engine("containerd", rf"(?:cri-containerd|nerdctl)-({_HEX})\.scope")
# The kernel's own containers, of libvirt's domains and of lxc.
_LXC = Runtime(
    name="lxc",
    paradigm="containerization",
    isolation=NAMESPACES,
    groups=re.compile(r"lxc\.payload\.(.+)|/lxc/([^/]+)", re.DOTALL),
    domain_isolation=NAMESPACES,
)
LIBVIRT = Runtime(
    name="libvirt",
    paradigm="virtualization",
    isolation=HARDWARE,
    groups=re.compile(r"(machine-qemu\\x2d.+)\.scope|(qemu-\d+-.+)\.libvirt-qemu", re.DOTALL),
)
# The jailer's groups; threads: src/vmm/src/vstate/vcpu.rs.
FIRECRACKER = Runtime(
    name="firecracker",
    paradigm="virtualization",
    isolation=HARDWARE,
    groups=re.compile(r"/firecracker/([0-9A-Za-z-]{1,64})"),
    processes=re.compile(r"firecracker"),
    identity=monitor_options.FIRECRACKER,
    vcpu_threads=re.compile(r"fc_vcpu (\d{1,4})"),
)
SYSTEMD = Runtime(name="systemd", paradigm="process", isolation="cgroup")

ENGINES = (
    DOCKER,
    PODMAN,
    CONTAINERD,
    _engine("cri-o", rf"crio-({_HEX})(?:\.scope)?", bundles=("cri-o",)),
    # The kubelet's groups with cgroupfs, whichever engine is below it.
    _engine("kubernetes", rf"/pod(?:{POD_UID})/({_HEX})"),
    _engine("kata", rf"kata_({_HEX})|/kata_overhead/({_HEX})", isolation="virtual machine"),
    FIRECRACKER,
    _LXC,
    LIBVIRT,
    _engine("libvirt-lxc", r"machine-lxc\\x2d\d+\\x2d(.+)\.scope|lxc-\d+-(.+)\.libvirt-lxc"),
    _engine("nspawn", r"systemd-nspawn@(.+)\.service|machine-(?!qemu)(?!lxc)(.+)\.scope"),
    # Whichever engine they run for; runsc is gVisor.
    _engine("runc"),
    _engine("crun"),
    _engine("runsc", isolation="application kernel"),
    SYSTEMD,
)
"""The first whose pattern matches owns a control group; what no other engine owns may be a unit of systemd's."""

# With -name debug-threads=on, which libvirt sets; QEMU's monitor has an iothread for itself, which moves no disk's data.
_QEMU = Runtime(
    name="qemu",
    paradigm="virtualization",
    isolation=HARDWARE,
    domain_isolation=EMULATION,
    processes=re.compile(r"qemu.*|kvm(?:-(?!pit|nx).*)?"),
    identity=monitor_options.QEMU,
    vcpu_threads=re.compile(r"CPU (\d{1,4})/(?:KVM|TCG)"),
    iothreads=re.compile(r"IO (?!mon_iothread$).*"),
    # It runs machines under KVM, and without.
    smbios_vendor="QEMU",
)


def _hypervisor(
    name: str,
    processes: str | None = None,
    *,
    identity: tuple[monitor_options.IdentityOption, ...] = (),
    vcpu_threads: str | None = None,
    is_domain: bool = False,
    clocksources: tuple[str, ...] = (),
    smbios_vendor: str | None = None,
) -> Runtime:
    return Runtime(
        name=name,
        paradigm="virtualization",
        isolation=HARDWARE,
        domain_isolation=HARDWARE if is_domain else None,
        processes=re.compile(processes) if processes else None,
        identity=identity,
        vcpu_threads=re.compile(vcpu_threads) if vcpu_threads else None,
        clocksources=clocksources,
        smbios_vendor=smbios_vendor,
    )


HYPERVISORS = (
    _QEMU,
    FIRECRACKER,
    _hypervisor("cloud-hypervisor", r"cloud-hyperviso.*", identity=monitor_options.CLOUD_HYPERVISOR, vcpu_threads=r"vcpu(\d{1,4})"),
    _hypervisor("crosvm", r"crosvm.*", identity=monitor_options.CROSVM, vcpu_threads=r"crosvm_vcpu(\d{1,4})"),
    # The program of kvmtool.
    _hypervisor("lkvm", r"lkvm|kvmtool", identity=monitor_options.LKVM),
    _hypervisor("stratovirt", r"stratovirt", identity=monitor_options.STRATOVIRT),
    _hypervisor("dragonball", r"dragonball"),
    _hypervisor("kvm", is_domain=True, clocksources=("kvm-clock",)),
    _hypervisor("hyperv", is_domain=True, clocksources=("hyperv_clocksource_tsc_page", "hyperv_clocksource_msr")),
    _hypervisor("xen", is_domain=True, clocksources=("xen",), smbios_vendor="Xen"),
    _hypervisor("vmware", is_domain=True, smbios_vendor="VMware, Inc."),
    _hypervisor("bhyve", is_domain=True),
    _hypervisor("hvf", is_domain=True),
    _hypervisor("virtualbox", smbios_vendor="innotek GmbH"),
    _hypervisor("parallels", smbios_vendor="Parallels International GmbH."),
)
"""Those that have processes of their own, types of libvirt's domains (formatdomain), and whose guest this host may be."""

_SO = r"(\.so|\.so\..*|[-.].*\.so)"


def _wasm(
    name: str,
    files: str | None,
    *,
    map_words: tuple[bytes, ...] = (),
    code_words: tuple[bytes, ...] = (),
    visible: bool = True,
    thread_roles: tuple[tuple[str, Role], ...] = (),
    learns: bool = False,
    c_library: str | None = None,
) -> Runtime:
    return Runtime(
        name=name,
        paradigm="sandbox",
        isolation=LINEAR,
        files=re.compile(files) if files else None,
        map_words=map_words,
        code_words=code_words,
        visible=visible,
        thread_roles=tuple((re.compile(pattern), role) for pattern, role in thread_roles),
        learns=learns,
        c_library=re.compile(c_library) if c_library else None,
    )


# The word "wasmtime" alone is in other runtimes, too.
WASMTIME = _wasm(
    "wasmtime",
    rf"_?libwasmtime{_SO}|libextism[-_\w]*\.so|wasmtime|wasmtime-min|spin|containerd-shim-(wasmtime|spin)[-\w]*",
    map_words=(b"wasm", b"extism", b"/spin", b"shim-spin"),
    code_words=(b"wasm-memory-image", b".wasmtime.engine"),
    # An embedder in Rust runs its tasks on tokio's threads.
    thread_roles=((r"tokio-r(untime|t)-w.*", "executor"),),
    learns=True,
    c_library=r".*/_?libwasmtime\.(so|so\..*)",
)
# Threads are as the kernel cuts their names.
WASM_RUNTIMES = (
    WASMTIME,
    _wasm(
        "wasmer",
        rf"libwasmer[-_\w]*{_SO}|wasmer([-.].*\.so)?|containerd-shim-wasmer[-\w]*",
        map_words=(b"wasm",),
        code_words=(b"wasmer_vm",),
        thread_roles=((r"TokioTaskManag.*|wasmer-sdk-unif.*", "executor"),),
    ),
    _wasm(
        "node",
        rf"node|nodejs|libnode{_SO}",
        map_words=(b"/node", b"/libnode"),
        # V8's workers compile, and help to collect.
        thread_roles=((r"V8 DefaultWorke.*|V8 ?Worker.*", "compiler"),),
    ),
    _wasm("wasmedge", rf"libwasmedge{_SO}|wasmedge|containerd-shim-wasmedge[-\w]*", map_words=(b"wasm",)),
    _wasm("wamr", rf"iwasm[-\w]*|libiwasm{_SO}", map_words=(b"wasm",)),
    _wasm("spidermonkey", rf"libmozjs[-\w]*{_SO}|js\d+", map_words=(b"mozjs", b"/js"), code_words=(b"js::wasm",)),
    # Their memories are as large as each module declares, or lie on the heap: not told from other mappings.
    _wasm("deno", r"deno", map_words=(b"/deno",), visible=False),
    _wasm("workerd", r"workerd", map_words=(b"/workerd",), visible=False),
    _wasm(
        "bun",
        r"bun",
        map_words=(b"/bun",),
        visible=False,
        # JavaScriptCore's.
        thread_roles=((r"JITWorker|JSCWarmUp", "compiler"), (r"HeapHelper", "collector")),
    ),
    _wasm("wasm3", rf"wasm3([-.].*\.so)?|libwasm3{_SO}", map_words=(b"wasm",), visible=False),
    # In a program of its own, without Node.
    _wasm("v8", None, code_words=(b"WasmMemoryObject",)),
)

RUNTIMES = {runtime.name: runtime for runtime in (*ENGINES, *HYPERVISORS, *WASM_RUNTIMES)}


def _any(patterns: list[re.Pattern[str] | None]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern.pattern})" for pattern in patterns if pattern is not None), re.DOTALL)


_MONITORS = _any([runtime.processes for runtime in HYPERVISORS])
_VCPU_THREADS = _any([runtime.vcpu_threads for runtime in HYPERVISORS])
_IOTHREADS = _any([runtime.iothreads for runtime in HYPERVISORS])
_THREAD_ROLES = [row for runtime in WASM_RUNTIMES for row in runtime.thread_roles]
_BY_BUNDLES = {bundles: runtime for runtime in ENGINES for bundles in runtime.bundles}


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
