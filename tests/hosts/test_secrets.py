"""Secrets in environments, command lines, labels, annotations and XML: none is in any output or recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from agent.cli import main
from agent.config import Config
from agent.model.values import encode_value
from agent.session import Session, take_sample, take_snapshot
from collectors.docker_engine import _container, parse_rows
from collectors.domain_xml import parse_xml
from collectors.root import SysRoot
from collectors.root.recorder import Recorder
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.unit.tree import grow

SECRET = "hunter2-correct-horse"  # noqa: S105
UUID = "6a1c1d5e-8f0b-4a53-9d3a-0c2d9d3c4b5a"

# As each monitor is started, with what its users hide in it.
COMMAND_LINES = {
    "qemu-system-x86": f"-name guest=web,debug-threads=on -uuid {UUID} -object secret,id=s0,data={SECRET} -vnc :0,password-secret=s0",
    "kvm": f"-id 100 -name web,debug-threads=on -smbios type=1,uuid={UUID},serial={SECRET} -fw_cfg name=opt/x,string={SECRET}",
    "firecracker": f"--id web --metadata {SECRET} --api-sock /run/{SECRET}.sock",
    "cloud-hyperviso": f"--api-socket /run/web.sock --platform uuid={UUID},serial_number={SECRET},oem_strings=[{SECRET}]",
    "crosvm": f"run --name web --params password={SECRET} /kernel",
    "a-name-of-fifteen-and-more": f"--token={SECRET} --url https://user:{SECRET}@host/",
    "postgres": f"-c password={SECRET}",
}


@contextmanager
def process(name: str, arguments: str) -> Iterator[int]:
    """A process of this name with these arguments, and the secret in its environment."""
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, sys.argv[1].encode()[:15], 0, 0, 0); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, name, *arguments.split()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TOKEN": SECRET}) as started:
        try:
            assert started.stdout
            started.stdout.readline()
            yield started.pid
        finally:
            started.kill()


def files_with_secret(top: Path) -> list[str]:
    everything = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(top)) for path in everything if SECRET.encode() in path.read_bytes() or SECRET in path.name]


def outputs(root: str, capsys: pytest.CaptureFixture[str], only: tuple[str, ...] = ()) -> str:
    """Every text that there is of a host: document, metrics, views."""
    snapshot = take_snapshot(Session(root=SysRoot(root), config=Config(root=root, only=only, interval_seconds=0.0)))
    names = [workload.id for workload in snapshot.workloads[:3]]
    texts = [exposition(snapshot, Run(), TextCache(), openmetrics).decode() for openmetrics in (False, True)]
    for verb in (["snapshot", "--pretty"], ["topology"], ["compare"], *(["explain", name] for name in names)):
        with suppress(SystemExit):
            main([*verb, "--root", root])
        output = capsys.readouterr()
        texts += [output.out, output.err]
    assert any(len(text) > 100 for text in texts)
    return "\n".join(texts)


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_a_command_line_and_an_environment(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ("processes", "proc_stat", "proc_task", "proc_limits", "proc_fd", "wasm_maps", "proc_isolation")
    recorder = Recorder("/", tmp_path, 1e9, "0")
    with process(name, COMMAND_LINES[name]) as pid:
        sample = take_sample(Session(root=recorder, config=Config(only=only)))
        recorder.close()
        assert pid in {process.pid for process in sample.workloads.processes or ()}
        snapshot = take_snapshot(Session(root=SysRoot("/"), config=Config(only=only, interval_seconds=0.0)))
        live = msgspec.json.encode(snapshot, enc_hook=encode_value)
    assert SECRET.encode() not in msgspec.json.encode(sample, enc_hook=encode_value)
    assert SECRET.encode() not in live
    assert files_with_secret(tmp_path) == []
    assert SECRET not in outputs(str(tmp_path), capsys)


BUNDLE = {
    "ociVersion": "1.0.2",
    "process": {"args": ["serve", f"--password={SECRET}"], "env": [f"TOKEN={SECRET}"]},
    "annotations": {"com.example.team": "blue", "com.example.secret": SECRET, "io.kubernetes.cri.sandbox-uid": "x"},
    "mounts": [{"source": f"/{SECRET}", "destination": "/run/secrets"}],
    "linux": {"cgroupsPath": "/lab/ctr1"},
}


def test_the_bundle_of_a_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "run/containerd/io.containerd.runtime.v2.task/lab/ctr1/config.json": json.dumps(BUNDLE),
        "run/containerd/io.containerd.runtime.v2.task/lab/ctr1/init.pid": "7",
        "proc/1/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        "sys/fs/cgroup/lab/ctr1/cgroup.procs": "7\n",
        "sys/fs/cgroup/lab/ctr1/cgroup.controllers": "cpu\n",
    }
    grow(tmp_path / "root", files)
    recorder = Recorder(tmp_path / "root", tmp_path / "recording", 1e9, "0")
    sample = take_sample(Session(root=recorder, config=Config(root=str(tmp_path / "root"), labels=("com.example.team",))))
    recorder.close()
    assert [bundle.labels for bundle in sample.workloads.bundles or ()] == [{"com.example.team": "blue"}]
    assert files_with_secret(tmp_path / "recording") == []
    for root in ("root", "recording"):
        assert SECRET not in outputs(str(tmp_path / root), capsys)


def test_the_labels_of_an_engine() -> None:
    row = {
        "Id": "0a" * 32,
        "Names": ["/web"],
        "Command": f"serve --password={SECRET}",
        "Labels": {"team": "blue", "token": SECRET, f"{SECRET}": "x"},
        "Mounts": [{"Source": f"/{SECRET}"}],
    }
    containers = [_container(parsed, ("team",)) for parsed in parse_rows(json.dumps([row]).encode())]
    assert [container and container.labels for container in containers] == [{"team": "blue"}]
    assert SECRET not in str(containers)


XML = {
    "a password of a screen": f"<devices><graphics type='vnc' port='5900' passwd='{SECRET}'/></devices>",
    "a secret of a disk": f"<devices><disk><source file='/{SECRET}'><auth username='{SECRET}'/></source></disk></devices>",
    "options for QEMU": f"<commandline xmlns='x'><arg value='secret,data={SECRET}'/></commandline>",
    "metadata": f"<metadata><x:y xmlns:x='x'>{SECRET}</x:y></metadata><description>{SECRET}</description><title>{SECRET}</title>",
    "strings of the firmware": f"<sysinfo type='smbios'><oemStrings><entry>{SECRET}</entry></oemStrings></sysinfo>",
    "a command line of a kernel": f"<os><type arch='x86_64'>hvm</type><cmdline>password={SECRET}</cmdline></os>",
}


@pytest.mark.parametrize("name", XML)
def test_the_xml_of_a_machine(name: str) -> None:
    definition = parse_xml(f"<domain type='kvm'><name>web</name><memory unit='KiB'>1024</memory><vcpu>1</vcpu>{XML[name]}</domain>")
    assert SECRET not in str(definition)
