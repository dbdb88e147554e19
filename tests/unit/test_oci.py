"""collectors/oci.py: bundles and states, whose they are, and what is not kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.facts.cgroup import Pod
from agent.model.values import Limit
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from collectors import cgroup, oci
from collectors.cgroup import CgroupCache
from collectors.oci import Bundle, BundleCache, parse_config, parse_crun_status, parse_runc_state
from collectors.root import MARK, Mark, Refusal, SysRoot, Unavailable
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.hosts.memory_root import Files, MemoryRoot
from tests.unit.tree import A_MARK, grow, malformed, recorded

TASKS = "run/containerd/io.containerd.runtime.v2.task"
ID = "0a" * 32
POD = "e5f8cc1b-5d1f-4f0e-9f0a-0c2d9d3c4b5a"

CTR = {
    "ociVersion": "1.0.2",
    "process": {"args": ["serve", "--password=hunter2"], "env": ["TOKEN=hunter2"]},
    "annotations": {"com.example.team": "blue", "com.example.secret": "hunter2"},
    "linux": {"cgroupsPath": "/lab/ctr1"},
}
CRI = {
    "annotations": {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "nginx:1",
        "io.kubernetes.cri.sandbox-name": "web-7d9",
        "io.kubernetes.cri.sandbox-namespace": "shop",
    },
    "linux": {"cgroupsPath": f"kubepods-burstable-pod{POD.replace('-', '_')}.slice:cri-containerd:{ID}"},
}
CRIO = {
    "annotations": {
        "io.container.manager": "cri-o",
        "io.kubernetes.container.name": "db",
        "io.kubernetes.cri-o.ImageName": "pg:16",
        "io.kubernetes.pod.name": "db-0",
        "io.kubernetes.pod.namespace": "shop",
    },
    "linux": {"cgroupsPath": f"kubepods.slice:crio:{ID}"},
}


def test_no_runtime(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        oci.read(SysRoot(tmp_path), BundleCache())
    assert caught.value.reason == "absent"


def test_a_runtime_without_containers(tmp_path: Path) -> None:
    assert oci.read(grow(tmp_path, {f"{TASKS}/": ""}), BundleCache()) == ()


def test_containerd_s_bundle(tmp_path: Path) -> None:
    files = {
        f"{TASKS}/lab/ctr1/config.json": json.dumps(CTR),
        f"{TASKS}/lab/ctr1/shim-binary-path": "/usr/bin/containerd-shim-runc-v2",
        f"{TASKS}/lab/ctr1/rootfs/etc/passwd": "",
    }
    (bundle,) = oci.read(recorded(tmp_path, files), BundleCache(), labels=("com.example.team", "com.example.none"))
    assert bundle == Bundle(
        id="ctr1",
        engine="containerd",
        cgroup="/lab/ctr1",
        runtime="runc",
        labels={"com.example.team": "blue"},
    )


@pytest.mark.parametrize(
    ("shim", "told", "runtime"),
    [
        ("/usr/bin/containerd-shim-runsc-v1", None, "runsc"),
        ("/usr/bin/containerd-shim-kata-v2\n", None, "kata"),
        ("/usr/bin/containerd-shim-runc-v2", "/usr/local/bin/runsc", "runsc"),
        ("/usr/bin/containerd-shim-runc-v2", "", "runc"),
        ("/opt/shim", None, "shim"),
        ("", None, None),
        ("containerd-shim-\0\n", None, None),
    ],
)
def test_the_program_that_runs_it(tmp_path: Path, shim: str, told: str | None, runtime: str | None) -> None:
    files = {f"{TASKS}/moby/{ID}/config.json": "{}", f"{TASKS}/moby/{ID}/shim-binary-path": shim}
    if told is not None:
        files[f"{TASKS}/moby/{ID}/runtime"] = told
    (bundle,) = oci.read(recorded(tmp_path, files), BundleCache())
    assert (bundle.engine, bundle.runtime) == ("docker", runtime)


@pytest.mark.parametrize(
    ("place", "config", "names"),
    [
        (f"{TASKS}/k8s.io/{ID}/config.json", CRI, ("containerd", "web", "nginx:1", "web-7d9", "shop")),
        (f"{oci.USERDATA}/{ID}/userdata/config.json", CRIO, ("cri-o", "db", "pg:16", "db-0", "shop")),
        (f"{oci.USERDATA}/{ID}/userdata/config.json", {"annotations": {"io.container.manager": "libpod"}}, ("podman", *[None] * 4)),
    ],
    ids=["containerd", "cri-o", "podman"],
)
def test_names_of_kubernetes(tmp_path: Path, place: str, config: object, names: tuple[str | None, ...]) -> None:
    (bundle,) = oci.read(recorded(tmp_path, {place: json.dumps(config)}), BundleCache())
    assert (bundle.engine, bundle.name, bundle.image, bundle.pod_name, bundle.pod_namespace) == names


def test_a_state_of_a_bundle_s_container_is_not_another(tmp_path: Path) -> None:
    files = {
        f"{TASKS}/lab/ctr1/config.json": json.dumps(CTR),
        "run/runc/ctr1/state.json": json.dumps({"cgroup_paths": {"": "/sys/fs/cgroup/other"}}),
        "run/runc/alone/state.json": json.dumps({"cgroup_paths": {"": "/sys/fs/cgroup/user/alone"}}),
        "run/crun/mine/status": json.dumps({"pid": 7, "cgroup-path": "/system.slice/crun-mine.scope"}),
    }
    found = {bundle.id: (bundle.engine, bundle.cgroup) for bundle in oci.read(recorded(tmp_path, files), BundleCache())}
    assert found == {
        "ctr1": ("containerd", "/lab/ctr1"),
        "alone": ("runc", "/user/alone"),
        "mine": ("crun", "/system.slice/crun-mine.scope"),
    }


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/lab/ctr1", "/lab/ctr1"),
        ("lab//ctr1/", "/lab/ctr1"),
        ("a-b.slice:docker:0a", "/a.slice/a-b.slice/docker-0a.scope"),
        ("-.slice:x:0a", "/x-0a.scope"),
        ("system.slice::0a", "/system.slice/0a.scope"),
        ("/a:b:c", "/a:b:c"),
        ("../../etc", None),
        ("/a/./b", None),
        ("a\0b", None),
        ("/", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_group_is(path: str | None, group: str | None) -> None:
    assert parse_config(json.dumps({"linux": {"cgroupsPath": path}}))[0] == group


def test_a_group_of_v1() -> None:
    assert (
        parse_runc_state('{"cgroup_paths": {"cpu": "/sys/fs/cgroup/cpu,cpuacct/lab/x", "memory": "/sys/fs/cgroup/memory/lab/x"}}')
        == "/lab/x"
    )
    assert parse_runc_state('{"cgroup_paths": {"": "/elsewhere/x"}}') is None
    assert parse_runc_state("{}") is None
    assert parse_crun_status("{}") is None


@pytest.mark.parametrize("text", ["", "[]", "3", '"x"', "{", '{"annotations": {}', "[" * 99999])
def test_no_container_s_json(text: str) -> None:
    for parse in (parse_config, parse_runc_state, parse_crun_status):
        with pytest.raises(Malformed):
            parse(text)


@pytest.mark.parametrize(
    ("config", "bundle"),
    [
        ({"annotations": 3, "linux": {"cgroupsPath": "/lab/x"}}, Bundle(id="x", engine="containerd", cgroup="/lab/x")),
        (
            {"linux": [], "annotations": {"io.kubernetes.cri.container-name": "web", "com.example": 7}},
            Bundle(id="x", engine="containerd", name="web"),
        ),
        (
            {
                "linux": {"cgroupsPath": "/lab/x"},
                "annotations": {"io.kubernetes.cri.container-name": ["web"], "io.kubernetes.cri.image-name": "lab"},
            },
            Bundle(id="x", engine="containerd", cgroup="/lab/x", image="lab"),
        ),
    ],
    ids=["annotations", "linux", "one annotation"],
)
def test_a_value_that_is_malformed_costs_that_value(tmp_path: Path, config: object, bundle: Bundle) -> None:
    path = f"{TASKS}/lab/x/config.json"
    root = recorded(tmp_path, {path: json.dumps(config)})
    assert oci.read(root, BundleCache()) == (bundle,)
    assert [str(error) for error in root.malformed] == [f"{path}: values that are not what the specification says"]


def test_one_that_is_broken_costs_no_other(tmp_path: Path) -> None:
    files = {
        f"{TASKS}/lab/empty/config.json": "",
        f"{TASKS}/lab/broken/config.json": '{"hunter2"',
        f"{TASKS}/lab/large/config.json": " " * oci.MAX_BYTES + "{}",
        f"{TASKS}/lab/none/": "",
        f"{TASKS}/lab/whole/config.json": "{}",
    }
    root = recorded(tmp_path, files)
    assert [bundle.id for bundle in oci.read(root, BundleCache())] == ["whole"]
    assert malformed(root) == [f"{TASKS}/lab/broken/config.json", f"{TASKS}/lab/large/config.json"]
    assert "hunter2" not in str(root.malformed)


def test_a_bundle_is_read_once(tmp_path: Path) -> None:
    config = tmp_path / TASKS / "lab/ctr1/config.json"
    root = grow(tmp_path, {f"{TASKS}/lab/ctr1/config.json": json.dumps(CTR)})
    cache = BundleCache()
    first = oci.read(root, cache)
    config.write_text("{}")
    assert oci.read(root, cache) == first
    config.parent.rename(tmp_path / "gone")
    grow(tmp_path, {f"{TASKS}/lab/ctr1/config.json": "{}"})
    (again,) = oci.read(root, cache)
    assert again.cgroup is None


def test_a_thousand_cost_a_listing(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"{TASKS}/lab/c{number}/config.json": json.dumps(CTR) for number in range(1000)})
    cache = BundleCache()
    oci.read(root, cache)

    class Listed(SysRoot):
        def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
            raise AssertionError(f"{path} is read again")

    assert len(oci.read(Listed(tmp_path), cache)) == 1000


def test_secrets_do_not_reach_a_recording(tmp_path: Path) -> None:
    grow(tmp_path / "host", {f"{TASKS}/lab/ctr1/config.json": json.dumps(CTR)})
    recorder = Recorder(tmp_path / "host", tmp_path / "made", 1.0, "0")
    found = oci.read(recorder, BundleCache(), labels=("com.example.team",))
    recorder.close()
    assert "hunter2" not in (tmp_path / f"made/{TASKS}/lab/ctr1/config.json").read_text()
    assert oci.read(SysRoot(tmp_path / "made"), BundleCache(), labels=("com.example.team",)) == found


CTR1 = {
    MARK: A_MARK,
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/lab/ctr1/cgroup.procs": "7\n",
    "sys/fs/cgroup/lab/ctr1/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/lab/ctr1/cpu.max": "20000 100000\n",
    "sys/fs/cgroup/lab/ctr1/init.scope/cgroup.procs": "8\n",
    "sys/fs/cgroup/lab/ctr1/docker/cgroup.procs": "",
    f"sys/fs/cgroup/lab/ctr1/docker/{ID}/cgroup.procs": "9\n",
    "sys/fs/cgroup/other/cgroup.procs": "10\n",
}


def test_a_group_is_whose_its_bundle_says(tmp_path: Path) -> None:
    """Also what is nested in it, units are its own; a container by its name is a container in it."""
    files = CTR1 | {f"{TASKS}/lab/ctr1/config.json": json.dumps(CTR), f"{TASKS}/lab/ctr1/shim-binary-path": "/containerd-shim-runsc-v1"}
    found = {one.id: one for one in normalise(take(grow(tmp_path, files), Config(labels=("com.example.team",)), Caches())).workloads}
    assert found.keys() == {"ctr1", ID}
    ours = found["ctr1"]
    assert (ours.runtime, ours.name, ours.isolation) == ("containerd", "ctr1", "application kernel")
    assert (ours.cpu.quota_usec, ours.processes) == (Limit(20000), 2)
    assert ours.labels == {"com.example.team": "blue"}
    assert (found[ID].runtime, found[ID].parent) == ("docker", "ctr1")


def test_a_name_is_not_told_otherwise(tmp_path: Path) -> None:
    other = "0b" * 32
    told = {f"/docker/{ID}": ("containerd", "evil"), "/docker": ("containerd", "outer")}
    told |= {f"/libpod-{other}.scope/container": ("crun", other), "/crun-mine.scope": ("crun", "mine")}
    places = (f"docker/{ID}", f"libpod-{other}.scope/container", "crun-mine.scope", "other.scope")
    files = {f"sys/fs/cgroup/{place}/cgroup.procs": "7" for place in places} | {"sys/fs/cgroup/cgroup.controllers": ""}
    root = recorded(tmp_path, files)
    owners = {group.path: group.owner for group in cgroup.read(root, CgroupCache(), stated_owners=told).groups if group.owner}
    assert {path: (owner.runtime, owner.id) for path, owner in owners.items()} == {
        "/docker": ("containerd", "outer"),
        f"/docker/{ID}": ("docker", ID),
        f"/libpod-{other}.scope": ("podman", other),
        f"/libpod-{other}.scope/container": ("podman", other),
        "/crun-mine.scope": ("crun", "mine"),
        "/other.scope": ("systemd", "other.scope"),
    }


@pytest.mark.parametrize(("hidden", "count"), [(False, 1), (True, None)])
def test_neighbours_are_not_counted_where_a_container_may_be_in_hiding(hidden: bool, count: int | None) -> None:
    """Whoever may not look into a runtime's directories sees groups without knowing that they are containers."""
    machine = {f"sys/devices/system/cpu/{name}": b"0-1\n" for name in ("online", "possible", "present")}
    machine |= {f"sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list": f"{cpu}\n".encode() for cpu in (0, 1)}
    files: Files = {**machine, "sys/fs/cgroup/cgroup.controllers": b"cpuset\n", "replies/processes.json": b"[]"}
    for name in ("0a" * 32, "0b" * 32):
        files |= {f"sys/fs/cgroup/system.slice/docker-{name}.scope/{file}": b"0\n" for file in ("cgroup.procs", "cpuset.cpus.effective")}
    files |= {"sys/fs/cgroup/lab/ctr1/cgroup.procs": b"7\n"} if hidden else {}
    files[MARK] = msgspec.json.encode(
        Mark(taken_at=0.0, version="0", page_bytes=4096, refusals={TASKS: Refusal(TASKS, "denied", "Permission denied")})
    )
    found = normalise(take(MemoryRoot(files), Config(only=("cgroup", "oci", "sys_cpu")), Caches()))
    assert {gap.source: gap.reason for gap in found.gaps} == {"oci": "denied"}
    assert [one.placement.sharing_workloads for one in found.workloads] == [count, count]


def test_a_pod_s_names_and_a_label_are_metrics(tmp_path: Path) -> None:
    slice_ = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
    labelled = {**CRI, "annotations": {**CRI["annotations"], "team": 'red"\n}'}}
    files = {
        MARK: A_MARK,
        "sys/fs/cgroup/cgroup.controllers": "",
        f"sys/fs/cgroup/{slice_}/cri-containerd-{ID}.scope/cgroup.procs": "7\n",
        f"{TASKS}/k8s.io/{ID}/config.json": json.dumps(labelled),
    }
    host = normalise(take(grow(tmp_path, files), Config(labels=("team",)), Caches()))
    (web,) = host.workloads
    assert (web.runtime, web.name, web.image, web.cgroup) == ("containerd", "web", "nginx:1", f"/{slice_}/cri-containerd-{ID}.scope")
    assert web.pod == Pod(POD, "burstable", "web-7d9", "shop")
    lines = exposition(snapshot_of(Window(after=host), 0.0), Run(), TextCache()).decode().splitlines()
    assert f'strata_workload_pod_info{{workload="{ID}",pod="web-7d9",namespace="shop",uid="{POD}",qos="burstable"}} 1' in lines
    assert f'strata_workload_label_info{{workload="{ID}",label="team",value="red\\"\\n}}"}} 1' in lines
