"""A container, a machine and a sandbox side by side: what people are told of them is what the snapshot says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.views.words import size
from tests.lab import boot, host
from tests.need import TOP, need
from tests.real.test_workloads import sandbox

pytestmark = pytest.mark.real

# Counts to a few thousand, sleeps, and counts again.
WORKING = "while :; do i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; sleep 0.01; done"


@pytest.fixture(scope="module")
def workloads(docker: host.Docker, libvirt: host.Libvirt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Their ids by paradigm, as somebody would name them."""
    need(modules=["libvirt", "wasmtime"], cpus=2)
    box = docker.run("--name", "told", "--cpus", "0.3", "--memory", "256m", command=("sh", "-c", WORKING))
    disk = boot.boot_disk(tmp_path_factory.mktemp("told") / "disk")
    uuid = libvirt.define_and_start(boot.domain_xml("told-machine", disk, pins={0: "1"}))
    with sandbox() as (pid, _):
        yield {"containerization": "told", "virtualization": uuid[:13], "sandbox": str(pid)}
    libvirt.destroy(uuid)
    docker.remove(box)


@pytest.fixture(scope="module")
def recording(
    workloads: dict[str, str], docker: host.Docker, libvirt: host.Libvirt, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("recorded") / "host"
    agent("record", directory, *engines(docker, libvirt))
    return directory, json.loads(agent("snapshot", "--root", directory))


def engines(docker: host.Docker, libvirt: host.Libvirt) -> tuple[str, ...]:
    return ("--docker", docker.host, "--libvirt", libvirt.uri)


def agent(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_verb_runs_live(workloads: dict[str, str], docker: host.Docker, libvirt: host.Libvirt) -> None:
    """Over a window, with what was measured beside what was predicted."""
    for paradigm, word in workloads.items():
        text = agent("explain", word, *engines(docker, libvirt))
        assert f"  {paradigm}  " in text.splitlines()[0]
        assert "waits for a CPU: predicted" in text
        assert "measured" in text
        assert "What would pay most" in text
        other = "vm" if paradigm == "containerization" else "container"
        changed = agent("what-if", word, "--as", other, "--width", "160", *engines(docker, libvirt))
        assert "start time of another one" in changed
        assert "Time: predicted to" in changed
    text = agent("compare", "--lang", "zh", "--section", "11.3", *engines(docker, libvirt))
    assert "容器化（本机 1 个）" in text
    assert text.count("predicted") >= 10


def test_explained_figures_are_the_snapshots(workloads: dict[str, str], recording: tuple[Path, dict[str, Any]]) -> None:
    directory, snapshot = recording
    for paradigm, word in workloads.items():
        told = json.loads(agent("explain", word, "--root", directory, "--json"))
        assert told["paradigm"] == paradigm
        costs = [cost["prediction"] for side in ("cpu", "memory") for level in told[side] for cost in level.get("costs", ())]
        expected = [one for one in snapshot["predictions"] if one["workload"] == told["workload"]]
        assert sorted(costs, key=lambda one: str(one["component"])) == sorted(expected, key=lambda one: str(one["component"]))
        (workload,) = [one for one in snapshot["workloads"] if one["id"] == told["workload"]]
        for side in ("cpu", "memory"):
            drawn = [{"name": level["name"], "elements": level["elements"]} for level in told[side]]
            assert drawn == workload["stack"][side]


def test_what_is_now_is_the_snapshots(workloads: dict[str, str], recording: tuple[Path, dict[str, Any]]) -> None:
    directory, snapshot = recording
    for paradigm, word in workloads.items():
        for change in (("--pin", "0"), ("--cpus", "0.1"), ("--hugepages",), ("--weight", "50"), ("--node", "0"), ("--as", "vm")):
            told = json.loads(agent("what-if", word, *change, "--root", directory, "--json"))
            now = {one["component"]: one["before"] for one in told["effects"] if "before" in one}
            was = {one["component"]: one for one in snapshot["predictions"] if one["workload"] == told["workload"]}
            if change[0] != "--weight":
                # What it wants follows from how long it waited, which any other change alters in a way that nobody foresees.
                was.pop("cpu_share", None)
            assert now == was
            for one in told["effects"]:
                if "difference" in one:
                    assert one["lo"] <= one["difference"] <= one["hi"]
            if change == ("--as", "vm") and paradigm == "virtualization":
                assert {one["difference"] for one in told["effects"]} == {0}


def test_compared_figures_are_the_snapshots(recording: tuple[Path, dict[str, Any]]) -> None:
    directory, snapshot = recording
    told = json.loads(agent("compare", "--root", directory, "--json"))
    assert told["claims"] == snapshot["claims"]
    (matrix,) = [one for one in told["matrices"] if one["section"] == "11.3"]
    (overhead,) = [row for row in matrix["rows"] if row["term"] == "Memory overhead"]
    for column, cell, paradigm in zip(matrix["columns"], overhead["cells"], ("virtualization", "containerization", "sandbox"), strict=True):
        ids = {one["id"] for one in snapshot["workloads"] if one["paradigm"] == paradigm}
        assert column["workloads"] == len(ids) >= 1
        found = [one["value"] for one in snapshot["predictions"] if one["workload"] in ids and one["component"] == "memory_overhead"]
        assert found
        assert f"predicted {size(round(min(found)))} " in cell["evidence"]
