"""What collecting keeps from one pass to the next. The session holds it; a pass reads it and changes it in place."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.collect.background import BackgroundQueries
from agent.collect.container_names import KnownContainers
from agent.collect.hung import HungReads
from agent.collect.static_facts import Statics
from collectors import docker_engine
from collectors.cgroup import CgroupCache
from collectors.libvirt_domains import DomainCache, LibvirtHosts
from collectors.libvirt_stats import StatsCache
from collectors.oci import BundleCache
from collectors.proc_task import TaskCache
from collectors.processes import ProcessCache
from collectors.qemu import WalkCache
from collectors.uevents import UeventSocket
from collectors.wasm_maps import WasmCache


@dataclass(kw_only=True)
class Caches:
    """One field a reader that remembers, what stays until something is plugged, the questions that are still out, the
    last answers, and the reads that hang.

    Without a `uevents` socket, nobody listens to what the kernel announces: a single document has no use for it.
    """

    statics: Statics | None = None
    uevents: UeventSocket | None = None
    engines: BackgroundQueries[tuple[docker_engine.Engine, ...]] = field(default_factory=BackgroundQueries)
    containers: KnownContainers = field(default_factory=dict)
    hypervisors: BackgroundQueries[LibvirtHosts] = field(default_factory=BackgroundQueries)
    hung: HungReads = field(default_factory=HungReads)
    domains: DomainCache = field(default_factory=DomainCache)
    domain_stats: StatsCache = field(default_factory=StatsCache)
    processes: ProcessCache = field(default_factory=ProcessCache)
    tasks: TaskCache = field(default_factory=TaskCache)
    walks: WalkCache = field(default_factory=WalkCache)
    wasm: WasmCache = field(default_factory=WasmCache)
    cgroups: CgroupCache = field(default_factory=CgroupCache)
    bundles: BundleCache = field(default_factory=BundleCache)
