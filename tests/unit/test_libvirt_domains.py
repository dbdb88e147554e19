"""collectors/libvirt_domains.py: the domain's XML."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors import libvirt_domains
from collectors.libvirt_domains import Definition, parse_xml
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import recorded

FULL = """
<domain type='kvm' id='3'>
  <name>db</name>
  <memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>
  <vcpu placement='static'>4</vcpu>
  <iothreads>2</iothreads>
  <cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='2' cpuset='3-4,^3'/><emulatorpin cpuset='0'/></cputune>
  <numatune><memory mode='strict' nodeset='0-1,4'/></numatune>
  <os><type arch='x86_64' machine='pc-q35-8.2'>hvm</type></os>
  <cpu mode='host-passthrough'>
    <topology sockets='1' dies='1' clusters='1' cores='2' threads='2'/>
    <numa><cell id='0' cpus='0-1' memory='512'/><cell id='1' cpus='2-3' memory='512'/></numa>
  </cpu>
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
        "kvm", "pc-q35-8.2", "host-passthrough", 1, 1, 2, 2, 2, "strict", CpuSet((0, 1, 4)), CpuSet((0, 2)), True, 2, 16 << 20
    )
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("<domain/>", Definition()),
        ("<domain type='qemu'><cpu/></domain>", Definition("qemu", cpu_mode="custom")),
        ("<domain><cpu mode='maximum'><topology sockets='x' cores='-1'/></cpu></domain>", Definition(cpu_mode="maximum")),
        ("<domain><cpu><topology sockets='2' cores='99999999999999'/></cpu></domain>", Definition(cpu_mode="custom", sockets=2)),
        ("<domain><numatune><memory mode='preferred' placement='auto'/></numatune></domain>", Definition(numatune_mode="preferred")),
        ("<domain><numatune/><os/><cputune/><memoryBacking/><devices><video/></devices></domain>", Definition()),
        ("<domain><cputune><vcpupin cpuset='1'/></cputune></domain>", Definition()),
        ("<domain><iothreads>many</iothreads></domain>", Definition()),
        ("<devices><domain type='kvm'/></devices>", Definition()),
        ("<?xml version='1.0' encoding='utf-16'?><domain type='é'/>", Definition("é")),
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
        "<domain><cputune><vcpupin vcpu='-1'/></cputune></domain>",
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


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        libvirt_domains.read(SysRoot(tmp_path))
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("last_cpu", ["-1", "65536", "1e3", '"0"'])
def test_a_replayed_cpu_is_a_cpu(tmp_path: Path, last_cpu: str) -> None:
    domain = '{"uuid": "u", "name": "n", "id": 1, "state": "running", "definition": {}, "vcpus": [{"number": 0, "last_cpu": %s}]}'
    reply = f'[{{"uri": "qemu:///system", "libvirt_version": "1", "domains": [{domain % last_cpu}]}}]'
    with pytest.raises(Malformed):
        libvirt_domains.read(recorded(tmp_path, {"replies/libvirt_domains.json": reply}))
