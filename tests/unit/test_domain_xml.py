"""collectors/domain_xml.py: what a domain's XML says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.model.facts.domain_xml import Backing, BackingPages, Bandwidth, CellMemory, GuestCell, Schedule, Tuning
from agent.model.values import UNLIMITED, CpuSet, Limit
from collectors.domain_xml import Definition, parse_xml
from collectors.text import Malformed

FULL = """
<domain type='kvm' id='3'>
  <name>db</name>
  <memory unit='KiB'>1048576</memory>
  <currentMemory unit='MiB'>512</currentMemory>
  <maxMemory slots='4' unit='GiB'>4</maxMemory>
  <memoryBacking>
    <hugepages><page size='2048' unit='KiB' nodeset='0'/><page size='1' unit='GiB' nodeset='1'/></hugepages>
    <nosharepages/><locked/><source type='memfd'/><access mode='shared'/>
  </memoryBacking>
  <vcpu placement='static' current='4'>6</vcpu>
  <iothreads>2</iothreads>
  <iothreadids><iothread id='4'/><iothread id='7'/></iothreadids>
  <cputune>
    <shares>512</shares><period>100000</period><quota>-1</quota>
    <global_period>50000</global_period><global_quota>40000</global_quota>
    <emulator_period>100000</emulator_period><emulator_quota>17592186044415</emulator_quota>
    <iothread_quota>20000</iothread_quota>
    <vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='12' cpuset='3-4,^3'/><emulatorpin cpuset='0'/><iothreadpin iothread='7' cpuset='0,2'/>
    <vcpusched vcpus='0-1' scheduler='fifo' priority='1'/><emulatorsched scheduler='batch'/>
  </cputune>
  <numatune><memory mode='strict' nodeset='0-1,4'/><memnode cellid='1' mode='preferred' nodeset='4'/></numatune>
  <os><type arch='x86_64' machine='pc-q35-8.2'>hvm</type></os>
  <features>
    <acpi/><hyperv mode='custom'><relaxed state='on'/><vapic state='off'/></hyperv>
    <kvm><hint-dedicated state='on'/><hidden state='off'/></kvm><pvspinlock state='on'/><pmu state='off'/>
  </features>
  <cpu mode='host-passthrough'>
    <topology sockets='1' dies='1' clusters='1' cores='2' threads='2'/>
    <feature policy='require' name='vmx'/>
    <numa>
      <cell id='0' cpus='0-1' memory='512' unit='MiB'><distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances></cell>
      <cell id='1' cpus='2-3' memory='524288' unit='KiB'/>
    </numa>
  </cpu>
  <clock offset='utc'><timer name='kvmclock' present='yes'/><timer name='hypervclock' present='no'/><timer name='rtc'/></clock>
  <devices>
    <video><model type='qxl' ram='65536' vram='65536' vgamem='16384'/></video>
    <video><model type='virtio' heads='1'/></video>
    <graphics type='vnc' passwd='hunter2'/>
  </devices>
</domain>
"""


def test_everything() -> None:
    found = parse_xml(FULL)
    assert found == Definition(
        type="kvm",
        machine="pc-q35-8.2",
        cpu_mode="host-passthrough",
        nested=True,
        max_vcpus=6,
        sockets=1,
        dies=1,
        clusters=1,
        cores=2,
        threads=2,
        cells=(GuestCell(0, CpuSet((0, 1)), 512 << 20, {0: 10, 1: 21}), GuestCell(1, CpuSet((2, 3)), 512 << 20)),
        numatune_mode="strict",
        numatune_nodes=CpuSet((0, 1, 4)),
        cell_memories=(CellMemory(1, "preferred", CpuSet((4,))),),
        tuning=Tuning(
            vcpu_pins={0: CpuSet((1,)), 12: CpuSet((4,))},
            emulator_pin=CpuSet((0,)),
            iothread_pins={7: CpuSet((0, 2))},
            shares=512,
            vcpu=Bandwidth(100000, UNLIMITED),
            machine=Bandwidth(50000, Limit(40000)),
            emulator=Bandwidth(100000, UNLIMITED),
            iothread=Bandwidth(None, Limit(20000)),
            schedules=(Schedule("vcpu", "fifo", CpuSet((0, 1)), 1), Schedule("emulator", "batch")),
        ),
        iothreads=(4, 7),
        backing=Backing(
            hugepages=(BackingPages(2 << 20, CpuSet((0,))), BackingPages(1 << 30, CpuSet((1,)))),
            locked=True,
            mergeable=False,
            source="memfd",
            shared=True,
        ),
        memory_bytes=1 << 30,
        memory_now_bytes=512 << 20,
        memory_slots_bytes=4 << 30,
        enlightenments=("hyperv/relaxed", "kvm/hint-dedicated", "pvspinlock", "timer/kvmclock"),
        video_bytes=16 << 20,
    )
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("<domain/>", Definition()),
        ("<domain type='qemu'><cpu/></domain>", Definition(type="qemu", cpu_mode="custom")),
        ("<domain><cpu mode='maximum'><topology sockets='x' cores='-1'/></cpu></domain>", Definition(cpu_mode="maximum")),
        ("<domain><cpu><topology sockets='2' cores='9999999999999999'/></cpu></domain>", Definition(cpu_mode="custom", sockets=2)),
        (
            "<domain><numatune><memory mode='preferred' placement='auto'/></numatune></domain>",
            Definition(numatune_mode="preferred", numatune_placement="auto"),
        ),
        ("<domain><numatune/><os/><cputune/><memoryBacking/><devices><video/></devices></domain>", Definition()),
        ("<domain><cputune><vcpupin cpuset='1'/></cputune></domain>", Definition()),
        ("<domain><iothreads>many</iothreads></domain>", Definition()),
        ("<domain><iothreads>3</iothreads></domain>", Definition(iothreads=(1, 2, 3))),
        ("<domain><memoryBacking><hugepages/></memoryBacking></domain>", Definition(backing=Backing(hugepages=(BackingPages(),)))),
        ("<domain><cpu><feature policy='disable' name='svm'/></cpu></domain>", Definition(cpu_mode="custom", nested=False)),
        ("<domain><memory unit='furlongs'>7</memory><currentMemory>7</currentMemory></domain>", Definition(memory_now_bytes=7 << 10)),
        ("<domain><cputune/></domain>", Definition()),
        ("<domain><cputune><vcpupin vcpu='x' cpuset='1'/><vcpupin vcpu='1'/><quota>much</quota></cputune></domain>", Definition()),
        ("<devices><domain type='kvm'/></devices>", Definition()),
        ("<?xml version='1.0' encoding='utf-16'?><domain type='é'/>", Definition(type="é")),
    ],
)
def test_parts(text: str, definition: Definition) -> None:
    assert parse_xml(text) == definition


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10 if n else 'ha' * 50}'>" for n in range(9))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<domain>",
        "<domain></devices>",
        "<domain a='1' a='2'/>",
        "<domain>\0</domain>",
        "<domain type='\udcff'/>",
        "<domain>&undefined;</domain>",
        "<domain><numatune><memory nodeset='0-4294967295'/></numatune></domain>",
        "<domain><numatune><memory nodeset='x'/></numatune></domain>",
        "<domain><cputune><vcpupin vcpu='0' cpuset='-1'/></cputune></domain>",
        "<domain><cputune><emulatorpin cpuset='0,^x'/></cputune></domain>",
        "<domain><cpu><numa><cell cpus='0-99999'/></numa></cpu></domain>",
        f"<!DOCTYPE domain [{LAUGHS}]><domain type='kvm'>&l8;</domain>",
    ],
)
def test_hostile_xml_is_malformed(text: str) -> None:
    began = time.process_time()
    with pytest.raises(Malformed):
        parse_xml(text)
    assert time.process_time() - began < 3


def test_files_are_not_included(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kvm")
    for text in (
        f"<!DOCTYPE d [<!ENTITY x SYSTEM 'file://{tmp_path}/secret'>]><domain><iothreads>&x;</iothreads></domain>",
        f"<!DOCTYPE d SYSTEM 'file://{tmp_path}/secret'><domain/>",
    ):
        try:
            assert parse_xml(text) == Definition()
        except Malformed as error:
            assert "kvm" not in str(error)  # noqa: PT017


def test_deep_xml() -> None:
    assert parse_xml("<domain>" * 50_000 + "</domain>" * 50_000) == Definition()


def test_a_megabyte_of_metadata() -> None:
    text = FULL.replace("<name>", f"<description>{'<b>x</b>' * 120_000}</description><name>")
    began = time.process_time()
    found = parse_xml(text)
    once = time.process_time() - began
    assert found == parse_xml(FULL)
    assert once < 3


def test_as_many_vcpus_as_there_are() -> None:
    pins = "".join(f"<vcpupin vcpu='{number}' cpuset='{number % 64}'/>" for number in range(255))
    found = parse_xml(f"<domain><vcpu>255</vcpu><cputune>{pins}</cputune></domain>")
    assert found.max_vcpus == 255
    assert found.tuning.vcpu_pins == {number: CpuSet((number % 64,)) for number in range(255)}
