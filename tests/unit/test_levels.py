"""agent/normalise/levels.py on small trees, read by the real readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.small_machines import CPU, cache, cpu, look, sets


@pytest.mark.parametrize(
    ("die_ids", "mates", "dies"),
    [
        ((0, 0, 1, 1), ("0-1", "0-1", "2-3", "2-3"), ["0-1", "2-3"]),
        ((0, 0, 0, 0), ("0-3",) * 4, []),  # the package
        ((0, 1, 2, 3), ("0", "1", "2", "3"), []),  # a CPU each
        ((-1,) * 4, ("0-1", "0-1", "2-3", "2-3"), []),
        # A set that begins with a CPU of which nothing else is known.
        ((0, 0, None, None), ("0-1", "0-1", None, None), ["0-1"]),
        ((None, 0, 0, 0), (None, "0-1", "2-3", "2-3"), ["0-1", "2-3"]),
    ],
)
def test_dies(tmp_path: Path, die_ids: tuple[int | None, ...], mates: tuple[str | None, ...], dies: list[str]) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, (die, mate) in enumerate(zip(die_ids, mates, strict=True)):
        if die is not None:
            files |= cpu(number, core_id=number, core_cpus_list=number, package_cpus_list="0-3", die_id=die, die_cpus_list=mate)
            files |= cpu(number, cluster_id=die, cluster_cpus_list=mate)
    found = look(tmp_path, files)
    assert sets(found.dies) == dies
    assert [str(die) for package in found.packages for die in package.dies] == dies
    # A cluster that is a die says nothing more.
    assert found.clusters == ()


@pytest.mark.parametrize(
    ("packages", "mates", "dies"),
    [
        # Each is cut to the package of the CPU that says it; what is left of the first is the package.
        (("0-3", "0-3", "0-3", "0-3", "4-5", "4-5"), ("0-1", "0-1", "2-5", "2-5", "2-5", "2-5"), ["0-1", "2-3"]),
        # Where two disagree, the lower number's word holds.
        (("0-5",) * 6, ("0-1", "0-2", "1-3", "1-3", "4-5", "4-5"), ["0-1", "2-3", "4-5"]),
    ],
)
def test_dies_are_in_one_package_and_apart(tmp_path: Path, packages: tuple[str, ...], mates: tuple[str, ...], dies: list[str]) -> None:
    files = {f"{CPU}/online": "0-5\n"}
    for number, (package, mate) in enumerate(zip(packages, mates, strict=True)):
        files |= cpu(number, core_id=number, core_cpus_list=number, package_cpus_list=package, die_id=0, die_cpus_list=mate)
    assert sets(look(tmp_path, files).dies) == dies


@pytest.mark.parametrize(
    ("shared", "clusters"),
    [("0-1 0-1 2-3 2-3", ["0-1", "2-3"]), ("0 1 2 3", []), ("0-3 0-3 0-3 0-3", [])],
    ids=["pairs", "cores", "package"],
)
@pytest.mark.parametrize("level_2", [False, True])
def test_clusters(tmp_path: Path, shared: str, clusters: list[str], level_2: bool) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, mates in enumerate(shared.split()):
        files |= cpu(number, core_cpus_list=number, package_cpus_list="0-3", cluster_id=0, cluster_cpus_list=mates)
        if level_2:
            files |= cache(number, 0, 2, mates)
    assert sets(look(tmp_path, files).clusters) == ([] if level_2 else clusters)


@pytest.mark.parametrize("level", [1, 3])
def test_a_cluster_that_is_a_cache_says_nothing_more(tmp_path: Path, level: int) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number, mates in enumerate(("0-1", "0-1", "2-3", "2-3")):
        files |= cpu(number, core_cpus_list=number, package_cpus_list="0-3", cluster_id=number // 2, cluster_cpus_list=mates)
        files |= cache(number, 0, level, mates, type="Unified")
    assert sets(look(tmp_path, files).clusters) == []


@pytest.mark.parametrize(
    ("packages", "books", "drawers", "found"),
    [
        (("0", "1", "2", "3"), ("0-1", "0-1", "2-3", "2-3"), ("0-3",) * 4, (["0-1", "2-3"], ["0-3"])),
        (("0-1", "0-1", "2-3", "2-3"), ("0-1", "0-1", "2-3", "2-3"), ("0-3",) * 4, ([], ["0-3"])),
        (("0", "1", "2", "3"), ("0-1", "0-1", "2-3", "2-3"), ("0-1", "0-1", "2-3", "2-3"), (["0-1", "2-3"], [])),
    ],
    ids=["all", "a book of one package", "a drawer of one book"],
)
def test_books_and_drawers(
    tmp_path: Path, packages: tuple[str, ...], books: tuple[str, ...], drawers: tuple[str, ...], found: tuple[list[str], list[str]]
) -> None:
    files = {f"{CPU}/online": "0-3\n"}
    for number in range(4):
        ids = {"physical_package_id": -1, "book_id": int(books[number][0]), "drawer_id": 7}
        lists = {"package_cpus_list": packages[number], "book_siblings_list": books[number], "drawer_siblings_list": drawers[number]}
        files |= cpu(number, **ids, **lists)
    its = look(tmp_path, files)
    assert (sets(its.books), sets(its.drawers)) == found
    assert {entry.os_index for entry in its.drawers} <= {7}
    assert [entry.os_index for entry in its.books] == [0, 2][: len(its.books)]
