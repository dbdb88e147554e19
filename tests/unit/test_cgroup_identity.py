"""collectors/cgroup/identity.py: one id is one workload, whoever else makes a group of that name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.unit.tree import recorded

A, B = "3e" * 32, "4f" * 32
USER = "/user.slice/user-1000.slice/user@1000.service"
OWN = f"/kubepods/burstable/pod6b0e1c52-93f4-4c1d-8a77-0f5d2e9b41aa/{A}"


@pytest.mark.parametrize(
    ("own", "forged"),
    [
        (f"/system.slice/docker-{A}.scope", f"{USER}/docker-{A}.scope"),
        (OWN, f"{USER}/{A}"),
        (OWN, f"/docker/{B}/{A}"),
        (f"/docker/{A}", f"/docker/{B}/docker/{A}"),
        (f"/machine.slice/libpod-{A}.scope", f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope"),
        (f"/docker/{A}", f"/docker/{A}/docker/{A}"),
    ],
)
def test_a_group_of_another_s_id_takes_nothing_from_it(tmp_path: Path, own: str, forged: str) -> None:
    files = {"sys/fs/cgroup/cgroup.controllers": "cpu\n"}
    files |= {f"sys/fs/cgroup{path}/cgroup.procs": f"{number}\n" for number, path in enumerate((own, forged, f"/docker/{B}"), 70)}
    host = normalise(take(recorded(tmp_path, files), Config(), Caches()))
    found = {one.id: one for one in host.workloads}
    assert found.keys() == {A, B, forged}
    assert (found[A].cgroup, found[A].name) == (own, A[:12])
    assert (found[forged].cgroup, found[forged].name) == (forged, A)
    lines = exposition(snapshot_of(Window(after=host), 0.0), Run(), TextCache()).decode().splitlines()
    assert [series for series, count in Counter(line.rsplit(" ", 1)[0] for line in lines if line[0] != "#").items() if count > 1] == []


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [("/lxc.payload.box", "/lxc/box", "box"), ("/machine/db.libvirt-qemu", "/libvirt/qemu/db", "db"), ("/garden/box", "/lxc/box", "box")],
)
def test_two_engines_with_one_name(tmp_path: Path, first: str, second: str, name: str) -> None:
    files = {"sys/fs/cgroup/cgroup.controllers": "cpu\n"} | {f"sys/fs/cgroup{path}/cgroup.procs": "7\n" for path in (first, second)}
    found = {one.id: one for one in normalise(take(recorded(tmp_path, files), Config(), Caches())).workloads}
    assert len(found) == 2
    assert name in found
    assert {one.name for one in found.values()} == {name}
    assert {one.cgroup for one in found.values()} == {first, second}
