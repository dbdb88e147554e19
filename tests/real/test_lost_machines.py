"""Machines whose libvirtd is stopped, killed, or loses its socket, and comes back; and one that no libvirtd ever had."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model.values import CpuSet
from agent.session import PATIENCE_SECONDS
from tests.lab import boot, host
from tests.need import need, which
from tests.real.scraper import IN_TIME_SECONDS, Pass, Scraper, domain_xml, until

pytestmark = pytest.mark.real


def test_a_daemon_that_is_killed_and_comes_back(alone: None, tmp_path: Path) -> None:
    need("nsenter", modules=["libvirt"], cpus=2)
    with host.libvirtd() as daemon:
        rom = boot.firmware(tmp_path / "rom")
        daemon.define_and_start(domain_xml("kept", rom, 1, (), "<vcpupin vcpu='0' cpuset='1'/>"))
        scraper = Scraper(daemon.uri)
        before = scraper.scrape().named("kept")
        threads = [vcpu.thread and vcpu.thread.tid for vcpu in before.vcpus]
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
                # Its words are old, and say so; the machine is there.
                lost = found.named("kept")
                assert (lost.id, lost.identity, lost.pid, lost.runtime) == (before.id, before.identity, before.pid, before.runtime)
                assert [vcpu.affinity for vcpu in lost.vcpus] == [CpuSet((1,))]
                assert lost.guest is not None
                assert (lost.guest.definition_seconds_ago or 0) > 0
            # Who never heard libvirt speak of it has its name and its threads from its process.
            stranger = Scraper(daemon.uri).scrape().named("kept")
            assert (stranger.id, stranger.identity, stranger.pid, stranger.state) == (before.id, before.identity, before.pid, None)
            assert [vcpu.thread and vcpu.thread.tid for vcpu in stranger.vcpus] == threads
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


NAMES = ("one", "two", "three,with,,commas")


@pytest.fixture(scope="module")
def machines(libvirt: host.Libvirt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The UUIDs of three machines by name."""
    need(modules=["libvirt"], cpus=2)
    place = tmp_path_factory.mktemp("machines")
    started: dict[str, str] = {}
    try:
        for number, name in enumerate(NAMES):
            started[name] = libvirt.define_and_start(
                domain_xml(name, boot.firmware(place / str(number), boot.IDLE if number else boot.BUSY), 2)
            )
        yield started
    finally:
        for name in started:
            libvirt.destroy(name)


def ids(found: Pass) -> dict[str, str]:
    return {workload.name: workload.id for workload in found.host.workloads if workload.paradigm == "virtualization"}


def judge(scraper: Scraper, machines: dict[str, str], silent: bool) -> Pass:
    """A scrape: all machines under the same ids, with what their processes show, in time; and how old libvirt's words are."""
    found = scraper.scrape()
    assert found.seconds < PATIENCE_SECONDS + 0.5
    assert ids(found) == machines
    for name in machines:
        machine = found.named(name)
        assert [vcpu.number for vcpu in machine.vcpus] == [0, 1]
        assert all(vcpu.thread for vcpu in machine.vcpus)
        assert machine.cpu.run_ns is not None
        assert machine.memory.resident_bytes is not None
        assert machine.guest is not None
        assert (machine.guest.definition_seconds_ago is not None) is silent
    assert bool(found.gaps("libvirt_domains")) is silent
    assert all("; shown is what it said " in gap.detail for gap in found.gaps("libvirt_domains") if not gap.detail.startswith("no libvirt"))
    assert (scraper.session.run.ages["libvirt_domains"] > 0) is silent
    return found


def whole(scraper: Scraper, machines: dict[str, str]) -> Pass:
    """The first scrape in which libvirt answers in time."""
    passes: list[Pass] = []
    end = time.monotonic() + 20
    while not passes or passes[-1].gaps("libvirt_domains"):
        assert time.monotonic() < end
        passes.append(scraper.scrape())
    assert ids(passes[-1]) == machines
    return passes[-1]


@pytest.mark.parametrize("seconds", [3.0, pytest.param(80.0, marks=pytest.mark.quiet)])
def test_a_daemon_that_is_stopped_keeps_its_machines(libvirt: host.Libvirt, machines: dict[str, str], seconds: float) -> None:
    scraper = Scraper(libvirt.uri)
    before = whole(scraper, machines)
    os.kill(libvirt.pid, signal.SIGSTOP)
    try:
        began, passes = time.monotonic(), list[Pass]()
        while time.monotonic() - began < seconds:
            passes.append(judge(scraper, machines, silent=True))
            time.sleep(seconds / 20)
    finally:
        os.kill(libvirt.pid, signal.SIGCONT)
    after = whole(scraper, machines)
    print(f"\nstopped for {seconds:.0f} s: {len(passes)} scrapes took up to {max(found.seconds for found in passes):.3f} s")
    # One scrape waits for it, the others do not.
    assert sum(found.seconds > PATIENCE_SECONDS - 0.1 for found in passes) <= 1
    # What is predicted of the one that never sleeps needs no new word of libvirt's, but for what its monitor is asked by way of libvirt.
    shown = {one.component for found in passes for one in found.document.predictions if one.workload == machines["one"]}
    wanted = {one.component for one in before.document.predictions if one.workload == machines["one"]}
    assert wanted
    assert wanted - shown <= {"exits", "exit_time", "halt_polling"}
    for name in machines:
        identities = {found.named(name).identity for found in (before, *passes, after)}
        assert len(identities) == 1


def test_a_socket_that_is_gone_keeps_its_machines(libvirt: host.Libvirt, machines: dict[str, str]) -> None:
    """Nobody chose a URI: the sockets below the root say whom to ask."""
    scraper = Scraper()
    whole(scraper, machines)
    sockets = [path for path in Path("/run/libvirt").iterdir() if path.name.endswith("-sock-ro")]
    for path in sockets:
        path.rename(path.with_suffix(".away"))
    try:
        for _ in range(3):
            found = judge(scraper, machines, silent=True)
            assert {gap.reason for gap in found.gaps("libvirt_domains")} == {"absent"}
        # Who comes now has never heard of libvirt.
        stranger = Scraper().scrape()
        assert ids(stranger) == machines
    finally:
        for path in sockets:
            path.with_suffix(".away").rename(path)
    whole(scraper, machines)


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
