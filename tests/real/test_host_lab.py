"""The lab itself: what it starts is real, and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab import boot, host, surroundings
from tests.lab.process import mounting
from tests.need import need

pytestmark = pytest.mark.real


def test_a_container_has_its_limits(docker: host.Docker) -> None:
    container = docker.run("--cpus", "1.5", "--cpuset-cpus", "0-1", "--memory", "256m", "--memory-reservation", "128m")
    try:
        limits = docker.inspect(container)["HostConfig"]
        assert limits["NanoCpus"] == 1_500_000_000
        assert limits["CpusetCpus"] == "0-1"
        assert limits["Memory"] == 256 << 20
        assert limits["MemoryReservation"] == 128 << 20
        expected = {"quota": "150000", "period": "100000", "cpus": "0-1", "memory": str(256 << 20), "reservation": str(128 << 20)}
        assert host.limits(f"docker/{container}") == expected
        assert docker.exec(container, "echo", "awake").strip() == "awake"
    finally:
        docker.remove(container)


def test_a_domain_has_its_pin(libvirt: host.Libvirt, tmp_path: Path) -> None:
    need(cpus=2)
    xml = boot.domain_xml("pinned", boot.boot_disk(tmp_path / "disk"), pins={0: "1"})
    domain = libvirt.define_and_start(xml)
    try:
        pins = dict(line.split() for line in libvirt.virsh("vcpupin", domain).splitlines()[2:] if line)
        assert pins["0"] == "1"
        assert pins["1"] != "1"
        names = {
            (host_thread / "comm").read_text().strip(): os.sched_getaffinity(int(host_thread.name))
            for process in libvirt.processes()
            if process.name().startswith("qemu-system")
            for host_thread in Path(f"/proc/{process.pid}/task").iterdir()
        }
        kind = "KVM" if boot.kvm() else "TCG"
        assert names[f"CPU 0/{kind}"] == {1}
        assert names[f"CPU 1/{kind}"] == os.sched_getaffinity(0)
    finally:
        libvirt.destroy(domain)


def test_mounts_leave_the_host_s_table_alone(tmp_path: Path) -> None:
    """mount(8) makes /run/mount wherever it is not, be there something to keep or not."""
    need("unshare", root=True)
    fence = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    # What is in the new /run is not seen outside; the mount that makes it is the first to ask for the table.
    script = f"mount -t tmpfs lab /run && mount --bind {tmp_path} {tmp_path} && ls -A /run"
    environment = {**os.environ, **mounting(tmp_path / "table")}
    assert subprocess.run([*fence, script], env=environment, capture_output=True, text=True, check=True, timeout=30).stdout == ""
    assert (tmp_path / "table").is_dir()


@pytest.mark.beside
def test_nothing_stays(alone: None, tmp_path: Path) -> None:
    """Neither of the daemons, nor of what they run, when nobody tidies up before they end."""
    with host.turn():
        before = surroundings.look()
        mounts = Path("/proc/mounts").read_text()
        with host.dockerd() as docker, host.libvirtd() as libvirt:
            docker.run()
            docker.cli("pause", docker.run())
            libvirt.define_and_start(boot.domain_xml("left", boot.boot_disk(tmp_path / "disk")))
            running = [*docker.processes(), *libvirt.processes()]
            names = {process.name() for process in running}
            assert {"dockerd", "containerd", "libvirtd", "qemu-system-x86_64"} <= names
            assert names & {"sleep", "busybox"}
            assert Path("/proc/mounts").read_text() == mounts
        assert not host.alive(running)
        assert surroundings.changes(before, surroundings.look()) == []
