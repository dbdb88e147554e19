"""collectors/cgroup/owner.py: containers and jobs by the names that their engines give to groups, and what is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.facts.cgroup import Pod
from collectors.cgroup import pod_of, whose

A, B = "3f" * 32, "c4" * 32
UID = "6b0e1c52-93f4-4c1d-8a77-0f5d2e9b41aa"
POD = f"pod{UID.replace('-', '_')}"
DIGEST = "9e107d9d372bb6826bd81d3542a419d6"
USER = "/user.slice/user-1001.slice/user@1001.service"


@pytest.mark.parametrize(
    ("path", "runtime", "id_"),
    [
        # A driver for cgroupfs below a kubelet that uses systemd's names.
        (f"/kubepods-besteffort-{POD}.slice:cri-containerd:{A}", "containerd", A),
        (f"/system.slice/crio.service/kubepods-{POD}.slice:crio:{A}", "cri-o", A),
        (f"/system.slice/docker.service/system.slice:docker:{A}", "docker", A),
        (f"{USER}/user.slice:nerdctl:{A}", "containerd", A),
        (f"/machine.slice:libpod:{A}", "podman", A),
        (f"/system.slice:somebody:{A}", "unknown", A),
        # Podman's groups that are split, also below a user's unit.
        (f"/system.slice/web@2.service/libpod-payload-{A}", "podman", A),
        (f"{USER}/app.slice/db.service/libpod-payload-{A}", "podman", A),
        (f"{USER}/app.slice/app-db.slice/db@1.service/libpod-payload-{A}/inner", "podman", A),
        (f"{USER}/user.slice/libpod/{A}", "podman", A),
        # Batch systems and schedulers.
        ("/system.slice/slurmstepd.scope/job_77/step_batch/user/task_0", "slurm", "job_77"),
        ("/system.slice/n017_slurmstepd.scope/job_8/step_extern/user", "slurm", "job_8"),
        ("/slurm/uid_1001/job_4/step_0", "slurm", "job_4"),
        ("/slurm_n017/uid_1001/job_4/step_0/task_3", "slurm", "job_4"),
        ("/system.slice/htcondor/condor_var_lib_condor_execute_slot1_2@n017", "htcondor", "condor_var_lib_condor_execute_slot1_2@n017"),
        (f"/nomad.slice/share.slice/{UID}.web.scope", "nomad", f"{UID}.web"),
        (f"/nomad.slice/reserve.slice/{UID}.cache.scope", "nomad", f"{UID}.cache"),
        (f"/nomad.slice/{UID}.web.scope", "nomad", f"{UID}.web"),
        (f"/nomad/{UID}", "nomad", UID),
        (f"/nomad.slice/share.slice/docker-{A}.scope", "docker", A),
        (f"/mesos/{UID}", "mesos", UID),
        # Parents of the engine's user's choice.
        (f"/ecs/{UID}/{A}", "ecs", A),
        (f"/ecs/fleet/{DIGEST}/{A}", "ecs", A),
        (f"/ecs/{DIGEST}/{DIGEST}-0179205828", "ecs", f"{DIGEST}-0179205828"),
        (f"/docker/{DIGEST}-0179205828", "ecs", f"{DIGEST}-0179205828"),
        (f"/batch.slice/{A}", "unknown", A),
        (f"/render/queue-7/{A}", "unknown", A),
        (f"/batch.slice/batch-night.slice/engine-{A}.scope", "unknown", A),
        (f"/azpl_job/{A}", "docker", A),
        (f"/isulad/{A}", "isulad", A),
        (f"/default/{A}", "containerd", A),
        (f"{USER}/user.slice/nerdctl-{A}.scope", "containerd", A),
        # The kubelet's groups: any root, any depth, ids of other forms.
        (f"/minikube/kubepods/burstable/pod{UID}/{A}", "kubernetes", A),
        (f"/podruntime/kubepods/pod{UID}/{UID}", "kubernetes", UID),
        (f"/edge.slice/edge-kubepods.slice/edge-kubepods-{POD}.slice/{A}", "kubernetes", A),
        (f"/kubepods/kubepods-burstable/kubepods-burstable-{POD}/{A}", "kubernetes", A),
        (f"/kubepods/burstable/{A}", "kubernetes", A),
        # Forms of ids.
        ("/system.slice/docker-0pzq1w2e3r4t5y6u7i8o9p0as.scope", "docker", "0pzq1w2e3r4t5y6u7i8o9p0as"),
        ("/docker/buildkit/0pzq1w2e3r4t5y6u7i8o9p0as", "buildkit", "0pzq1w2e3r4t5y6u7i8o9p0as"),
        ("/garden/1b2c3d4e-0f10-4a5b-6c7d-8e9f", "garden", "1b2c3d4e-0f10-4a5b-6c7d-8e9f"),
        ("/garden-cell/bad/1b2c3d4e-0f10-4a5b-6c7d-8e9f/init", "garden", "1b2c3d4e-0f10-4a5b-6c7d-8e9f"),
        (f"/garden/good/{UID}", "garden", UID),
        ("/garden/good", None, None),
        ("/docker/1b2c3d4e-0f10-4a5b-6c7d-8e9f", "garden", "1b2c3d4e-0f10-4a5b-6c7d-8e9f"),
        ("/system.slice/runc-bpm-router.scope", "bpm", "router"),
        (f"{USER}/user.slice/apptainer-4711.scope", "apptainer", "4711"),
        ("/singularity/4711", "singularity", "4711"),
        ("/user.slice/runc-box.scope", "runc", "box"),
        ("/user.slice/crun-box.scope", "crun", "box"),
        ("/:youki:box", "youki", "box"),
        # Names of the user's choice.
        ("/lxc.payload/box/init.scope", "lxc", "box"),
        ("/libvirt/lxc/box", "libvirt-lxc", "box"),
        ("/machine/box.libvirt-lxc", "libvirt-lxc", "box"),
        ("/machine/db.libvirt-qemu/vcpu0", "libvirt", "db"),
        ("/libvirt/qemu/db/emulator", "libvirt", "db"),
        ("/qemu.slice/117.scope", "proxmox", "117"),
    ],
)  # fmt: skip
def test_an_engine_s_group(path: str, runtime: str | None, id_: str | None) -> None:
    owner = whose(path)
    assert (owner and (owner.runtime, owner.id)) == (runtime and (runtime, id_))


@pytest.mark.parametrize(
    ("path", "uid", "qos"),
    [
        (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{POD}.slice/x", UID, "guaranteed"),
        (f"/edge-west-kubepods-burstable-{POD}.slice/x", UID, "burstable"),
        (f"/kubepods-besteffort-{POD}.slice:cri-containerd:{A}", UID, "besteffort"),
        (f"/a/b/kubepods/besteffort/pod{UID}/{A}", UID, "besteffort"),
        (f"/kubepods/pod{DIGEST}/{A}", DIGEST, "guaranteed"),
        # A node in a pod: its pods are nearer to their containers.
        (f"/kubepods/burstable/pod{UID}/{A}/kubelet/kubepods/pod{DIGEST}/{B}", DIGEST, "guaranteed"),
        (f"/machine.slice/machine-libpod_pod_{A}.slice/x", None, None),
        (f"/podruntime/{A}", None, None),
        (f"/tripod{UID}/x", None, None),
    ],
)
def test_a_pod_below_any_root(path: str, uid: str | None, qos: str | None) -> None:
    pod = pod_of(path)
    assert pod == (None if uid is None else Pod(uid, qos))  # type: ignore[arg-type]


HEXADECIMAL = st.text("0123456789abcdef", min_size=1, max_size=80)
ENGINES = re.compile(r"docker|libpod|crio|kata|runc|crun|nspawn|containerd|buildkit|machine|garden|lxc|nerdctl|youki|runsc|bpm")
WORD = st.from_regex(r"[a-z][a-z0-9_.\\]{0,20}", fullmatch=True).filter(lambda word: not ENGINES.search(word))
UUID = st.uuids().map(str)


@given(
    st.sampled_from(["/system.slice", "/user.slice/user-1000.slice/user@1000.service/app.slice", "", "/init.scope"]),
    st.one_of(
        st.builds("{0}-{1}.service".format, WORD, HEXADECIMAL),
        st.builds("{0}@{1}.service".format, WORD, HEXADECIMAL),
        st.builds("{0}-{1}.mount".format, WORD, HEXADECIMAL),
        st.builds("var-lib-docker-overlay2-{0}-merged.mount".format, HEXADECIMAL),
        st.builds("run-r{0}.scope".format, st.from_regex(r"[0-9a-f]{32}", fullmatch=True)),
        st.builds("{0}-spawn-{1}.scope".format, WORD, UUID),
        st.builds("snap.{0}.{0}-{1}.scope".format, WORD, UUID),
        st.builds("{0}-{1}.slice".format, WORD, HEXADECIMAL),
        st.builds("session-{0}.scope".format, st.integers(1, 1 << 40)),
        st.builds("{0}-conmon-{1}.scope".format, st.sampled_from(["libpod", "crio"]), st.just(A)),
        st.builds("sshd@{0}-10.0.0.1:22-10.0.0.2:{0}.service".format, st.integers(1, 65535)),
        st.builds("app-{0}-{1}.scope".format, WORD, HEXADECIMAL.filter(lambda digits: len(digits) < 64)),
        HEXADECIMAL.filter(lambda digits: len(digits) != 64),
        WORD,
    ),
)
def test_what_is_no_container_stays_none(parent: str, name: str) -> None:
    """Services, slices, sessions and transient units, whatever digits their names hold."""
    owner = whose(f"{parent}/{name}")
    assert owner is None or (owner.paradigm, owner.runtime) == ("process", "systemd")


@given(st.text(max_size=60), st.sampled_from([f"/docker/{A}", f"/x.slice/libpod-{A}.scope", f"/a:b:{A}"]))
def test_whatever_a_container_makes_below_its_group_is_its_own_or_nested(name: str, group: str) -> None:
    """Any name: nobody crashes, and nobody becomes a unit of the host's."""
    owner = whose(f"{group}/{name}")
    assert owner is not None
    assert owner.runtime != "systemd"
