"""agent/normalise/machine.py on small trees, read by the real readers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.collect.sample import Sample
from agent.collect.static_facts import Statics
from agent.model.physical import Package
from agent.model.values import CpuSet
from agent.normalise.cores import packages, partition
from collectors.cpuid import Cpuid
from collectors.proc_cpuinfo import Cpuinfo, Processor
from tests.unit.small_machines import CPU, NODE, cache, cpu, look, node, regular, sets


def test_nothing(tmp_path: Path) -> None:
    found = look(tmp_path, {})
    assert (found.packages, found.cores, found.nodes, found.caches, found.architecture, len(found.cpus.online)) == ((), (), (), (), None, 0)


def test_threads_share_cores(tmp_path: Path) -> None:
    found = look(tmp_path, regular(1, 2, 2))
    assert (sets(found.packages), sets(found.cores), found.architecture) == (["0-3"], ["0,2", "1,3"], "smp")


def test_core_ids_repeat_in_every_package(tmp_path: Path) -> None:
    found = look(tmp_path, regular(2, 2, 2))
    assert sets(found.packages) == ["0-1,4-5", "2-3,6-7"]
    assert [(str(core.cpus), core.package, core.os_index) for core in found.cores] == [
        ("0,4", 0, 0),
        ("1,5", 0, 1),
        ("2,6", 1, 0),
        ("3,7", 1, 1),
    ]
    assert [package.os_index for package in found.packages] == [0, 1]


@pytest.mark.parametrize(
    ("mates", "packages"),
    [(("0-1", "0-1", "2-3", "2-3"), ["0-1", "2-3"]), (("0-3",) * 4, ["0-3"]), ((None,) * 4, ["0-3"])],
)
def test_packages_without_a_number(tmp_path: Path, mates: tuple[str | None, ...], packages: list[str]) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, mate in enumerate(mates):
        files |= cpu(number, physical_package_id=-1, core_id=number, **({"core_siblings_list": mate} if mate else {}))
    found = look(tmp_path, files)
    assert sets(found.packages) == packages
    assert {package.os_index for package in found.packages} == {None}


def test_packages_by_number_alone(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(4):
        files |= cpu(number, physical_package_id=number % 2, core_id=0)
    assert sets(look(tmp_path, files).packages) == ["0,2", "1,3"]


def test_packages_of_cpuinfo(tmp_path: Path) -> None:
    text = "".join(f"processor : {n}\nphysical id : {n // 2}\nmodel name : m{n // 2}\n\n" for n in range(4))
    found = look(tmp_path, {"proc/cpuinfo": text})
    assert [(str(package.cpus), package.os_index, package.model_name) for package in found.packages] == [("0-1", 0, "m0"), ("2-3", 1, "m1")]
    assert sets(found.cores) == ["0", "1", "2", "3"]


BY_INSTRUCTION = Package(
    cpus=CpuSet((0,)), vendor="AuthenticAMD", model_name="A CPU", family="25", model="17", stepping="1", identity_origin="inferred"
)


@pytest.mark.parametrize(
    ("processor", "package"),
    [
        (None, BY_INSTRUCTION),
        # A kernel that does not know the CPU's name: what it does know stands.
        (
            Processor(cpu=0, family="6", model="143", stepping="8", microcode="0x2b"),
            replace(BY_INSTRUCTION, family="6", model="143", stepping="8", microcode="0x2b"),
        ),
        (Processor(cpu=0, vendor="GenuineIntel"), replace(BY_INSTRUCTION, vendor="GenuineIntel", family=None, model=None, stepping=None)),
        (
            Processor(cpu=0, vendor="GenuineIntel", model_name="Xeon", family="6", model="143", stepping="8", microcode="0x2b"),
            Package(cpus=CpuSet((0,)), vendor="GenuineIntel", model_name="Xeon", family="6", model="143", stepping="8", microcode="0x2b"),
        ),
    ],
)
def test_a_package_that_cpuinfo_does_not_name_is_what_the_instruction_says(processor: Processor | None, package: Package) -> None:
    instruction = Cpuid(vendor="AuthenticAMD", brand="A CPU", family=25, model=17, stepping=1)
    cpuinfo = None if processor is None else Cpuinfo((processor,))
    assert packages(Sample(statics=Statics(cpuinfo=cpuinfo, cpuid=instruction)), {}, CpuSet((0,))) == (package,)
    bare = packages(Sample(statics=Statics(cpuinfo=cpuinfo)), {}, CpuSet((0,)))
    assert [getattr(bare[0], name) for name in ("vendor", "model_name", "family", "model", "stepping", "microcode")] == [
        getattr(processor, name, None) for name in ("vendor", "model_name", "family", "model", "stepping", "microcode")
    ]


def block(number: int, package: int, core: int, cores: int) -> str:
    return f"processor : {number}\nphysical id : {package}\ncore id : {core}\ncpu cores : {cores}\n\n"


@pytest.mark.parametrize(
    ("ids", "count", "cores"),
    [
        ([(0, 0), (0, 0), (0, 1), (1, 0)], {0: 2, 1: 1}, ["0-1", "2", "3"]),
        ([(0, 0), (0, 1), (0, 0), (0, 1)], {0: 4}, ["0", "1", "2", "3"]),  # anew in each die
    ],
)
def test_cores_of_cpuinfo(tmp_path: Path, ids: list[tuple[int, int]], count: dict[int, int], cores: list[str]) -> None:
    text = "".join(block(number, package, core, count[package]) for number, (package, core) in enumerate(ids))
    assert sets(look(tmp_path, {"proc/cpuinfo": text}).cores) == cores


def test_only_stat(tmp_path: Path) -> None:
    found = look(tmp_path, {"proc/stat": "cpu 1 1 1 1\ncpu0 1 1 1 1\ncpu3 1 1 1 1\n"})
    assert (str(found.cpus.online), sets(found.packages), sets(found.cores)) == ("0,3", ["0,3"], ["0", "3"])


def test_conflicting_packages_are_still_a_partition(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, mates in enumerate(("0-2", "0-1", "2-3", "0-3")):
        files |= cpu(number, package_cpus_list=mates)
    assert sets(look(tmp_path, files).packages) == ["0-2", "3"]


@pytest.mark.parametrize("gone", [("core_cpus_list",), ("package_cpus_list",), ("core_id",), ("core_cpus_list", "package_cpus_list"), None])
@pytest.mark.parametrize("number", range(8))
def test_what_one_cpu_does_not_say_the_others_do(tmp_path: Path, number: int, gone: tuple[str, ...] | None) -> None:
    whole = regular(2, 2, 2)
    here = f"{CPU}/cpu{number}/topology/"
    files = {path: text for path, text in whole.items() if not (path.startswith(here) and (gone is None or path[len(here) :] in gone))}
    found = look(tmp_path, files)
    assert sets(found.packages) == ["0-1,4-5", "2-3,6-7"]
    assert sets(found.cores) == ["0,4", "1,5", "2,6", "3,7"]


def test_a_core_is_in_one_package(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-1\n"}
    for number in range(2):
        files |= cpu(number, core_cpus_list="0-1", package_cpus_list=number)
    found = look(tmp_path, files)
    assert [(str(core.cpus), core.package) for core in found.cores] == [("0", 0), ("1", 1)]


def test_offline_cpus_are_in_no_set(tmp_path: Path) -> None:
    files = regular(1, 2, 2) | {f"{CPU}/online": "0-2\n", f"{CPU}/present": "0-3\n", f"{CPU}/possible": "0-191\n"}
    files |= cache(0, 0, 3, "0-3", size="8192K") | cache(3, 0, 1, "3") | {f"{NODE}/node0/cpulist": "0-3\n"}
    found = look(tmp_path, files)
    assert (str(found.cpus.online), str(found.cpus.offline), str(found.cpus.possible)) == ("0-2", "3", "0-191")
    assert (sets(found.packages), sets(found.cores), sets(found.caches), sets(found.nodes)) == (["0-2"], ["0,2", "1"], ["0-2"], ["0-2"])


def test_cpu_0_may_be_offline(tmp_path: Path) -> None:
    found = look(tmp_path, {f"{CPU}/cpu0/online": "0\n", f"{CPU}/cpu1/online": "1\n"} | cpu(1, core_id=0, physical_package_id=0))
    assert (sets(found.packages), sets(found.cores), found.architecture) == (["1"], ["1"], "uniprocessor")


@pytest.mark.parametrize(
    ("vendor", "family", "cores"),
    [
        ("AuthenticAMD", 21, ["0", "1", "2", "3"]),
        ("AuthenticAMD", 22, ["0", "1", "2", "3"]),
        ("AuthenticAMD", 25, ["0-1", "2-3"]),
        ("GenuineIntel", 21, ["0-1", "2-3"]),
    ],
)
def test_bulldozer_modules_hold_two_cores(tmp_path: Path, vendor: str, family: int, cores: list[str]) -> None:
    files = {f"{CPU}/online": "0-3\n", "proc/cpuinfo": f"processor : 0\nvendor_id : {vendor}\ncpu family : {family}\n\n"}
    for number, mates in enumerate(("0-1", "0-1", "2-3", "2-3")):
        files |= cpu(number, core_id=number, physical_package_id=0, thread_siblings_list=mates, core_siblings_list="0-3")
    assert sets(look(tmp_path, files).cores) == cores


@pytest.mark.parametrize(
    ("ids", "cores"),
    [
        ((0, 1, 2, 3), ["0", "1", "2", "3"]),
        ((0, 0, 1, 1), ["0-1", "2-3"]),  # a virtual CPU of that family, with threads
        ((None, None, None, None), ["0", "1", "2", "3"]),
        ((-1, -1, -1, -1), ["0", "1", "2", "3"]),
        ((0, 0, None, None), ["0-1", "2", "3"]),
        ((None, 0, 1, 1), ["0", "1", "2-3"]),
    ],
)
def test_who_shares_a_module_shares_a_core_only_by_its_id(tmp_path: Path, ids: tuple[int | None, ...], cores: list[str]) -> None:
    files = {f"{CPU}/online": "0-3\n", "proc/cpuinfo": "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 21\n\n"}
    for number, (mates, core_id) in enumerate(zip(("0-1", "0-1", "2-3", "2-3"), ids, strict=True)):
        files |= cpu(number, physical_package_id=0, thread_siblings_list=mates, core_siblings_list="0-3")
        files |= {} if core_id is None else cpu(number, core_id=core_id)
    assert sets(look(tmp_path, files).cores) == cores


def test_risc_v_before_its_topology_is_known(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(4):
        files |= cpu(number, core_id=-1, physical_package_id=-1, die_id=-1, thread_siblings_list="0-3", core_siblings_list=number)
    found = look(tmp_path, files)
    assert sets(found.cores) == ["0", "1", "2", "3"]
    assert {core.os_index for core in found.cores} == {None}


def test_hybrid_cores_have_different_numbers_of_threads(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n", "sys/devices/cpu_core/cpus": "0-1\n", "sys/devices/cpu_atom/cpus": "2-3\n"}
    for number, (mates, top) in enumerate((("0-1", 5000000), ("0-1", 5000000), ("2", 3800000), ("3", 3800000))):
        files |= cpu(number, core_cpus_list=mates, package_cpus_list="0-3")
        files[f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq"] = f"{top}\n"
    found = look(tmp_path, files)
    assert sets(found.cores) == ["0-1", "2", "3"]
    assert [(kind.name, str(kind.cpus), kind.max_freq_hz) for kind in found.cpu_kinds] == [
        ("cpu_core", "0-1", 5_000_000_000),
        ("cpu_atom", "2-3", 3_800_000_000),
    ]


def test_a_kind_is_named_by_its_part_and_not_by_its_capacity(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, (midr, capacity) in enumerate((("0x1", 1024), ("0x1", 1000), ("0x2", 400), ("0x2", 410))):
        files |= {f"{CPU}/cpu{number}/regs/identification/midr_el1": midr, f"{CPU}/cpu{number}/cpu_capacity": f"{capacity}\n"}
    assert [(str(kind.cpus), kind.capacity, kind.midr) for kind in look(tmp_path, files).cpu_kinds] == [("0-1", 1024, 1), ("2-3", 410, 2)]


def test_kinds_of_one_capacity_are_one_however_fast(tmp_path: Path) -> None:
    """Big and little cores without part numbers; of two alike one turns faster."""
    files = {f"{CPU}/online": "0-2\n"}
    for number, (capacity, khz) in enumerate(((1024, 3_000_000), (1024, 3_100_000), (400, 1_800_000))):
        files |= {f"{CPU}/cpu{number}/cpu_capacity": f"{capacity}\n", f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq": f"{khz}\n"}
    assert [(str(kind.cpus), kind.capacity) for kind in look(tmp_path, files).cpu_kinds] == [("0-1", 1024), ("2", 400)]


def test_kinds_by_base_frequency_where_all_have_one(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-2\n"}
    for number, khz in enumerate((3_000_000, 3_000_000, 2_000_000)):
        files |= {f"{CPU}/cpu{number}/cpufreq/base_frequency": f"{khz}\n"}
    assert [(str(kind.cpus), kind.base_freq_hz) for kind in look(tmp_path / "all", files).cpu_kinds] == [
        ("0-1", 3_000_000_000),
        ("2", 2_000_000_000),
    ]
    # A part number of one of them, and no base frequency, does not make up for it.
    del files[f"{CPU}/cpu2/cpufreq/base_frequency"]
    some = files | {f"{CPU}/cpu2/regs/identification/midr_el1": "0x1\n"}
    assert look(tmp_path / "two", some).cpu_kinds == ()


@pytest.mark.parametrize(
    ("ways", "sets", "shown"), [(16, 64, (16, 64)), (0, 64, (None, 64)), (-1, 64, (None, 64)), (1, 0, (1, 0)), (8, None, (8, None))]
)
def test_ways_of_a_cache(tmp_path: Path, ways: int, sets: int | None, shown: tuple[int | None, int | None]) -> None:
    more = {"ways_of_associativity": ways} | ({} if sets is None else {"number_of_sets": sets})
    (found,) = look(tmp_path, regular(1, 1, 1) | cache(0, 0, 2, "0", type="Unified", **more)).caches
    assert (found.ways, found.sets) == shown


def test_turbo_alone_makes_no_kinds(tmp_path: Path) -> None:
    files = {f"{CPU}/online": "0-1\n"} | {f"{CPU}/cpu{n}/cpufreq/cpuinfo_max_freq": f"{4000000 + n}\n" for n in range(2)}
    assert look(tmp_path, files).cpu_kinds == ()


def test_caches_whose_ids_collide(tmp_path: Path) -> None:
    files = regular(1, 4, 1)
    for number, (mates, size) in enumerate((("0", "48K"), ("1-3", "64K"), ("1-3", "64K"), ("1-3", "64K"))):
        files |= cache(number, 0, 2, mates, id=0, type="Unified", size=size) | cache(number, 1, 3, "0-3", id=0, ways_of_associativity=0)
    found = look(tmp_path, files).caches
    assert [(entry.level, str(entry.cpus), entry.id, entry.size_bytes, entry.ways) for entry in found] == [
        (2, "0", 0, 48 << 10, None),
        (2, "1-3", 0, 64 << 10, None),
        (3, "0-3", 0, None, None),
    ]
    assert {entry.sharing_origin for entry in found} == {None}


def test_a_cache_that_names_no_cpu_is_its_cores(tmp_path: Path) -> None:
    files = regular(1, 2, 2) | {f"{CPU}/cpu{n}/cache/index0/level": "2\n" for n in range(4)}
    found = look(tmp_path, files).caches
    assert [(str(entry.cpus), entry.sharing_origin) for entry in found] == [("0,2", "inferred"), ("1,3", "inferred")]


@given(st.sets(st.integers(0, 40), max_size=20), st.dictionaries(st.integers(0, 40), st.sets(st.integers(0, 60), max_size=6)))
def test_partition(cpus: set[int], mates: dict[int, set[int]]) -> None:
    groups = partition(cpus, lambda number: CpuSet(mates.get(number, ())))
    assert sorted(number for group in groups for number in group) == sorted(cpus)
    assert all(groups)


masks = st.sets(st.integers(0, 9), max_size=6).map(lambda numbers: str(CpuSet(numbers)))
ids = st.sampled_from([-1, 0, 1, 2])
one_cpu = st.fixed_dictionaries(
    {},
    optional={
        "core_id": ids,
        "cluster_id": ids,
        "die_id": ids,
        "physical_package_id": ids,
        "core_cpus_list": masks,
        "cluster_cpus_list": masks,
        "die_cpus_list": masks,
        "package_cpus_list": masks,
    },
)
one_cache = st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(1, 3), masks)


@given(
    online=st.none() | masks,
    present=st.none() | masks,
    cpus=st.dictionaries(st.integers(0, 7), one_cpu, max_size=8),
    caches=st.lists(one_cache, max_size=8),
    nodes=st.dictionaries(st.integers(0, 9), masks, max_size=3),
    cpuinfo=st.lists(st.tuples(st.integers(0, 9), ids), max_size=4),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_tree_says_the_model_is_sound(
    online: str | None,
    present: str | None,
    cpus: dict[int, dict[str, object]],
    caches: list[tuple[int, int, int, str]],
    nodes: dict[int, str],
    cpuinfo: list[tuple[int, int]],
) -> None:
    files: dict[str, str] = {f"{CPU}/online": f"{online}\n"} if online is not None else {}
    files |= {f"{CPU}/present": f"{present}\n"} if present is not None else {}
    for number, topology in cpus.items():
        files |= cpu(number, **topology)
    for number, index, level, shared in caches:
        files |= cache(number, index, level, shared)
    for number, near in nodes.items():
        files |= node(number, near, 1)
    if cpuinfo:
        files["proc/cpuinfo"] = "".join(f"processor : {number}\nphysical id : {package}\n\n" for number, package in cpuinfo)
    with tempfile.TemporaryDirectory() as place:
        found = look(Path(place), files)
    everyone = found.cpus.online
    # Packages partition the online CPUs, but for those that nothing places, and cores partition the packages.
    placed = sorted(number for package in found.packages for number in package.cpus)
    unplaced = everyone - CpuSet(placed)
    assert placed == list(everyone - unplaced)
    assert not unplaced or unplaced <= next(entry.cpus for entry in found.contradictions if entry.subject == "topology")
    assert sorted(number for core in found.cores for number in core.cpus) == placed
    assert all(core.cpus <= found.packages[core.package].cpus for core in found.cores)
    assert all(core.cpus for core in found.cores)
    assert all(entry.cpus and entry.cpus <= everyone for entry in found.caches)
    assert len({(entry.level, entry.type, entry.cpus) for entry in found.caches}) == len(found.caches)
    assert all(entry.cpus is None or entry.cpus <= everyone for entry in found.nodes)
    assert all(entry.cpus <= everyone for entry in (*found.dies, *found.clusters))
    assert all(0 <= group.package < len(found.packages) for group in (*found.dies, *found.clusters))
    assert found.cpus.offline is None or not found.cpus.offline & everyone
