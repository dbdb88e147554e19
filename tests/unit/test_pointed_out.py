"""agent/config.py and collectors/cgroup/pointed_out.py: groups of which the user says that they are workloads."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from agent.cli import main
from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config, workload_group
from agent.normalise import normalise
from collectors.cgroup import pointed_out
from collectors.cgroup.pointed_out import PointedOut
from collectors.root import MARK
from tests.unit.tree import A_MARK, grow

A = "5d" * 32


@pytest.mark.parametrize(
    ("pattern", "path", "name"),
    [
        ("/batch/(?P<name>[^/]+)", "/batch/night", "night"),
        ("/batch/(?P<name>[^/]+)", "/deep/below/batch/night", "night"),
        ("/batch/(?P<name>[^/]+)", "/batch/night/step", None),
        ("/batch/(?P<name>[^/]+)", "/batch", None),
        (r"render-(?P<name>\d+)(?:\.scope)?", "/queue.slice/render-17.scope", "17"),
        (r"render-(?P<name>\d+)(?:\.scope)?", "/queue.slice/prerender-17.scope", None),
        (r"^/fleet/(?P<tenant>\w+)/(?P<name>[a-z]{1,8})$", "/fleet/t1/web", "web"),
        (r"^/fleet/(?P<tenant>\w+)/(?P<name>[a-z]{1,8})$", "/other/fleet/t1/web", None),
        (r".*/job_(?P<name>\d+)", "/a/b/c/d/e/f/job_4", "4"),
        (r"/x(?P<name>.*)", "/x", None),
        (r"/(?P<name>[)(*+?|]+)", "/)(", ")("),
    ],
)
def test_it_matches_the_end_of_a_path(pattern: str, path: str, name: str | None) -> None:
    owner = PointedOut((workload_group(pattern),)).owner(path)
    assert (owner and owner.id) == name
    assert owner is None or (owner.runtime, owner.paradigm, owner.path) == ("cgroup", "process", path)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(", "no regular expression"),
        ("[z-a](?P<name>x)", "no regular expression"),
        ("/batch/(.*)", "(?P<name>...)"),
        ("(?P<name>(a+)+)", "repeats what has repeats"),
        ("(?P<name>(?:a|aa)*)x", "repeats what has repeats"),
        ("(?P<name>(?:a?){20})x", "repeats what has repeats"),
        ("(?P<name>((?:a|b))+)", "repeats what has repeats"),
        ("(?P<name>.*.*.*.*)x", "at most 3 of * and +"),
        ("(?P<name>x)a?a?a?a?a?a?a?a?a?", "8 of | and ?"),
        (r"(?P<name>a+)\1", "no back-references"),
        ("(?P<name>a)(?=b)", "no look-around"),
        ("(?P<name>a)(?P=name)", "no back-references"),
        ("(?i)(?P<name>a)", "no flags"),
    ],
)
def test_what_is_no_pattern_of_a_group_is_a_usage_error(pattern: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        workload_group(pattern)
    with pytest.raises(SystemExit) as caught:
        main(["snapshot", "--workload-group", pattern])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "--workload-group" in error
    assert fault in error


@pytest.mark.parametrize("pattern", [".*.*.*x(?P<name>y)", "(?P<name>[a-z]+[a-z]+[a-z]+)0", "/(?P<name>a?a?a?a?a?a?a?a?[a]+)b"])
def test_a_name_that_is_made_to_be_slow_stalls_no_pass(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad expression and bad names: the rest of the new groups waits for the next pass."""
    monkeypatch.setattr(pointed_out, "MAX_SECONDS", 0.05)
    user = PointedOut((workload_group(pattern),))
    began = time.thread_time()
    for number in range(2000):
        assert user.owner(f"/{number}" + "a" * 480) is None
    assert time.thread_time() - began < 5
    assert user.owner("/" + "a" * 4000) is None


FILES = {
    MARK: A_MARK,
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/batch/night/cgroup.procs": "7\n",
    "sys/fs/cgroup/batch/night/cpu.max": "20000 100000\n",
    "sys/fs/cgroup/batch/night/step/cgroup.procs": "8\n",
    f"sys/fs/cgroup/batch/{A}/cgroup.procs": "9\n",
    f"sys/fs/cgroup/system.slice/docker-{A}.scope/cgroup.procs": "10\n",
    "sys/fs/cgroup/system.slice/app.service/cgroup.procs": "11\n",
}


def test_a_group_that_is_pointed_out_is_a_workload(tmp_path: Path) -> None:
    """Before what only its digits say, after what an engine's name says; units are its, too, where they are pointed out."""
    patterns = ("/batch/(?P<name>[^/]+)", r".*/(?P<name>app)\.service", r".*/docker-(?P<name>.*)\.scope")
    config = Config(workload_groups=tuple(workload_group(pattern) for pattern in patterns))
    found = {one.id: one for one in normalise(take(grow(tmp_path, FILES), config, Caches())).workloads}
    assert {id_: (one.runtime, one.name, one.processes) for id_, one in found.items()} == {
        "/batch/night": ("cgroup", "night", 2),
        f"/batch/{A}": ("cgroup", A[:12], 1),
        "/system.slice/app.service": ("cgroup", "app", 1),
        A: ("docker", A[:12], 1),
    }


def test_groups_that_waited_are_matched_at_the_next_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, caches = grow(tmp_path, FILES), Caches()
    config = Config(workload_groups=(workload_group(r"(?P<name>app)\.service"),))
    monkeypatch.setattr(pointed_out, "MAX_SECONDS", -1.0)
    late = normalise(take(root, config, caches))
    assert [gap.reason for gap in late.gaps if "--workload-group" in gap.detail] == ["late"]
    assert "/system.slice/app.service" not in {one.id for one in late.workloads}
    monkeypatch.undo()
    assert "/system.slice/app.service" in {one.id for one in normalise(take(root, config, caches)).workloads}
