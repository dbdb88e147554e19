"""The command line: exit codes, one-line errors, and never a traceback, whatever the root holds."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest

from agent.cli import build_parser, main
from agent.collect.sources import MACHINE
from collectors.root import LATER, MARK
from tests.unit.tree import grow, recorded

REPOSITORY = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    returncode: object
    stdout: str
    stderr: str


Agent = Callable[..., Done]


@pytest.fixture
def agent(capfd: pytest.CaptureFixture[str]) -> Agent:
    """The command line in this process: Python takes longer to start than most verbs to answer."""

    def run(*arguments: str | Path) -> Done:
        code: object
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
        return Done(code, *capfd.readouterr())

    return run


def process(*before: str, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, below a command that changes what it may do."""
    command = [*before, sys.executable, "-m", "agent", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("status", "--kind", "process-group"),
        ("status", "--sort", "size"),
        ("status", "--top", "0"),
        ("status", "--top", "some"),
        ("status", "--width", "39"),
        ("status", "--root", "/no/such/root"),
        ("snapshot", "--nonsense"),
        ("snapshot", "--root", "/no/such/root"),
        ("snapshot", "--root", "/proc/version"),
        ("snapshot", "--only", "nonsense"),
        ("snapshot", "--interval", "-1"),
        ("snapshot", "--interval", "soon"),
        ("topology", "--format", "nonsense"),
        ("topology", "--width", "wide"),
        ("topology", "--width", "10"),
        ("topology", "--root", "/no/such/root"),
        ("explain",),
        ("explain", "a", "--interval", "-1"),
        ("explain", "a", "--width", "3"),
        ("compare", "--lang", "fr"),
        ("compare", "--section", "99"),
        ("what-if", "a"),
        ("what-if", "a", "--pin", "x"),
        ("what-if", "a", "--cpus", "0"),
        ("what-if", "a", "--cpus", "nan"),
        ("what-if", "a", "--cpus", "inf"),
        ("what-if", "a", "--as", "process"),
        ("what-if", "a", "--weight", "heavy"),
        ("what-if", "a", "--node", "far"),
        ("what-if", "a", "--move-to", "far"),
        ("what-if", "a", "--memory", "0"),
        ("what-if", "a", "--memory", "lots"),
        ("what-if", "a", "--memory", "1X"),
        ("what-if", "a", "--memory", "-1M"),
        ("what-if", "a", "--without"),
        ("serve", "--web.listen-address", "nowhere"),
        ("serve", "--web.listen-address", "127.0.0.1:99999"),
        ("serve", "--root", "/no/such/root"),
        ("record",),
        ("record", "/"),
        ("calibrate", "--seconds", "0"),
        ("calibrate", "--seconds", "nan"),
        ("calibrate", "--check", "--store", "/no/such/calibration"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_2(agent: Agent, arguments: tuple[str, ...]) -> None:
    done = agent(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("agent")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("status", "--help"),
        ("snapshot", "--help"),
        ("topology", "--help"),
        ("serve", "--help"),
        ("record", "--help"),
        ("calibrate", "--help"),
        ("explain", "--help"),
        ("compare", "--help"),
        ("what-if", "--help"),
        ("--version",),
    ],
)
def test_help_and_version(agent: Agent, arguments: tuple[str, ...]) -> None:
    done = agent(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stratascope" if arguments == ("--version",) else "usage: agent")


def test_the_package_is_a_command() -> None:
    """What the other tests run in their own process."""
    done, wrong = process(arguments=("--version",)), process(arguments=("nonsense",))
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "stratascope", "")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_help_imports_no_library_that_a_verb_uses() -> None:
    """Start-up time is import time: what a verb needs, it imports when it runs."""
    text = "import sys; from agent.cli import build_parser; build_parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "argparse" in imported
    assert not imported & {"collectors", "exporters", "msgspec", "rich", "starlette", "uvicorn", "docker", "libvirt", "wasmtime", "logging"}


def test_examples_in_help_are_arguments_that_the_verb_takes() -> None:
    parser = build_parser()
    (verbs,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, verb in verbs.items():
        commands = re.findall(r"^  agent ([^|>;\n]+)", verb.epilog or "", re.MULTILINE)
        assert name in {command.split()[0] for command in commands}
        for command in commands:
            parser.parse_args(shlex.split(command))


def test_an_empty_root_is_a_snapshot_of_gaps(agent: Agent, tmp_path: Path) -> None:
    done = agent("snapshot", "--root", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["physical"] == {"cpus": {"online": ""}, "memory": {}}
    assert document["workloads"] == document["predictions"] == []
    assert "virtual" not in document["devices"]["cpu"]
    silent = {gap["source"] for gap in document["gaps"]}
    assert {"proc_stat", "proc_cpuinfo", "proc_vm", "cgroup", "docker_engine", "libvirt_domains"} <= silent


def test_who_is_not_there_cannot_be_explained(agent: Agent, tmp_path: Path) -> None:
    for arguments in (("explain", "web"), ("what-if", "web", "--cpus", "max")):
        done = agent(*arguments, "--root", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "agent: web: no such workload; none was found\n")
    done = agent("compare", "--root", tmp_path, "--section", "11.3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Virtualization (0 here)" in done.stdout


def test_a_word_that_may_mean_several_names_them(agent: Agent, tmp_path: Path) -> None:
    """Names are the users': what a terminal would act on is escaped in an error, too."""
    ids = [f"abc{number}" + "0" * 60 for number in range(2)]
    scopes = [f"sys/fs/cgroup/system.slice/docker-{id_}.scope" for id_ in ids]
    told = [{"id": id_, "name": f"web\x1b[31m{id_[:4]}", "image": "i"} for id_ in ids]
    recorded(
        tmp_path,
        {
            "proc/1/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/system.slice/cgroup.controllers": "cpu memory\n",
            **{f"{scope}/cgroup.controllers": "cpu memory\n" for scope in scopes},
            **{f"{scope}/cgroup.procs": f"{number}\n" for number, scope in enumerate(scopes, 7)},
            "replies/docker_engine.json": json.dumps([{"name": "docker", "version": "1", "containers": told}]),
        },
    )
    done = agent("explain", "abc", "--root", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "agent: abc matches 2 workloads:"
    assert lines[1:] == [f"  'web\\x1b[31m{id_[:4]}'  web\\x1b[31m{id_[:4]}  containerization  {id_}" for id_ in ids]
    one = agent("explain", "abc1", "--root", tmp_path)
    assert (one.returncode, one.stderr) == (0, "")
    assert "not known: what it loses is not known" in one.stdout
    assert "\x1b" not in one.stdout
    asked = agent("what-if", "abc1", "--cpus", "0.5", "--pin", "0", "--root", tmp_path)
    assert (asked.returncode, asked.stdout, asked.stderr) == (2, "", "agent: what-if: CPUs 0: not online here\n")
    for changes, problem in (
        (("--without", "abc1"), "it cannot leave itself; --without names a neighbour"),
        (("--without", "redis"), "redis: no such workload; there are"),
        (("--without", "abc"), "abc matches 2 workloads:"),
        (("--move-to", "1"), "node 1: not there"),
        (("--move-to", "1", "--pin", "0"), "leave --pin and --node out"),
    ):
        asked = agent("what-if", "abc1", *changes, "--root", tmp_path)
        assert (asked.returncode, asked.stdout) == (2, "")
        assert problem in asked.stderr
    asked = agent("what-if", "abc1", "--without", "abc0", "--memory", "1.5G", "--root", tmp_path, "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert json.loads(asked.stdout)["change"] == {"memory": 3 << 29, "without": [ids[0]]}


def test_a_recording_has_a_second_pass_where_workloads_run(agent: Agent, tmp_path: Path) -> None:
    """A recording is recorded with both of its passes, and without waiting."""
    scope = f"sys/fs/cgroup/system.slice/docker-{'0c' * 32}.scope"
    files = {"sys/fs/cgroup/cgroup.controllers": "cpu\n", f"{scope}/cgroup.procs": "7\n", f"{scope}/cpu.weight": "100\n"}
    live = tmp_path / "live"
    grow(live, files)
    for arguments in (("--interval", "0"), ("--interval", "0.1"), ("--interval", "0.1", "--only", "proc_stat")):
        assert agent("record", tmp_path / arguments[1] / str(len(arguments)), "--root", live, *arguments).returncode == 0
    once, twice, idle = (tmp_path / name for name in ("0/2", "0.1/2", "0.1/4"))
    assert [(directory / LATER).exists() for directory in (once, twice, idle)] == [False, True, False]
    assert {path.relative_to(twice) for path in twice.rglob("*")} > {Path(LATER, path.relative_to(once)) for path in once.rglob("*")}
    again = tmp_path / "again"
    assert agent("record", again, "--root", twice, "--interval", "3000").returncode == 0
    for part in (".", LATER):
        names = {path.relative_to(twice / part) for path in (twice / part).rglob("*")}
        assert names == {path.relative_to(again / part) for path in (again / part).rglob("*")}
    (twice / LATER / MARK).unlink()
    done = agent("snapshot", "--root", twice)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"agent: {twice}/{LATER}: no {MARK} in it\n"


def test_one_source_only(agent: Agent) -> None:
    document = json.loads(agent("snapshot", "--only", "proc_stat").stdout)
    assert document["logical"]["cpu"]["times"]
    assert "meminfo_bytes" not in document["logical"]["memory"]
    assert document["gaps"] == []


def test_an_empty_root_has_a_topology_of_gaps(agent: Agent, tmp_path: Path) -> None:
    done = agent("topology", "--root", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "which CPUs are online is not known" in done.stdout
    done = agent("topology", "--root", tmp_path, "--format", "hwloc-xml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "agent: no CPU is known, and hwloc has no machine without one\n"


def test_topology_as_json_is_a_part_of_the_snapshot(agent: Agent) -> None:
    part, whole = json.loads(agent("topology", "--format", "json").stdout), json.loads(agent("snapshot", "--interval", "0").stdout)
    assert part.keys() == {"schema", "taken_at", "agent", "host", "physical", "logical", "gaps"} < whole.keys()
    described = json.loads(agent("snapshot", "--schema").stdout)
    described["$defs"]["Snapshot"]["required"] = sorted(part)
    jsonschema.Draft202012Validator(described).validate(part)
    for name in ("cpus", "packages", "cores", "caches"):
        assert part["physical"][name] == whole["physical"][name]
    # What runs on the host was not asked for, and is no gap.
    assert {gap["source"] for gap in part["gaps"]} <= {*MACHINE}


def test_topology_for_people_in_a_pipe(agent: Agent) -> None:
    plain, one = agent("topology"), agent("topology", "--no-workloads", "--all", "--width", "60")
    assert (plain.returncode, plain.stderr, one.returncode) == (0, "", 0)
    assert "\x1b" not in plain.stdout
    assert "Workloads" not in one.stdout
    assert max(map(len, one.stdout.splitlines())) <= 60


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs, to be left with one")
def test_what_the_agent_may_use_is_not_the_host(agent: Agent) -> None:
    free = agent("topology", "--format", "hwloc-xml").stdout
    bound = process("taskset", "-c", str(min(os.sched_getaffinity(0))), arguments=("topology", "--format", "hwloc-xml")).stdout
    assert re.findall("cpuset=[^ ]*", bound) == re.findall("cpuset=[^ ]*", free)


def test_pretty_is_the_same_document(agent: Agent) -> None:
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
        done = process("setpriv", "--bounding-set=-all", "--inh-caps=-all", arguments=("snapshot",))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    denied = {gap["source"]: gap for gap in document["gaps"] if gap["reason"] == "denied"}
    assert "CAP_SYS_PTRACE" in denied["wasm_maps"]["remedy"]
    assert f"proc/{os.getpid()}/maps" in denied["wasm_maps"]["detail"] or "more" in denied["wasm_maps"]["detail"]
    assert document["physical"]["cores"]
    # Not known to be none.
    assert "logical_memories" not in document["devices"]["memory"]
