"""One container, one domain and one sandbox on this host, in one snapshot; docker, virsh and the embedder are the judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.views.json import render, schema
from tests.lab import boot, host
from tests.need import TOP, need
from tests.real.test_recording import deletions, document, record

pytestmark = pytest.mark.real

# Three memories that grow, and a little work so that the runtime's threads have something to wait for.
SANDBOX = """
import ctypes, json, sys, threading, time, wasmtime
store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, '(module (memory (export "m") 1))')
memories = [wasmtime.Instance(store, module, []).exports(store)["m"] for _ in range(3)]
for number, memory in enumerate(memories, 1):
    memory.grow(store, 7 * number)
    memory.write(store, b"x" * 4096 * 10 * number, 0)
threading.Thread(target=sys.stdin.read).start()
print(json.dumps([(ctypes.addressof(m.data_ptr(store).contents), m.data_len(store)) for m in memories]), flush=True)
while threading.active_count() > 1:
    sum(range(20000))
    time.sleep(0.002)
"""


# Twenty times a second awake, without a child that may end while it is read.
WAKING = "mkfifo /tick; exec 3<>/tick; while :; do read -t 0.05 x <&3; done"


@contextmanager
def sandbox() -> Iterator[tuple[int, dict[int, int]]]:
    """The pid of a Python with three linear memories, and their sizes by base address."""
    with subprocess.Popen([sys.executable, "-c", SANDBOX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.pid, dict(json.loads(process.stdout.readline()))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def container(docker: host.Docker) -> Iterator[str]:
    options = ("--cpus", "1.5", "--cpuset-cpus", "0-1", "--memory", "256m", "--memory-reservation", "128m", "--cpu-shares", "512")
    id_ = docker.run("--name", "first-light", *options, command=("sh", "-c", WAKING))
    yield id_
    docker.remove(id_)


@pytest.fixture(scope="module")
def domain(libvirt: host.Libvirt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rom = boot.firmware(tmp_path_factory.mktemp("domain") / "rom")
    uuid = libvirt.define_and_start(boot.domain_xml("first-light", rom, pins={0: "1"}))
    yield uuid
    libvirt.destroy(uuid)


def config(docker: host.Docker, libvirt: host.Libvirt, interval: float = 1.0) -> Config:
    return Config(docker=(docker.host,), libvirt=(libvirt.uri,), interval_seconds=interval)


def by_id(found: dict[str, Any], id_: str) -> dict[str, Any]:
    (workload,) = [workload for workload in found["workloads"] if workload["id"] == id_]
    return dict(workload)


def predictions(found: dict[str, Any], id_: str) -> dict[str, dict[str, Any]]:
    return {prediction["component"]: prediction for prediction in found["predictions"] if prediction["workload"] == id_}


def test_one_snapshot_holds_all_three(docker: host.Docker, libvirt: host.Libvirt, container: str, domain: str) -> None:
    need(modules=["libvirt", "wasmtime"], cpus=2)
    with sandbox() as (pid, memories):
        found = json.loads(render(take_snapshot(Session(root=SysRoot(), config=config(docker, libvirt)))))
        runtime = next(workload for workload in found["workloads"] if workload["paradigm"] == "sandbox" and workload["pid"] == pid)
    jsonschema.Draft202012Validator(json.loads(schema())).validate(found)

    told = docker.inspect(container)
    limits = told["HostConfig"]
    box = by_id(found, container)
    assert (box["paradigm"], box["execution_mode"], box["memory_mode"]) == ("containerization", "single-level", "shared-kernel")
    assert (box["name"], box["image"], box["state"]) == (told["Name"].removeprefix("/"), told["Config"]["Image"], told["State"]["Status"])
    assert box["cpu"]["quota_usec"] / box["cpu"]["period_usec"] == limits["NanoCpus"] / 1e9 == box["cpu"]["limit_cpus"]
    assert box["memory"]["max_bytes"] == limits["Memory"] == box["memory"]["limit_bytes"]
    reservation = box["memory"].get("soft_limit_bytes", box["memory"].get("low_bytes"))
    assert reservation == limits["MemoryReservation"]
    assert box["placement"]["allowed_cpus"] == limits["CpusetCpus"]
    assert box["cpu"].get("shares", limits["CpuShares"]) == limits["CpuShares"]
    controls = {control["name"]: control for control in box["controls"]}
    assert (controls["quota"]["v1"], controls["quota"]["v2"], controls["quota"]["value"]) == ("cpu.cfs_quota_us", "cpu.max", 150000)
    assert controls["hard limit"]["v1"] == "memory.limit_in_bytes"
    assert (controls["soft limit"]["v2"], controls["soft limit"]["value"]) == ("memory.low", limits["MemoryReservation"])

    machine = by_id(found, domain)
    pins = dict(line.split() for line in libvirt.virsh("vcpupin", domain).splitlines()[2:] if line)
    assert {str(vcpu["number"]): vcpu["affinity"] for vcpu in machine["vcpus"]} == pins
    assert [vcpu["pinned"] for vcpu in machine["vcpus"]] == [True, False]
    assert machine["vcpus"][0]["thread"]["allowed_cpus"] == "1"
    emulator = dict(line.split() for line in libvirt.virsh("emulatorpin", domain).splitlines()[2:] if line)
    assert machine["guest"]["emulator_affinity"] == emulator["*:"]
    assert machine["memory"]["allotted_bytes"] == 64 << 20
    assert (machine["execution_mode"], machine["memory_mode"]) == ("two-level", "independent-physical")

    assert {int(memory["base"], 16): memory["size_bytes"] for memory in runtime["memories"]} == memories
    assert sum(memory["resident_bytes"] for memory in runtime["memories"]) >= 60 * 4096
    assert (runtime["execution_mode"], runtime["memory_mode"]) == ("application-level", "linear")
    assert found["devices"]["memory"]["logical_bytes"] >= sum(memories.values())

    for workload in (box, machine, runtime):
        placement, predicted = workload["placement"], predictions(found, workload["id"])
        assert placement["allowed_cpus"]
        assert placement["cores"] >= 1
        assert placement["nodes_spanned"]
        assert placement["sharing_workloads"] >= 2
        assert len(predicted) >= 2, workload["name"]
        assert any("measured" in prediction for prediction in predicted.values()), workload["name"]
        for prediction in predicted.values():
            assert prediction["lo"] <= prediction["value"] <= prediction["hi"]
        assert workload["stack"]["cpu"][0]["name"] == "hardware"
        assert len(workload["stack"]["cpu"]) == {"containerization": 3}.get(workload["paradigm"], 4)


@pytest.mark.timeout(600)
def test_recording_three_workloads(docker: host.Docker, libvirt: host.Libvirt, container: str, domain: str, tmp_path: Path) -> None:
    """The recording replays to the same snapshot without any daemon, and no file taken out of it changes a number."""
    need(modules=["libvirt", "wasmtime"], cpus=2)
    with sandbox():
        whole = record(tmp_path / "tree", config(docker, libvirt))
    assert {container, domain} <= {workload["id"] for workload in whole["workloads"]}
    assert document(tmp_path / "tree") == whole
    count, wrong = deletions(tmp_path / "tree", whole, tmp_path / "copy")
    assert count > 300
    assert wrong == {}


def test_an_engine_that_never_answers_is_late(docker: host.Docker, libvirt: host.Libvirt, domain: str) -> None:
    """dockerd stopped by a signal: the rest is there within the deadline, the gap says who is late."""
    os.kill(docker.pid, 19)
    try:
        began = time.monotonic()
        command = [sys.executable, "-m", "agent", "snapshot", "--interval", "0", "--docker", docker.host]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
        seconds = time.monotonic() - began
    finally:
        os.kill(docker.pid, 18)
    assert (done.returncode, done.stderr) == (0, "")
    assert seconds < 4
    found = json.loads(done.stdout)
    assert [gap["reason"] for gap in found["gaps"] if gap["source"] == "docker_engine"] == ["late"]
    assert by_id(found, domain)["vcpus"]
