"""The command line: exit codes, one-line errors, and never a traceback, whatever the root holds."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("snapshot", "--nonsense"),
        ("snapshot", "--root", "/no/such/root"),
        ("snapshot", "--root", "/proc/version"),
        ("snapshot", "--only", "nonsense"),
        ("snapshot", "--interval", "-1"),
        ("snapshot", "--interval", "soon"),
        ("serve", "--web.listen-address", "nowhere"),
        ("serve", "--web.listen-address", "127.0.0.1:99999"),
        ("serve", "--root", "/no/such/root"),
        ("record",),
        ("record", "/"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(arguments: tuple[str, ...]) -> None:
    done = agent(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("agent")
    assert not done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("snapshot", "--help"), ("serve", "--help"), ("record", "--help"), ("--version",)])
def test_help_and_version(arguments: tuple[str, ...]) -> None:
    done = agent(*arguments)
    assert done.returncode == 0
    assert done.stdout


def test_an_empty_root_is_a_snapshot_of_gaps(tmp_path: Path) -> None:
    done = agent("snapshot", "--root", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["physical"] == {"cpus": {"online": ""}, "memory": {}}
    assert document["workloads"] == document["predictions"] == []
    assert "virtual" not in document["devices"]["cpu"]
    silent = {gap["source"] for gap in document["gaps"]}
    assert {"proc_stat", "proc_cpuinfo", "proc_vm", "cgroup", "docker_engine", "libvirt_domains"} <= silent


def test_one_source_only() -> None:
    document = json.loads(agent("snapshot", "--only", "proc_stat").stdout)
    assert document["logical"]["cpu"]["times"]
    assert "meminfo_bytes" not in document["logical"]["memory"]
    assert document["gaps"] == []


def test_pretty_is_the_same_document() -> None:
    plain, pretty = agent("snapshot", "--only", "sys_cpu"), agent("snapshot", "--only", "sys_cpu", "--pretty")
    assert len(plain.stdout.splitlines()) == 1
    assert len(pretty.stdout.splitlines()) > 10
    assert json.loads(plain.stdout)["physical"] == json.loads(pretty.stdout)["physical"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m agent snapshot --pretty | head -c 10"
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up its capabilities")
def test_without_privileges_gaps_name_the_remedy() -> None:
    """Without CAP_SYS_PTRACE no other process' memory map may be read; everything else stays."""
    # Large enough to be looked at: what might hold a linear memory.
    with mmap.mmap(-1, 5 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ):
        done = subprocess.run(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "agent", "snapshot"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    denied = {gap["source"]: gap for gap in document["gaps"] if gap["reason"] == "denied"}
    assert "CAP_SYS_PTRACE" in denied["wasm_maps"]["remedy"]
    assert f"proc/{os.getpid()}/maps" in denied["wasm_maps"]["detail"] or "more" in denied["wasm_maps"]["detail"]
    assert document["physical"]["cores"]
    # Not known to be none.
    assert "logical_memories" not in document["devices"]["memory"]
