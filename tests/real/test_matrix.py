"""Real loads of all behaviours beside the agent: figures keep their bounds and laws. How good they are, is scored by `make matrix`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.lab import host
from tests.lab.keeper import CGROUP
from tests.lab.loads import machines
from tests.lab.loads.behaviours_table import BEHAVIOURS, Behaviour
from tests.lab.loads.generator import Load, compiled, generator, lacks
from tests.need import TOP, lack, need
from tests.validation.matrix_plan import LEVELS, plan
from tests.validation.matrix_rows import Row, rows
from tests.validation.matrix_run import passes
from tests.validation.matrix_score import ACTIVE, offences

pytestmark = pytest.mark.real

WINDOWS, SECONDS = 9, 1.2
LEARNT = 7
"""Windows after which there are intervals of what was measured in each."""
OURS = f"stratascope-load-{os.getpid()}"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := lacks()) is not None:
        lack("what loads are generated with", reason)
    return compiled(tmp_path_factory.mktemp("loads"))


def groups(name: str) -> list[Path]:
    return [path for pattern in (name, f"*/{name}") for path in CGROUP.glob(pattern)]


def spent(pids: list[int]) -> float:
    """CPU seconds, of processes that are alive."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids if psutil.pid_exists(pid))


@pytest.mark.parametrize("behaviour", [one for one in BEHAVIOURS if "container" in one.paradigms], ids=lambda one: one.name)
def test_a_container_does_what_its_behaviour_says(behaviour: Behaviour, program: Path, tmp_path: Path) -> None:
    load = Load(name="container", behaviour=behaviour, paradigm="container", cpus=0.0 if behaviour.work == "sleep" else 0.2, quota_cpus=0.3)
    with generator(OURS, tmp_path, program, None) as loads:
        running = loads.start(load)
        assert running.pid is not None
        assert f"/{OURS}/container" in Path(f"/proc/{running.pid}/cgroup").read_text()
        (usage,) = [path for name in ("cpuacct.usage", "cpu.stat") for path in CGROUP.glob(f"**/{OURS}/container/{name}")][:1]
        time.sleep(1)
        used = next(int(word) for word in usage.read_text().split() if word.isdigit()) * (1e-9 if usage.name == "cpuacct.usage" else 1e-6)
        processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children()]
        threads = sum(process.num_threads() for process in processes if process.is_running())
    # Memory is filled before the work begins.
    assert (used > 0.005) == (behaviour.work != "sleep")
    assert used < 0.3 * 1.2 + 0.15
    assert threads >= behaviour.count
    assert groups(OURS) == []
    assert host.alive(processes) == []


@pytest.mark.parametrize("behaviour", [one for one in BEHAVIOURS if "sandbox" in one.paradigms], ids=lambda one: one.name)
def test_a_sandbox_does_what_its_behaviour_says(behaviour: Behaviour, program: Path, tmp_path: Path) -> None:
    need(modules=["wasmtime"])
    load = Load(name="sandbox", behaviour=behaviour, paradigm="sandbox", cpus=0.0 if behaviour.work == "sleep" else 0.2)
    with generator(OURS, tmp_path, program, None) as loads:
        running = loads.start(load)
        assert running.pid is not None
        before = spent([running.pid])
        time.sleep(1)
        used = spent([running.pid]) - before
        process = psutil.Process(running.pid)
    assert (used > 0.005) == (behaviour.work != "sleep")
    assert host.alive([process]) == []


def test_a_machine_does_what_its_behaviour_says(libvirt: host.Libvirt, program: Path, tmp_path: Path) -> None:
    need("gcc")
    names = {}
    with generator(OURS, tmp_path, program, libvirt) as loads:
        for number, behaviour in enumerate(one for one in BEHAVIOURS if "machine" in one.paradigms):
            name = f"load-{os.getpid()}-{number}"
            load = Load(name=name, behaviour=behaviour, paradigm="machine", cpus=0.2, quota_cpus=0.3)
            loads.start(load)
            before = _vcpu_seconds(libvirt, name)
            time.sleep(1)
            used = _vcpu_seconds(libvirt, name) - before
            names[behaviour.name] = used
            loads.stop(loads.running[-1])
            if behaviour.work == "sleep":
                assert used < 0.05
            else:
                assert used > 0.005, names
            # The quota is each vCPU's.
            assert used < 0.3 * 1.2 + 0.1 * machines.vcpus(behaviour), names
    assert libvirt.virsh("list", "--all", "--name").split() == []
    assert groups(OURS) == []


def _vcpu_seconds(libvirt: host.Libvirt, name: str) -> float:
    stats = dict(line.strip().split("=", 1) for line in libvirt.virsh("domstats", "--vcpu", name).splitlines() if "=" in line)
    return sum(int(value) for key, value in stats.items() if key.endswith(".time")) * 1e-9


@pytest.mark.timeout(600)
def test_a_part_of_the_matrix_keeps_bounds_and_laws(libvirt: host.Libvirt, program: Path, tmp_path: Path) -> None:
    """A run of each level; all components of all workloads, with what is learnt from some windows of them."""
    need(modules=["libvirt", "wasmtime"])
    cpus = sorted(os.sched_getaffinity(0))
    figures: list[Row] = []
    for run in plan(20, len(LEVELS), WINDOWS, cpus, ("container", "machine", "sandbox")):
        of_run: list[Row] = []
        for of_window in rows(run, passes(run, OURS, tmp_path, program, libvirt, WINDOWS, SECONDS)):
            of_run += of_window
        assert {row.window for row in of_run} == set(range(WINDOWS))
        # The agent sees every load, and what it says of each.
        asleep = {load.name for load in run.loads if load.behaviour.work == "sleep"}
        ran = {(row.workload, row.window): row.ran for row in of_run}
        assert {name for name, _ in ran} == {load.name for load in run.loads}
        assert None not in ran.values()
        assert {name for (name, _), seconds in ran.items() if seconds is not None and seconds > ACTIVE} >= {
            load.name for load in run.loads if load.name not in asleep
        }
        for window in range(WINDOWS):
            # What all ran is what there is; counters are read one after the other.
            assert sum(seconds or 0.0 for (_, number), seconds in ran.items() if number == window) < len(cpus) * 1.1
        figures += of_run
    assert list(offences(figures)) == []
    delays = [row for row in figures if row.component == "run_queue_delay" and row.window >= LEARNT and row.measured is not None]
    assert delays
    assert sum(row.interval == "learned" for row in delays) > len(delays) / 2
    assert groups(OURS) == []


def test_an_interrupted_matrix_leaves_nothing_and_prints_what_it_has(tmp_path: Path) -> None:
    if (reason := lacks()) is not None:
        lack("what loads are generated with", reason)
    out = tmp_path / "rows"
    command = [sys.executable, "-m", "tests.validation.matrix", "--runs", "1", "--seconds", "1", "--no-machines", "--out", str(out)]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        ends = time.monotonic() + 60
        while not (out.exists() and out.stat().st_size) and time.monotonic() < ends:
            time.sleep(0.1)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "first window, before anything was learnt" in said
    assert len(started) > 3
    assert host.alive(started) == []
    assert groups(f"stratascope-load-{process.pid}") == []
