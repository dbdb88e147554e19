"""collectors/oci.py: containers that users keep below run/user, and containers without a group."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.host import Host
from agent.normalise import normalise
from collectors import oci
from collectors.oci import Bundle, BundleCache
from collectors.root import MARK, SysRoot
from collectors.root.recorder import Recorder
from tests.unit.tree import A_MARK, grow

ID, OTHER = "2b" * 32, "9d" * 32
SLICE = "/user.slice/user-1003.slice"
MANAGER = f"{SLICE}/user@1003.service"
TASK = "io.containerd.runtime.v2.task"


def config(path: str | None, **annotations: str) -> str:
    return json.dumps({"annotations": annotations, "linux": {"cgroupsPath": path}})


@pytest.mark.parametrize(
    ("place", "text", "engine", "group"),
    [
        (f"crun/{ID}/status", json.dumps({"cgroup-path": f"{MANAGER}/user.slice/libpod-{ID}.scope"}), "crun",
         f"{MANAGER}/user.slice/libpod-{ID}.scope"),
        (f"runc/{ID}/state.json", json.dumps({"cgroup_paths": {"": f"/sys/fs/cgroup{MANAGER}/box"}}), "runc", f"{MANAGER}/box"),
        (f"docker/containerd/daemon/{TASK}/moby/{ID}/config.json", config(f"user.slice:docker:{ID}"), "docker",
         f"{MANAGER}/user.slice/docker-{ID}.scope"),
        (f"containerd/{TASK}/default/{ID}/config.json", config(f"user.slice:nerdctl:{ID}"), "containerd",
         f"{MANAGER}/user.slice/nerdctl-{ID}.scope"),
        (f"containers/overlay-containers/{ID}/userdata/config.json", config(f"{MANAGER}/app.slice/box.service/x"), "podman",
         f"{MANAGER}/app.slice/box.service/x"),
    ],
    ids=["podman with crun", "runc", "docker", "nerdctl", "podman"],
)  # fmt: skip
def test_a_user_s_container(tmp_path: Path, place: str, text: str, engine: str, group: str) -> None:
    root = grow(tmp_path, {f"run/user/1003/{place}": text})
    (bundle,) = oci.read(root, BundleCache())
    assert (bundle.uid, bundle.engine, bundle.cgroup, bundle.id) == (1003, engine, group, ID)
    assert root.refusals == []


@pytest.mark.parametrize(
    "path", ["/system.slice/ssh.service/../x", "/user.slice/user-1003.slice/../user-7.slice", "..", "/user.slice/user-1003.slice/./x"]
)
def test_a_path_that_leads_elsewhere_is_none(tmp_path: Path, path: str) -> None:
    (bundle,) = oci.read(grow(tmp_path, {f"run/user/1003/containerd/{TASK}/default/{ID}/config.json": config(path)}), BundleCache())
    assert bundle.cgroup is None


def test_what_a_user_writes_says_nothing_of_others(tmp_path: Path) -> None:
    """Neither of the host's services, nor of another user's containers, nor of root's."""
    forged = config("/system.slice/web.service", **{"io.kubernetes.container.name": "forged"})
    files = {
        MARK: A_MARK,
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
        "sys/fs/cgroup/system.slice/web.service/cgroup.procs": "7\n",
        f"sys/fs/cgroup/system.slice/docker-{ID}.scope/cgroup.procs": "8\n",
        f"sys/fs/cgroup/user.slice/user-7.slice/user@7.service/user.slice/libpod-{OTHER}.scope/cgroup.procs": "9\n",
        f"run/user/1003/containerd/{TASK}/default/{ID}/config.json": forged,
        f"run/user/1003/containerd/{TASK}/default/{OTHER}/config.json": forged,
        f"run/user/1003/containerd/{TASK}/default/web/config.json": forged,
        f"run/user/7/containerd/{TASK}/default/{OTHER}/config.json": config(None, **{"io.kubernetes.container.name": "own"}),
    }
    host = normalise(take(grow(tmp_path, files), Config(), Caches()))
    assert {one.id: (one.name, one.runtime) for one in host.workloads} == {ID: (ID[:12], "docker"), OTHER: ("own", "podman")}


def test_files_of_users_are_hostile(tmp_path: Path) -> None:
    """Links, FIFOs and large files are not read, and cost nobody else anything."""
    files = {
        "secret": config("/x"),
        "run/user/1003/crun/large/status": '{"cgroup-path": "/x"}' + " " * (256 << 10),
        "run/user/1003/crun/broken/status": "{",
        "run/user/1003/crun/fine/status": json.dumps({"cgroup-path": f"{SLICE}/x"}),
        "run/crun/root/status": json.dumps({"cgroup-path": "/root"}),
    }
    root = grow(tmp_path, files)
    for name in ("fifo", "link"):
        (tmp_path / f"run/user/1003/crun/{name}").mkdir()
    os.mkfifo(tmp_path / "run/user/1003/crun/fifo/status")
    (tmp_path / "run/user/1003/crun/link/status").symlink_to("../../../../../secret")
    (tmp_path / "run/user/1003/runc").symlink_to("../../crun")
    assert {bundle.id: bundle.cgroup for bundle in oci.read(root, BundleCache())} == {"root": "/root", "fine": f"{SLICE}/x"}
    assert {refusal.reason for refusal in root.refusals} == {"absent"}
    assert root.malformed == []


def test_users_beyond_the_most_are_said_to_be_left_out(tmp_path: Path) -> None:
    users = range(2000, 2000 + oci.MAX_USERS + 2)
    root = grow(tmp_path, {f"run/user/{uid}/crun/box/status": json.dumps({"cgroup-path": "/box"}) for uid in users})
    assert len(oci.read(root, BundleCache())) == oci.MAX_USERS
    (refusal,) = root.refusals
    assert (refusal.path, refusal.reason) == ("run/user", "absent")
    assert "the containers of 2 of them" in refusal.detail


def test_a_user_with_very_many(tmp_path: Path) -> None:
    status = json.dumps({"cgroup-path": f"{SLICE}/x"})
    files = {f"run/user/1003/crun/c{number:04}/status": status for number in range(oci.MAX_CONTAINERS_OF_USER + 1)}
    root = grow(tmp_path, files | {"run/user/7/crun/mine/status": json.dumps({"cgroup-path": "/user.slice/user-7.slice/x"})})
    bundles = oci.read(root, BundleCache())
    assert sum(bundle.uid == 1003 for bundle in bundles) == oci.MAX_CONTAINERS_OF_USER
    assert [bundle.id for bundle in bundles if bundle.uid == 7] == ["mine"]
    assert ["more than" in refusal.detail for refusal in root.refusals] == [True]


@pytest.mark.parametrize(("users", "hidden"), [(("1003",), False), ((), True), (("7",), True)])
def test_what_the_unit_hides_is_a_gap_with_the_drop_in(tmp_path: Path, users: tuple[str, ...], hidden: bool) -> None:
    files = {MARK: A_MARK, "run/systemd/users/1003": "NAME=somebody\n", "run/user/": ""} | {f"run/user/{user}/": "" for user in users}
    host = take(grow(tmp_path, files), Config(only=("oci",)), Caches())
    gaps = [gap for gap in host.gaps if gap.source == "oci" and gap.reason == "denied"]
    assert bool(gaps) == hidden
    assert all("ProtectHome" in gap.detail and "deploy/rootless.conf" in (gap.remedy or "") for gap in gaps)


def test_a_recording_has_users_containers_without_their_secrets(tmp_path: Path) -> None:
    text = json.dumps({"process": {"env": ["TOKEN=hunter2"]}, "linux": {"cgroupsPath": f"{MANAGER}/x"}})
    grow(tmp_path / "host", {f"run/user/1003/containerd/{TASK}/default/{ID}/config.json": text})
    recorder = Recorder(tmp_path / "host", tmp_path / "made", 1.0, "0")
    bundles = oci.read(recorder, BundleCache())
    recorder.close()
    assert [bundle.cgroup for bundle in bundles] == [f"{MANAGER}/x"]
    assert oci.read(SysRoot(tmp_path / "made"), BundleCache()) == bundles
    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / "made").rglob("*") if path.is_file())


@pytest.mark.parametrize("exits", ["crio", "libpod"])
def test_what_has_ended_is_no_container(tmp_path: Path, exits: str) -> None:
    files = {f"{oci.USERDATA}/{id_}/userdata/config.json": config(f"/x/{id_}") for id_ in (ID, OTHER)}
    root = grow(tmp_path, files | {f"run/{exits}/exits/{OTHER}": "0"})
    assert [bundle.id for bundle in oci.read(root, BundleCache())] == [ID]


def host_with(tmp_path: Path, files: dict[str, str]) -> Host:
    files = {MARK: A_MARK, "sys/fs/cgroup/cgroup.controllers": "cpu\n", "sys/fs/cgroup/cgroup.procs": "1\n"} | files
    return normalise(take(grow(tmp_path, files), Config(), Caches()))


@pytest.mark.parametrize(
    ("place", "text", "name"),
    [
        (f"run/containerd/{TASK}/k8s.io/{ID}/config.json", config(f"a.slice:cri-containerd:{ID}"), f"containerd {ID[:12]}"),
        (f"run/containerd/{TASK}/default/redis/config.json", config("/default/redis"), "containerd redis"),
        ("run/runc/box/state.json", json.dumps({"cgroup_paths": {"": "/sys/fs/cgroup/box"}}), "runc box"),
        (f"run/user/1003/crun/{ID}/status", json.dumps({"cgroup-path": f"{SLICE}/x"}), f"crun {ID[:12]}"),
        (f"{oci.USERDATA}/{ID}/userdata/config.json", config(f"/x:crio:{ID}", **{"io.container.manager": "cri-o"}), f"cri-o {ID[:12]}"),
    ],
)
def test_a_container_whose_group_is_not_there_is_a_gap_that_names_it(tmp_path: Path, place: str, text: str, name: str) -> None:
    (gap,) = [gap for gap in host_with(tmp_path, {place: text}).gaps if gap.source == "oci"]
    assert name in gap.detail
    assert gap.reason == "absent"
    assert gap.remedy


def test_a_container_that_has_its_group_is_no_gap(tmp_path: Path) -> None:
    """By its path, by its id in another path, or in a virtual machine of its own."""
    task = f"run/containerd/{TASK}"
    files = {
        f"{task}/default/redis/config.json": config("/default/redis"),
        "sys/fs/cgroup/default/redis/cgroup.procs": "7\n",
        f"{task}/k8s.io/{ID}/config.json": config(f"a.slice:cri-containerd:{ID}"),
        f"sys/fs/cgroup/a.slice:cri-containerd:{ID}/cgroup.procs": "8\n",
        f"{task}/k8s.io/{OTHER}/config.json": config(f"a.slice:cri-containerd:{OTHER}"),
        f"{task}/k8s.io/{OTHER}/shim-binary-path": "/usr/bin/containerd-shim-kata-v2",
    }
    host = host_with(tmp_path, files)
    assert [gap for gap in host.gaps if gap.source == "oci"] == []
    assert {one.id: one.runtime for one in host.workloads} == {"redis": "containerd", ID: "containerd"}


def test_many_without_a_group_are_one_gap(tmp_path: Path) -> None:
    files = {f"run/crun/c{number:02}/status": json.dumps({"cgroup-path": f"/c{number}"}) for number in range(20)}
    (gap,) = [gap for gap in host_with(tmp_path, files).gaps if gap.source == "oci"]
    assert "c00" in gap.detail
    assert "and 12 more" in gap.detail


def test_root_s_word_goes_before_a_user_s(tmp_path: Path) -> None:
    path = f"{SLICE}/box"
    files = {f"run/{top}crun/{name}/status": json.dumps({"cgroup-path": path}) for top, name in (("", "root"), ("user/1003/", "user"))}
    files |= {f"sys/fs/cgroup{path}/cgroup.procs": "7\n"}
    assert [one.id for one in host_with(tmp_path, files).workloads] == ["root"]


def test_a_bundle_says_whose_it_is() -> None:
    assert Bundle(id="x", engine="crun").uid is None
