"""The table of runtimes, one row each: container engines, batch systems, hypervisors, Wasm runtimes, the service manager.

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
GROUP_ALONE = "cgroup"
VIRTUAL_MACHINE = "virtual machine"
HARDWARE = "hardware virtualization"
PARAVIRTUAL = "paravirtualization"
EMULATION = "emulation"
LINEAR = "bounds-checked linear memory"


class Runtime(Fact, frozen=True, kw_only=True):
    """One runtime. A pattern matches a whole name.

    `groups`: its control groups, as NAME, "/PARENT/NAME" or "/GRANDPARENT/PARENT/NAME", and the id of what runs there. `limits_group`:
    the child group that bears the limits. `bundles`: what containerd's directories, or the annotations of a bundle, call the engine.
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


HEX_ID = r"[0-9a-f]{64}"
"""A container's id as Docker, containerd's CRI, CRI-O, Podman and most others make it."""
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# A part of a pod's group, by the kubelet's own names, whatever is before it: `kubepods-burstable-pod`, and `kubelet-` before that below
# `--cgroup-root=/kubelet` (pkg/kubelet/cm/cgroup_manager_linux.go). A static pod's UID is a hash of its manifest: 32 digits.
POD_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
POD_GROUP = rf"(?:[^/]*-)?pod(?:{POD_UID})(?:\.slice)?"


def _engine(
    name: str,
    groups: str | None = None,
    *,
    paradigm: Paradigm = "containerization",
    isolation: str = NAMESPACES,
    limits_group: str = "",
    bundles: tuple[str, ...] = (),
) -> Runtime:
    return Runtime(
        name=name,
        paradigm=paradigm,
        isolation=isolation,
        groups=re.compile(groups, re.DOTALL) if groups else None,
        limits_group=limits_group,
        bundles=bundles,
    )


def _batch(name: str, groups: str) -> Runtime:
    """A batch system: its jobs are processes in a group, without namespaces."""
    return _engine(name, groups, paradigm="process", isolation=GROUP_ALONE)


# BuildKit's ids have 25 digits and letters (identity.NewID()), and Docker's builder calls its scopes as Docker's are called. GitHub's and
# Azure's runners give their job's group as `cgroup-parent` in daemon.json; `moby` is Docker's namespace in containerd.
DOCKER = _engine(
    "docker",
    rf"docker-({HEX_ID}|[0-9a-z]{{25}})(?:\.scope)?|/(?:docker|moby|actions_job|azpl_job)/({HEX_ID})(?:\.scope)?",
    bundles=("moby",),
)
# On v2 Podman sets its limits on a group inside the scope. A service of Quadlet's is split: `libpod-payload-ID` beside `runtime`, which
# holds conmon (libpod/oci_conmon_linux.go).
PODMAN = _engine(
    "podman",
    rf"libpod-(?:payload-)?({HEX_ID})(?:\.scope)?|/libpod(?:_parent)?/({HEX_ID})",
    limits_group="container",
    bundles=("libpod",),
)
# Without a path of its own, a container's is /NAMESPACE/ID (containerd's oci.WithDefaultSpec()); nerdctl's namespace is "default".
CONTAINERD = _engine(
    "containerd",
    rf"(?:cri-containerd|nerdctl|containerd)-({HEX_ID})(?:\.scope)?|/(?:default|k8s\.io)/({HEX_ID})",
)
# The kernel's own containers, of libvirt's domains and of lxc (lxc.payload/NAME before LXC 4).
_LXC = Runtime(
    name="lxc",
    paradigm="containerization",
    isolation=NAMESPACES,
    groups=re.compile(r"lxc\.payload\.(.+)|/lxc\.payload/([^/]+)|/lxc/([^/]+)", re.DOTALL),
    domain_isolation=NAMESPACES,
)
# Scopes of machined, the groups of hosts without systemd, and those of libvirt before 1.0.5 (src/util/vircgroup.c).
LIBVIRT = Runtime(
    name="libvirt",
    paradigm="virtualization",
    isolation=HARDWARE,
    groups=re.compile(r"(machine-qemu\\x2d.+)\.scope|([^/]+)\.libvirt-qemu|/libvirt/qemu/([^/]+)", re.DOTALL),
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
SYSTEMD = Runtime(name="systemd", paradigm="process", isolation=GROUP_ALONE)
PLAIN_GROUP = Runtime(name="cgroup", paradigm="process", isolation=GROUP_ALONE)
"""A group with limits that nobody here owns, or that the user pointed out."""
UNKNOWN = _engine("unknown", rf"(?!.*conmon-)(?:.*-)?({HEX_ID})(?:\.scope)?")
"""An engine that is not in this table. What it starts ends in such an id, as in `ID`, `PREFIX-ID` and `PREFIX-ID.scope`; conmon is not
what is contained, but watches it."""

ENGINES = (
    DOCKER,
    PODMAN,
    CONTAINERD,
    _engine("cri-o", rf"crio-({HEX_ID})(?:\.scope)?", bundles=("cri-o",)),
    # ECS: Docker's containers below the task's group; Fargate's are TASK-NUMBER (the agent's metadata endpoint, v4: DockerId).
    _engine("ecs", rf"/(?:ecs(?:/[^/]+)?|[0-9a-f]{{32}})/({HEX_ID})|/(?:ecs|docker|[0-9a-f-]{{32,36}})/([0-9a-f]{{32}}-\d{{1,10}})"),
    # The kubelet's groups with cgroupfs, whichever engine is below it; some engines' ids are UUIDs.
    _engine("kubernetes", rf"/{POD_GROUP}/({HEX_ID}|{_UUID})|/(?:kubepods|burstable|besteffort)(?:/pod[^/]+)?/({HEX_ID})"),
    _engine("kata", rf"kata_({HEX_ID})|kata_overhead-({HEX_ID})(?:\.scope)?|/kata_overhead/({HEX_ID})", isolation=VIRTUAL_MACHINE),
    FIRECRACKER,
    _engine(
        "libvirt-lxc",
        r"machine-lxc\\x2d\d+\\x2d(.+)\.scope|lxc-\d+-(.+)\.libvirt-lxc|([^/]+)\.libvirt-lxc|/libvirt/lxc/([^/]+)",
    ),
    _LXC,
    LIBVIRT,
    # qm's, of a machine by its number (PVE::QemuServer, run_command_in_scope).
    _engine("proxmox", r"/qemu\.slice/(\d{1,10})\.scope", paradigm="virtualization", isolation=HARDWARE),
    _engine("nspawn", r"systemd-nspawn@(.+)\.service|machine-(?!qemu)(?!lxc)(.+)\.scope"),
    # garden[-TAG], and below it the halves of those that took more CPU than they are entitled to and of the others
    # (guardian, rundmc/cgroups/cpucgrouper.go); handles are GUIDs that lack the end, Concourse's whole UUIDs.
    _engine(
        "garden",
        r"/garden(?:-[^/]+)?/(?!(?:good|bad)$)([^/]+)|/garden(?:-[^/]+)?/(?:good|bad)/([^/]+)|/docker/([0-9a-f]{8}(?:-[0-9a-f]{4}){4})",
    ),
    # BOSH's process manager (bpm/config/bpm_config.go, ContainerPrefix), below runc.
    _engine("bpm", r"runc-bpm-(.+)\.scope|bpm-(.+)\.scope"),
    # Tasks of its exec, java and raw_exec drivers: ALLOCATION.TASK (client/lib/cgroupslib), below nomad.slice on v2 and nomad on v1.
    _engine(
        "nomad",
        rf"/(?:(?:nomad|share|reserve)\.slice|nomad|nomad/(?:share|reserve))/({_UUID}(?:[.-][^/]+?)?)(?:\.scope)?",
    ),
    # MesosContainerizer: --cgroups_root is "mesos" (src/slave/flags.cpp).
    _engine("mesos", rf"/mesos/({_UUID})"),
    # executor/containerdexecutor: PARENT/buildkit/ID.
    _engine("buildkit", r"/buildkit/([0-9a-z]{25})|buildkit-([0-9a-z]{25})(?:\.scope)?"),
    _engine("isulad", rf"/isulad/({HEX_ID})"),
    # By the number of their first process (internal/pkg/cgroups/manager_linux.go).
    _engine("apptainer", r"apptainer-(\d{1,10})(?:\.scope)?|/apptainer/(\d{1,10})"),
    _engine("singularity", r"singularity-(\d{1,10})(?:\.scope)?|/singularity/(\d{1,10})"),
    # Jobs of slurmd, below slurmstepd.scope or NODE_slurmstepd.scope on v2, slurm[_NODE]/uid_UID on v1 (src/plugins/cgroup).
    _batch("slurm", r"/(?:[^/]+_)?slurmstepd\.scope/(job_\d+)|/slurm(?:_[^/]+)?/uid_\d+/(job_\d+)"),
    # BASE_CGROUP/condor_EXECUTE_SLOT (the administrators' manual, "Cgroup-Based Process Tracking").
    _batch("htcondor", r"/htcondor/(condor_[^/]+)"),
    # Whichever engine they run for, with ids of any form; runsc is gVisor. Names of those that have no path of their own: PREFIX-ID.scope.
    _engine("runc", r"runc-(.+)\.scope"),
    _engine("crun", r"(?:lib)?crun-(.+)\.scope"),
    _engine("youki", r"youki-(.+)\.scope|:youki:([^/]+)"),
    _engine("runsc", r"runsc-(.+)\.scope", isolation="application kernel"),
    UNKNOWN,
    PLAIN_GROUP,
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
