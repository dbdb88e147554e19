"""Virtual machines on this host: ten of libvirt's with pins of every kind, one that it does not know, and what stops answering.

virsh and the threads' own affinities are the judges.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.model.values import CpuSet, Limit
from agent.model.workload import Workload
from tests.lab import boot, host
from tests.need import need
from tests.real.scraper import IN_TIME_SECONDS, Pass, Scraper, domain_xml, keyed, table

pytestmark = pytest.mark.real


CELLS = (
    "<cpu><topology sockets='1' dies='1' cores='2' threads='1'/><numa>"
    "<cell id='0' cpus='0' memory='32' unit='MiB'><distances><sibling id='0' value='10'/><sibling id='1' value='31'/></distances></cell>"
    "<cell id='1' cpus='1' memory='32' unit='MiB'/></numa></cpu>"
)
KINDS: dict[str, tuple[int, tuple[str, ...], str]] = {
    # vCPUs, elements of the domain, what is in its <cputune>
    "floating": (2, (), ""),
    "one-each": (2, (), "<vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/>"),
    "crowded": (2, (), "<vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='1' cpuset='1'/>"),
    "emulator": (1, (), "<vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='0'/>"),
    "iothreads": (1, ("<iothreads>2</iothreads>",), "<iothreadpin iothread='1' cpuset='0'/><iothreadpin iothread='2' cpuset='1'/>"),
    "quotas": (2, (), "<shares>512</shares><period>100000</period><quota>50000</quota>"),
    "machine-quota": (
        1,
        (),
        "<global_period>100000</global_period><global_quota>150000</global_quota>"
        "<emulator_period>50000</emulator_period><emulator_quota>20000</emulator_quota>",
    ),
    "tuned": (1, ("<numatune><memory mode='strict' nodeset='0'/></numatune>",), "<vcpusched vcpus='0' scheduler='batch'/>"),
    "cells": (2, (CELLS,), ""),
    "many": (12, ("<cpu><topology sockets='1' dies='1' cores='6' threads='2'/></cpu>",), "<vcpupin vcpu='11' cpuset='0'/>"),
}


@pytest.fixture(scope="module")
def domains(libvirt: host.Libvirt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The UUIDs of ten running domains by name; all but one sleep."""
    need(modules=["libvirt"], cpus=2)
    place = tmp_path_factory.mktemp("domains")
    started: dict[str, str] = {}
    try:
        for name, (vcpus, elements, tune) in KINDS.items():
            rom = boot.firmware(place / name, boot.BUSY if name == "one-each" else boot.IDLE)
            started[name] = libvirt.define_and_start(domain_xml(name, rom, vcpus, elements, tune))
        yield started
    finally:
        for name in started:
            libvirt.destroy(name)


def answered(scraper: Scraper) -> Pass:
    """The first pass in which every monitor has answered: on a busy host it takes some."""
    for _ in range(10):
        found = scraper.scrape()
        if not found.gaps("libvirt_stats"):
            return found
        time.sleep(0.5)
    raise AssertionError(found.gaps("libvirt_stats"))


def affinity(tid: int) -> CpuSet:
    return CpuSet(os.sched_getaffinity(tid))


def test_every_pin_as_virsh_has_it(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    found = scraper.scrape()
    assert found.gaps("libvirt_domains") == []
    for name, uuid in domains.items():
        machine = found.named(name)
        guest = machine.guest
        assert guest is not None
        assert guest.tuning is not None
        assert (machine.id, machine.state) == (uuid, "running")
        assert {str(vcpu.number): str(vcpu.affinity) for vcpu in machine.vcpus} == table(libvirt.virsh("vcpupin", name)), name
        assert str(guest.emulator_affinity) == table(libvirt.virsh("emulatorpin", name))["*:"], name
        for vcpu in machine.vcpus:
            assert vcpu.thread is not None, name
            assert vcpu.thread.allowed_cpus == affinity(vcpu.thread.tid) == vcpu.affinity, name
            assert vcpu.thread.role == "vcpu"
        assert machine.pid is not None
        (main,) = [thread for thread in machine.threads if thread.tid == machine.pid]
        assert (main.role, main.allowed_cpus) == ("emulator", affinity(machine.pid))


def test_iothreads_as_virsh_has_them(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    machine = scraper.scrape().named("iothreads")
    told = {line.split()[0]: line.split()[1] for line in libvirt.virsh("iothreadinfo", "iothreads").splitlines()[2:] if line.strip()}
    assert machine.guest is not None
    assert machine.guest.tuning is not None
    assert machine.guest.iothread_numbers == (1, 2)
    assert {str(number): str(cpus) for number, cpus in machine.guest.tuning.iothread_pins.items()} == told
    threads = {thread.name: thread.allowed_cpus for thread in machine.threads if thread.role == "iothread"}
    assert {name: str(cpus) for name, cpus in threads.items()} == {f"IO iothread{number}": cpus for number, cpus in told.items()}


def test_shares_and_quotas_as_virsh_has_them(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    found = scraper.scrape()
    for name in domains:
        told = keyed(libvirt.virsh("schedinfo", name))
        guest = found.named(name).guest
        assert guest is not None
        assert guest.tuning is not None
        tuning = guest.tuning
        for ours, theirs in (
            (tuning.shares, "cpu_shares"),
            (tuning.vcpu.period_usec, "vcpu_period"),
            (tuning.vcpu.quota_usec, "vcpu_quota"),
            (tuning.machine.quota_usec, "global_quota"),
            (tuning.emulator.period_usec, "emulator_period"),
            (tuning.emulator.quota_usec, "emulator_quota"),
        ):
            # What was not set is the kernel's own, which is in the control groups and not in the definition.
            assert ours is None or int(ours) == int(told[theirs]), (name, theirs)
    limited = found.named("quotas")
    assert [(vcpu.quota_usec, vcpu.period_usec) for vcpu in limited.vcpus] == [(Limit(50000), 100000)] * 2
    assert limited.cpu.shares == 512 or limited.cpu.weight is not None
    assert found.named("machine-quota").cpu.limit_cpus == 1.5


def test_memory_as_virsh_has_it(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    def stats() -> dict[str, dict[str, int]]:
        pairs = {name: (line.split() for line in libvirt.virsh("dommemstat", name).splitlines() if line) for name in domains}
        return {name: {key: int(value) for key, value in of} for name, of in pairs.items()}

    before = stats()
    found = answered(scraper)
    after = stats()
    tuned = found.named("tuned").guest
    assert tuned is not None
    told = keyed(libvirt.virsh("numatune", "tuned"))
    assert (tuned.numatune_mode, str(tuned.numatune_nodes)) == (told["numa_mode"], told["numa_nodeset"]) == ("strict", "0")
    assert tuned.tuning is not None
    assert [(one.threads, one.policy, str(one.numbers)) for one in tuned.tuning.schedules] == [("vcpu", "batch", "0")]
    assert [os.sched_getscheduler(vcpu.thread.tid) for vcpu in found.named("tuned").vcpus if vcpu.thread] == [os.SCHED_BATCH]
    walked = 0
    for name in domains:
        machine = found.named(name)
        assert machine.guest is not None
        theirs = keyed(libvirt.virsh("numatune", name))
        ours = machine.guest
        assert (ours.numatune_mode or "strict", str(ours.numatune_nodes or "")) == (theirs["numa_mode"], theirs["numa_nodeset"]), name
        assert machine.memory.allotted_bytes == after[name]["actual"] << 10, name
        assert machine.guest.balloon is not None
        assert machine.guest.balloon.current_bytes == after[name]["actual"] << 10
        # A guest that boots grows; once it sleeps, its monitor's threads come and go.
        assert machine.memory.resident_bytes is not None, name
        low, high = sorted(one[name]["rss"] << 10 for one in (before, after))
        assert low - (4 << 20) <= machine.memory.resident_bytes <= high + (4 << 20), name
        if machine.memory.backing_bytes is not None:
            walked += 1
            assert sum(machine.placement.memory_by_node.values()) == pytest.approx(machine.memory.backing_bytes, abs=1 << 20)
            # numa_maps counts what is mapped, status what is resident: the same but for what changed between.
            assert sum(machine.memory.process_by_node.values()) == pytest.approx(machine.memory.resident_bytes, abs=4 << 20)
    assert walked
    celled = found.named("cells").guest
    assert celled is not None
    assert [(str(cell.cpus), cell.memory_bytes) for cell in celled.cells] == [("0", 32 << 20), ("1", 32 << 20)]
    assert celled.cells[0].distances == {0: 10, 1: 31}


def test_vcpus_as_virsh_has_them(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    before = answered(scraper)
    text = libvirt.virsh("vcpuinfo", "many")
    after = scraper.scrape()
    seen = [keyed(part) for part in text.split("\n\n") if part.strip()]
    assert [int(one["VCPU"]) for one in seen] == [vcpu.number for vcpu in after.named("many").vcpus] == list(range(12))
    for one, old, new in zip(seen, before.named("many").vcpus, after.named("many").vcpus, strict=True):
        assert CpuSet(place for place, mark in enumerate(one["CPU Affinity"]) if mark == "y") == new.affinity
        assert one["State"] == new.state
        assert old.time_ns is not None
        assert new.time_ns is not None
        assert old.time_ns / 1e9 - 0.1 <= float(one.get("CPU time", "0").removesuffix("s")) <= new.time_ns / 1e9 + 0.1
    # Those that are bound to one CPU ran last where they may.
    bound = [keyed(part)["CPU"] for part in libvirt.virsh("vcpuinfo", "one-each").split("\n\n") if part.strip()]
    assert bound == [str(vcpu.last_cpu) for vcpu in after.named("one-each").vcpus] == ["0", "1"]
    if boot.kvm():
        busy = after.named("one-each").vcpus[0].kvm
        assert busy["exits"] > 0
        assert "halt_poll_success_ns" in busy


def test_what_the_pins_mean(domains: dict[str, str], scraper: Scraper) -> None:
    found = scraper.scrape()
    assert found.findings(found.named("floating"))["vcpus_float"].partition(";")[0] == "vCPU 0 on 0-1, vCPU 1 on 0-1"
    crowded = found.findings(found.named("crowded"))
    assert {"vcpus_on_one_core", "vcpus_pinned", "emulator_on_vcpu_cpus"} <= crowded.keys()
    assert "emulator_on_vcpu_cpus" not in found.findings(found.named("emulator"))
    assert not any("affinity_drift" in found.findings(found.named(name)) for name in domains)
    machine = found.named("floating")
    thread = machine.vcpus[0].thread
    assert thread is not None
    os.sched_setaffinity(thread.tid, {1})
    try:
        assert scraper.scrape().findings(machine)["affinity_drift"] == "vCPU 0: libvirt 0-1, in force 1"
    finally:
        os.sched_setaffinity(thread.tid, {0, 1})


def test_a_live_change_shows_at_the_next_scrape(libvirt: host.Libvirt, domains: dict[str, str], scraper: Scraper) -> None:
    """Nothing of a definition is kept from one scrape to the next but what the same text means."""

    def of(name: str) -> Workload:
        return scraper.scrape().named(name)

    def pins() -> list[str]:
        return [str(vcpu.affinity) for vcpu in of("floating").vcpus]

    assert pins() == ["0-1", "0-1"]
    libvirt.virsh("vcpupin", "floating", "1", "0", "--live")
    assert pins() == ["0-1", "0"]
    libvirt.virsh("vcpupin", "floating", "1", "0-1", "--live")
    assert pins() == ["0-1", "0-1"]
    for command, before, after in (
        (("schedinfo", "quotas", "--live", "vcpu_quota={}"), "50000", "60000"),
        (("emulatorpin", "emulator", "{}", "--live"), "0", "1"),
        (("iothreadpin", "iothreads", "2", "{}", "--live"), "1", "0-1"),
    ):
        seen = []
        for word in (before, after, before):
            libvirt.virsh(*(part.format(word) for part in command))
            guest = of(command[1]).guest
            assert guest is not None
            assert guest.tuning is not None
            quota, iothread = guest.tuning.vcpu.quota_usec, guest.tuning.iothread_pins.get(2)
            known = {
                "schedinfo": f"{quota:g}" if quota else None,
                "emulatorpin": str(guest.emulator_affinity),
                "iothreadpin": str(iothread),
            }
            seen.append(known[command[0]])
        assert seen == [before, after, before], command


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_stopped_guest_blinds_nobody(domains: dict[str, str], scraper: Scraper) -> None:
    """The other nine are fresh, the tenth keeps its pins, and a gap says what it does not answer."""
    first = whole = answered(scraper)
    pid = whole.named("crowded").pid
    assert pid is not None
    took = []
    with stopped(pid):
        for _ in range(5):
            found = scraper.scrape()
            took.append(found.seconds)
            late = found.gaps("libvirt_stats")
            assert [(gap.reason, gap.detail.partition(":")[0]) for gap in late] == [("late", "crowded")]
            assert found.gaps("libvirt_domains") == []
            for name in domains:
                machine = found.named(name)
                assert [vcpu.affinity for vcpu in machine.vcpus] == [vcpu.affinity for vcpu in whole.named(name).vcpus]
                assert machine.guest is not None
                assert bool(machine.guest.balloon) is (name != "crowded"), name
            whole = found
    print(f"\nstopped guest: scrapes took {', '.join(f'{seconds:.3f}' for seconds in took)} s")
    assert max(took) < IN_TIME_SECONDS
    # It never sleeps: its time is another at each scrape, and on a busy host at least at the last.
    assert (whole.named("one-each").vcpus[0].time_ns or 0) > (first.named("one-each").vcpus[0].time_ns or 0)
    again = [scraper.scrape(), scraper.scrape()][-1]
    assert again.gaps("libvirt_stats") == []
    guest = again.named("crowded").guest
    assert guest is not None
    assert guest.balloon
