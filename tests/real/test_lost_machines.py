"""Machines whose libvirtd is killed and comes back, and one that no libvirtd ever had."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from agent.model.values import CpuSet
from tests.lab import boot, host
from tests.need import need, which
from tests.real.scraper import IN_TIME_SECONDS, Scraper, domain_xml, until

pytestmark = pytest.mark.real


def test_a_daemon_that_is_killed_and_comes_back(alone: None, tmp_path: Path) -> None:
    need("nsenter", modules=["libvirt"], cpus=2)
    with host.libvirtd() as daemon:
        rom = boot.firmware(tmp_path / "rom")
        daemon.define_and_start(domain_xml("kept", rom, 1, (), "<vcpupin vcpu='0' cpuset='1'/>"))
        scraper = Scraper(daemon.uri)
        before = scraper.scrape().named("kept")
        with Path(f"/proc/{daemon.pid}/ns/mnt").open() as namespace:
            # In mid-scrape: what that one says is what it had, or a gap.
            killer = threading.Timer(0.002, os.kill, (daemon.pid, signal.SIGKILL))
            killer.start()
            torn = scraper.scrape()
            killer.join()
            assert torn.seconds < IN_TIME_SECONDS
            assert {gap.reason for gap in torn.gaps("libvirt_domains")} <= {"failed"}
            for _ in range(3):
                found = scraper.scrape()
                assert found.seconds < IN_TIME_SECONDS
                assert [gap.reason for gap in found.gaps("libvirt_domains")] == ["failed"]
                assert [workload for workload in found.host.workloads if workload.paradigm == "virtualization"] == []
            # In the daemon's own mounts, where its machines are.
            command = [which("nsenter") or "", f"--mount=/proc/self/fd/{namespace.fileno()}", which("libvirtd") or ""]
            log = (tmp_path / "log").open("wb")
            with log, subprocess.Popen(command, pass_fds=[namespace.fileno()], stdout=log, stderr=log) as again:
                try:
                    end = time.monotonic() + 60
                    while _silent(daemon):
                        assert time.monotonic() < end
                        time.sleep(0.2)
                    after = [scraper.scrape(), scraper.scrape()][-1].named("kept")
                    daemon.destroy("kept")
                finally:
                    again.kill()
    assert (after.id, after.identity, after.pid) == (before.id, before.identity, before.pid)
    assert [vcpu.affinity for vcpu in after.vcpus] == [CpuSet((1,))]


def _silent(daemon: host.Libvirt) -> bool:
    try:
        return "running" not in daemon.virsh("domstate", "kept")
    except subprocess.SubprocessError:
        return True


def test_a_machine_that_nobody_defined(scraper: Scraper, tmp_path: Path) -> None:
    need("qemu-system-x86_64", modules=["libvirt"], root=True)
    disk = boot.boot_disk(tmp_path / "disk")
    command = [
        "qemu-system-x86_64",
        "-accel",
        "kvm" if boot.kvm() else "tcg,thread=multi",
        "-m",
        "64",
        "-smp",
        "2",
        "-nodefaults",
        "-display",
        "none",
        "-drive",
        f"file={disk},format=raw,if=virtio",
    ]
    with subprocess.Popen([*command, "-name", "by-hand,debug-threads=on"]) as process:
        try:
            if not boot.kvm():
                # It does not hold a KVM machine, and nothing is taken for one.
                time.sleep(2)
                assert [one.id for one in scraper.scrape().host.workloads if one.pid == process.pid and one.id.startswith("kvm/")] == []
                return
            (found,) = until(lambda: [one for one in scraper.scrape().host.workloads if one.pid == process.pid and one.cpu.run_ns])
            os.sched_setaffinity(next(vcpu.thread.tid for vcpu in found.vcpus if vcpu.thread), {1})
            again = next(one for one in scraper.scrape().host.workloads if one.pid == process.pid)
        finally:
            process.kill()
    assert re.fullmatch(rf"kvm/{process.pid}/\d+", found.id)
    assert (found.name, found.runtime, found.paradigm, found.execution_mode) == ("by-hand", "qemu", "virtualization", "two-level")
    assert [vcpu.number for vcpu in found.vcpus] == [0, 1]
    assert [vcpu.pinned for vcpu in found.vcpus] == [False, False]
    assert [vcpu.pinned for vcpu in again.vcpus] == [True, False]
    assert found.placement.cores is not None
    assert found.placement.nodes_spanned
