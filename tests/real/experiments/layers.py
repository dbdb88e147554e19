"""One small program in a container, in a machine and in a sandbox: what each layer takes of memory and of time to start.

And vCPUs that have to share a core.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from agent.config import Config
from agent.model.snapshot import Param, Prediction
from agent.model.values import CpuSet
from agent.overhead import parameters as p
from agent.overhead.bands import band
from agent.overhead.memory import sandbox_bytes
from agent.overhead.parameter_set import Parameters
from agent.overhead.shares import lag_seconds
from agent.overhead.startup import start_seconds
from agent.overhead.two_level import overcommit, steal_overcommitted
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from tests.lab import boot, host
from tests.need import which
from tests.real.experiments.groups import heaviest, load, taken
from tests.real.experiments.rows import Row
from tests.real.experiments.scheduling import slice_here

# Counts for ever.
COUNTING = ("sh", "-c", "i=0; while :; do i=$((i+1)); done")
# Says so on its first serial port, and then counts for ever: mov dx, 3f8h; mov al, 'x'; out dx, al; again: inc eax; jmp again.
SAYING = b"\xba\xf8\x03\xb0x\xee\x66\x40\xeb\xfc"
TIMES = 5


def interval_of(found: Prediction) -> tuple[float, float, float]:
    return found.value, found.lo, found.hi


@contextlib.contextmanager
def side_by_side(docker: host.Docker, libvirt: host.Libvirt, directory: Path) -> Iterator[dict[str, str]]:
    """Containers with 1, 3 and 6 of the program, machines with 1, 2 and 4 vCPUs: what is said of them, by id."""
    with contextlib.ExitStack() as stack:
        made = {}
        for count in (1, 3, 6):
            others = "".join(f"{COUNTING[2]} & " for _ in range(count - 1))
            id_ = docker.run("--cpus", "0.05", command=("sh", "-c", f"{others}{COUNTING[2]}"))
            stack.callback(docker.remove, id_)
            made[id_] = f"container, {count} processes"
        for count in (1, 2, 4):
            rom = boot.firmware(directory / f"rom-{count}", boot.BUSY)
            # As little of the CPUs as the containers get, of which the program takes all that there is.
            xml = boot.domain_xml(f"counting-{count}", rom, vcpus=count)
            uuid = libvirt.define_and_start(xml.replace("</cputune>", "<period>100000</period><quota>5000</quota></cputune>"))
            stack.callback(libvirt.destroy, uuid)
            made[uuid] = f"machine, {count} vCPUs"
        time.sleep(2)
        yield made


def memory(docker: host.Docker, libvirt: host.Libvirt, directory: Path, given: Parameters) -> Iterator[Row]:
    config = Config(docker=(docker.host,), libvirt=(libvirt.uri,), interval_seconds=0)

    def figures() -> dict[str, Prediction]:
        return {
            one.workload: one
            for one in take_snapshot(Session(root=SysRoot(), config=config)).predictions
            if one.component == "memory_overhead"
        }

    with side_by_side(docker, libvirt, directory) as made:
        before = figures()
        time.sleep(1)
        after = figures()
        for id_, what in made.items():
            measured = after[id_].measured
            assert measured is not None, what
            yield Row(component="memory", what=what, predicted=interval_of(before[id_]), measured=measured, unit="bytes")
    for count in (1, 16, 64):
        interval = band(
            lambda tables, instance, count=count: sandbox_bytes(count, 0.0, 0.0, tables, instance),
            given[p.PAGE_TABLES],
            given[p.INSTANCE_BYTES],
        )
        yield Row(component="memory", what=f"sandbox, {count} instances", predicted=interval, measured=_instances(count), unit="bytes")


_INSTANCES = """
import sys, wasmtime
def held():
    found = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return sum(int(found[name].split()[0]) << 10 for name in ("RssAnon", "VmPTE"))
count = int(sys.argv[1])
engine = wasmtime.Engine()
module = wasmtime.Module(engine, '(module (memory 1) (func (export "run") (i32.store (i32.const 0) (i32.const 1))))')
def made():
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, module, [])
    instance.exports(store)["run"](store)
    return store, instance
kept = [made()]
room = [None] * (count + 1)
before = held()
for number in range(count):
    room[number] = made()
# A page of each memory is what the program uses.
print(held() - before - 4096 * count)
"""


def _instances(count: int) -> float:
    """What `count` instances hold beyond the page that each of them wrote; the module's code and the first of them are there before."""
    said = [float(subprocess.check_output([sys.executable, "-c", _INSTANCES, str(count)], timeout=60)) for _ in range(3)]
    return median(said)


def starts(docker: host.Docker, libvirt: host.Libvirt, directory: Path, instantiate: Param) -> Iterator[Row]:
    """`instantiate` as this host measured it, in the same language.

    Starting needs CPU time: a daemon that starts it shares the CPUs with all that runs, who starts it himself is in the heavy group.
    """
    bundle = _bundle(directory)
    rows: tuple[tuple[str, bool, tuple[Param, ...], Callable[[], float]], ...] = (
        ("process, by posix_spawn", False, (p.SPAWN,), _spawned),
        ("container, by runc", False, (p.RUNTIME,), lambda: _by_runc(bundle)),
        ("container, by docker run", True, (p.ENGINE,), lambda: _by_docker(docker)),
        ("sandbox, by instantiation", False, (instantiate,), _instantiated),
        ("machine, from virsh start to its first word", True, (p.CREATE_VM, p.BOOT_DIRECT), lambda: _booted(libvirt, directory)),
    )
    for what, by_daemon, params, start in rows:
        point, low, high = band(start_seconds, *params)
        share = min(1.0, (os.cpu_count() or 1) / (load().tasks + 1))
        predicted = start_seconds(point, cpu_share=share if by_daemon else 1.0), low, start_seconds(high, cpu_share=share)
        measured = median(start() for _ in range(TIMES))
        yield Row(component="start", what=f"{what}, median of {TIMES}", predicted=predicted, measured=measured, unit="s")


def _spawned() -> float:
    began = time.monotonic()
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return time.monotonic() - began


def _bundle(directory: Path) -> Path:
    """What a low-level runtime is given: a root file system with one program, and what to run."""
    bundle = directory / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy(which("busybox") or "", bundle / "rootfs/bin/true")
    subprocess.run([which("runc") or "runc", "spec"], cwd=bundle, check=True, timeout=30)
    wanted = json.loads((bundle / "config.json").read_text())
    wanted["process"] |= {"args": ["/bin/true"], "terminal": False}
    (bundle / "config.json").write_text(json.dumps(wanted))
    return bundle


def _by_runc(bundle: Path) -> float:
    command = [which("runc") or "runc", "--root", str(bundle / "state"), "run", "--bundle", str(bundle), f"stratascope-{os.getpid()}"]
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return time.monotonic() - began


def _by_docker(docker: host.Docker) -> float:
    began = time.monotonic()
    docker.cli("run", "--rm", host.IMAGE, "true")
    return time.monotonic() - began


# On one CPU, as it was calibrated: where the runtime's threads ran on others, each unmapping interrupts those, too.
_INSTANTIATED = """
import os, time
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
import wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module(engine, '(module (func (export "nothing")))')
found = []
for _ in range(100):
    began = time.perf_counter()
    wasmtime.Instance(wasmtime.Store(engine), module, [])
    found.append(time.perf_counter() - began)
print(sorted(found)[len(found) // 4])
"""


def _instantiated() -> float:
    return float(subprocess.check_output([sys.executable, "-c", _INSTANTIATED], timeout=60))


def _booted(libvirt: host.Libvirt, directory: Path) -> float:
    said = directory / "said"
    said.write_bytes(b"")
    # A kernel without firmware, the smallest: where KVM is emulated, SeaBIOS alone takes ten seconds.
    rom = boot.firmware(directory / "saying", SAYING)
    serial = f"<serial type='file'><source path='{said}'/></serial></devices>"
    definition = directory / "saying.xml"
    definition.write_text(boot.domain_xml("saying", rom, vcpus=1).replace("</devices>", serial))
    libvirt.virsh("define", str(definition))
    try:
        began = time.monotonic()
        libvirt.virsh("start", "saying")
        while b"x" not in said.read_bytes():
            assert time.monotonic() < began + 60, "the machine says nothing"
            time.sleep(2e-3)
        return time.monotonic() - began
    finally:
        libvirt.destroy("saying")


def cores(libvirt: host.Libvirt, directory: Path) -> Iterator[Row]:
    """Busy vCPUs that have to share a core, and such as have one each."""
    for count, allowed in ((2, "1"), (3, "1"), (2, "0-1")):
        yield from _sharing(libvirt, directory, count, allowed)


def _steals(libvirt: host.Libvirt, seconds: float, machines: list[str]) -> dict[str, float | None]:
    """Measured, by machine; once more where libvirt, which shares the CPUs with them, was late."""
    for _ in range(5):
        found = take_snapshot(Session(root=SysRoot(), config=Config(libvirt=(libvirt.uri,), interval_seconds=seconds)))
        steals = {one.workload: one.measured for one in found.predictions if one.component == "steal"}
        if all(steals.get(id_) is not None for id_ in machines):
            break
        print([gap for gap in found.gaps if gap.source.startswith("libvirt")], steals)
    return steals


def _sharing(libvirt: host.Libvirt, directory: Path, count: int, allowed: str) -> Iterator[Row]:
    seconds, cpus = 2.0, len(CpuSet.parse_list(allowed))
    gone, lag = taken(load(), float(cpus), float(cpus)), lag_seconds(2, slice_here(), cpus) / seconds
    point = steal_overcommitted(overcommit(count, cpus))
    interval = point, max(0.0, point - lag), 1 - (1 - point) * (1 - gone / cpus) + lag
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(count):
            rom = boot.firmware(directory / f"rom-{number}", boot.BUSY)
            made.append(libvirt.define_and_start(boot.domain_xml(f"sharing-{number}", rom, vcpus=1, pins={0: allowed})))
            stack.callback(libvirt.destroy, made[-1])
        # On all CPUs they would leave none to libvirt's daemon, which is asked for them.
        heaviest("machine", cpus < (os.cpu_count() or 1))
        # Until QEMU has set itself up.
        time.sleep(1.5)
        threads = _steals(libvirt, seconds, made)
    for number, id_ in enumerate(made):
        measured = threads.get(id_)
        assert measured is not None, "its vCPU's thread has no counters"
        yield Row(
            component="vCPUs",
            what=f"machine {number} of {count} with one busy vCPU on CPUs {allowed}",
            predicted=interval,
            measured=measured,
            unit="s/s",
        )
