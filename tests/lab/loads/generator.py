"""Loads that run until they are told to stop: in control groups, in machines, in WebAssembly sandboxes, and outside of all of them.

Whatever it starts ends with the `with` block, and with this process: programs die with their parent, domains with the lab's libvirtd.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import host
from tests.lab.crowd import hierarchies
from tests.lab.loads import machines
from tests.lab.loads.behaviours_table import Behaviour, Paradigm
from tests.lab.loads.groups import LoadGroup
from tests.need import which

SOURCE = Path(__file__).with_name("load.c")
SANDBOX = Path(__file__).with_name("sandbox.py")

_LEAST_ON_US = 5


@dataclass(frozen=True, kw_only=True)
class Load:
    """A workload: it asks for `cpus` of CPU time, if it ever sleeps, and gets `quota_cpus` at most. `pin`: a list of CPUs."""

    name: str
    behaviour: Behaviour
    paradigm: Paradigm
    cpus: float
    quota_cpus: float | None = None
    weight: int | None = None
    pin: str | None = None
    seed: int = 0

    @property
    def on_off_us(self) -> tuple[int, int]:
        """How long each of its threads works and sleeps in turn; (some, 0): it never sleeps."""
        behaviour = self.behaviour
        share = min(0.95, self.cpus / behaviour.count)
        if behaviour.every_us:
            on = max(_LEAST_ON_US, min(behaviour.on_us, round(share * behaviour.every_us)))
            return on, behaviour.every_us - on
        if behaviour.never_sleeps or share <= 0:
            return 10_000, 0
        return behaviour.on_us, round(behaviour.on_us * (1 - share) / share)


class Running:
    """A load that runs. `pid`: its program's, of a machine none."""

    def __init__(self, load: Load, process: subprocess.Popen[bytes] | None, group: LoadGroup | None, libvirt: host.Libvirt | None) -> None:
        self.load, self._process, self._group, self._libvirt = load, process, group, libvirt
        self.pid = None if process is None else process.pid

    @property
    def group(self) -> LoadGroup:
        """A container's control group, while it runs."""
        if self._group is None:
            raise ValueError(f"{self.load.name}: it has no control group of its own")
        return self._group

    def limit(self, cpus: float | None) -> None:
        """Changes a container's quota."""
        if self._group is not None:
            self._group.limit(cpus)

    def stop(self) -> None:
        """Ends it and all that is of it; once more, nothing happens."""
        process, group, libvirt = self._process, self._group, self._libvirt
        self._process = self._group = self._libvirt = None
        if process is not None:
            process.kill()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()
        if group is not None:
            group.remove()
        if libvirt is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                libvirt.virsh("destroy", self.load.name)


class Generator:
    """Starts loads: groups below `top`, files in `place`. `libvirt`: where machines run; without it, none can be started."""

    def __init__(self, top: str, place: Path, program: Path, libvirt: host.Libvirt | None) -> None:
        self.top, self._place, self._program, self._libvirt = top, place, program, libvirt
        self.running: list[Running] = []
        self._around = LoadGroup(top)

    @property
    def paradigms(self) -> tuple[Paradigm, ...]:
        return ("container", "machine", "sandbox") if self._libvirt is not None else ("container", "sandbox")

    def start(self, load: Load) -> Running:
        match load.paradigm:
            case "machine":
                made = self._machine(load)
            case "sandbox":
                made = Running(load, _started([sys.executable, str(SANDBOX), *_arguments(load)]), None, None)
            case "container":
                made = self._container(load)
        self.running.append(made)
        return made

    def outside(self, cpus: float, seed: int) -> Running:
        """Work of nobody's, outside of all groups of loads: so many CPUs of it, where they can be had."""
        behaviour = Behaviour(
            name="outside", work="spin", paradigms=("container",), on_us=20_000, jitter=500, count=max(1, round(cpus + 0.49))
        )
        load = Load(name="outside", behaviour=behaviour, paradigm="container", cpus=cpus, seed=seed)
        made = Running(load, _started([str(self._program), "-", *_arguments(load)]), None, None)
        self.running.append(made)
        return made

    def stop(self, running: Running) -> None:
        running.stop()
        self.running.remove(running)

    def end(self) -> None:
        for running in tuple(self.running):
            self.stop(running)
        self._around.remove()

    def _container(self, load: Load) -> Running:
        group = LoadGroup(f"{self.top}/{load.name}")
        try:
            if load.quota_cpus is not None:
                group.limit(load.quota_cpus)
            if load.weight is not None:
                group.weigh(load.weight)
            if load.pin is not None:
                group.pin(load.pin)
            join = ",".join(map(str, group.join))
            return Running(load, _started([str(self._program), join, *_arguments(load)]), group, None)
        except BaseException:
            group.remove()
            raise

    def _machine(self, load: Load) -> Running:
        if self._libvirt is None:
            raise ValueError(f"{load.name}: no libvirt to run a machine")
        place = self._place / load.name
        rom = machines.firmware(load.behaviour, *load.on_off_us, place)
        xml = place.with_suffix(".xml")
        xml.write_text(machines.domain_xml(load.name, rom, machines.vcpus(load.behaviour), load.quota_cpus, load.pin))
        self._libvirt.virsh("create", str(xml))
        return Running(load, None, None, self._libvirt)


@contextlib.contextmanager
def generator(top: str, place: Path, program: Path, libvirt: host.Libvirt | None) -> Iterator[Generator]:
    made = Generator(top, place, program, libvirt)
    try:
        yield made
    finally:
        made.end()


def lacks(program: Path | None = None) -> str | None:
    """Why loads cannot be generated here, by this program or by one that is compiled here; None: they can."""
    if program is None and which("gcc") is None:
        return "gcc is missing: apt-get install gcc"
    return None if hierarchies() else "control groups cannot be made here: run as root, where /sys/fs/cgroup can be written to"


def compiled(into: Path) -> Path:
    program = into / "load"
    subprocess.run([which("gcc") or "gcc", "-O2", "-static", "-pthread", "-o", program, SOURCE], check=True, timeout=60)
    return program


def _arguments(load: Load) -> tuple[str, ...]:
    behaviour, (on, off) = load.behaviour, load.on_off_us
    return behaviour.work, *map(str, (behaviour.count, on, off, behaviour.jitter, load.seed))


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    """A program that has said that it is ready."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{command[0]} did not begin")
    except BaseException:
        process.kill()
        process.wait(30)
        raise
    return process
