from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.physical import Assembly, Cache, Core, CpuGroup, Cpus, MainMemory, Node, Package, Physical
from agent.model.values import CpuSet
from exporters.views.tree import MachineObject, machine
from tests.unit.machines import regular


def every(place: MachineObject) -> Iterator[MachineObject]:
    yield place
    for inner in place.children:
        yield from every(inner)


def near(number: int, cpus: Iterable[int]) -> Node:
    return Node(os_index=number, cpus=CpuSet(cpus), local_cpus=CpuSet(cpus))


def found(physical: Physical) -> dict[tuple[str, str], list[str]]:
    """What lies in what, by kind and CPUs."""
    root = machine(physical).root
    return {(place.name, str(place.cpus)): [f"{inner.name} {inner.cpus}" for inner in place.children] for place in every(root)}


def test_a_machine_nests() -> None:
    tree = found(regular(2, 1, 2, 2))
    assert tree["machine", "0-7"] == ["package 0-1,4-5", "package 2-3,6-7"]
    assert tree["package", "0-1,4-5"] == ["L3 Unified cache 0-1,4-5"]
    assert tree["L3 Unified cache", "0-1,4-5"] == ["L2 Unified cache 0,4", "L2 Unified cache 1,5"]
    assert tree["L2 Unified cache", "0,4"] == ["L1 Data cache 0,4"]
    assert tree["L1 Data cache", "0,4"] == ["core 0,4"]
    assert tree["core", "0,4"] == ["thread 0", "thread 4"]


def test_memory_hangs_on_the_outermost_object_with_its_cpus() -> None:
    physical = regular(2, 1, 2, 1)
    homes = {node.os_index: place.name for place in every(machine(physical).root) for node in place.nodes}
    assert homes == {0: "package", 1: "package"}
    together = replace(physical, nodes=(near(0, range(4)),))
    assert [node.os_index for node in machine(together).root.nodes] == [0]


def test_a_node_that_no_object_matches_gets_a_group() -> None:
    physical = regular(1, 1, 4, 1)
    tree = machine(replace(physical, nodes=(near(0, (0, 1)), near(1, (2, 3)))))
    groups = [(str(place.cpus), [node.os_index for node in place.nodes]) for place in every(tree.root) if place.kind == "group"]
    assert groups == [("0-1", [0]), ("2-3", [1])]
    assert tree.root.memory == CpuSet((0, 1))


def test_memory_without_cpus_hangs_where_the_model_says_that_it_is_near() -> None:
    physical = regular(2, 1, 2, 1)
    tree = machine(
        replace(
            physical, nodes=(*physical.nodes, Node(os_index=2, cpus=CpuSet(), local_cpus=CpuSet((0, 1))), Node(os_index=3, cpus=CpuSet()))
        )
    )
    homes = {node.os_index: str(place.cpus) for place in every(tree.root) for node in place.nodes}
    assert homes == {0: "0-1", 1: "2-3", 2: "0-1", 3: "0-3"}


def test_what_crosses_is_left_out_and_the_machine_stands() -> None:
    physical = regular(2, 1, 2, 1)
    crossing = Cache(level=3, type="Unified", cpus=CpuSet((1, 2)))
    overlapping = near(2, (1, 2, 3))
    tree = machine(replace(physical, caches=(*physical.caches, crossing), nodes=(*physical.nodes, overlapping)))
    assert [(place.name, str(place.cpus)) for place in tree.left_out] == [("L3 Unified cache", "1-2"), ("group", "1-3")]
    # The memory is there all the same, where all its CPUs are.
    assert [node.os_index for node in tree.root.nodes] == [2]


def test_objects_with_the_same_cpus_have_an_order() -> None:
    one = CpuSet((0,))
    physical = Physical(
        cpus=Cpus(online=one),
        memory=MainMemory(),
        packages=(Package(cpus=one),),
        books=(Assembly(one),),
        drawers=(Assembly(one),),
        dies=(CpuGroup(one, 0),),
        clusters=(CpuGroup(one, 0),),
        cores=(Core(one, 0),),
        caches=(
            Cache(level=1, type="Instruction", cpus=one),
            Cache(level=1, type="Data", cpus=one),
            Cache(level=2, type="Unified", cpus=one),
        ),
    )
    names = [place.name for place in every(machine(physical).root)]
    assert names == [
        *("machine", "drawer", "book", "package", "die", "cluster"),
        *("L2 Unified cache", "L1 Data cache", "L1 Instruction cache", "core", "thread"),
    ]


def test_a_forged_depth_is_bounded() -> None:
    online = CpuSet(range(1000))
    caches = tuple(Cache(level=4, type="Unified", cpus=CpuSet(range(size))) for size in range(2, 1000))
    tree = machine(Physical(cpus=Cpus(online=online), memory=MainMemory(), caches=caches))
    assert sum(place.kind == "thread" for place in every(tree.root)) == 1000
    assert len(tree.left_out) > 900


SETS = st.frozensets(st.integers(0, 9), max_size=10).map(CpuSet)


@given(st.lists(SETS, max_size=6), st.lists(SETS, max_size=6), st.lists(SETS, max_size=4))
def test_whatever_is_claimed_it_is_a_tree(caches: list[CpuSet], clusters: list[CpuSet], nodes: list[CpuSet]) -> None:
    physical = Physical(
        cpus=Cpus(online=CpuSet(range(8))),
        memory=MainMemory(),
        clusters=tuple(CpuGroup(cpus, 0) for cpus in clusters),
        caches=tuple(Cache(level=2, type="Unified", cpus=cpus) for cpus in caches),
        nodes=tuple(near(number, cpus) for number, cpus in enumerate(nodes)),
    )
    tree = machine(physical)
    places = list(every(tree.root))
    assert sorted(str(place.cpus) for place in places if place.kind == "thread") == [*map(str, range(8))]
    for place in places:
        assert all(inner.cpus <= place.cpus for inner in place.children)
        assert sum(len(inner.cpus) for inner in place.children) == len(CpuSet(cpu for inner in place.children for cpu in inner.cpus))
        below = [node.os_index for inner in every(place) for node in inner.nodes]
        assert sorted(below) == list(place.memory)
    assert sorted(node.os_index for place in places for node in place.nodes) == list(range(len(nodes)))
    kinds = [place.kind for place in (*places, *tree.left_out)]
    assert (kinds.count("cache"), kinds.count("cluster")) == (len(caches), len(clusters))
