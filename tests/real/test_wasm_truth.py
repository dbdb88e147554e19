"""collectors/wasm_maps.py against every configuration of real engines: what the embedder says of its memories is the truth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from collectors.wasm_maps.layouts import GIB, KIB, MIB
from tests.real.wasm_judge import LOCKED, PERFECT, Refused, Score, Subject, installed, subject

pytestmark = [pytest.mark.real, pytest.mark.beside]


class Case(NamedTuple):
    engines: list[dict[str, Any]]
    memories: list[dict[str, Any]]
    more: dict[str, Any] = {}
    steps: tuple[int, ...] = (7, 300)


ONE: dict[str, Any] = {}
SEVERAL: list[dict[str, Any]] = [{}, {"declared": ["3"], "count": 3}, {"declared": ["40 1000"]}]
ZERO: dict[str, Any] = {"declared": ["0"]}
CASES: dict[str, Case] = {
    "default": Case([{}], SEVERAL),
    "default, 50": Case([{}], [{"count": 50}]),
    "of no pages": Case([{}], [ONE, {**ZERO, "count": 4}, ONE]),
    "maximum": Case([{}], [{"declared": ["1 400"]}]),
    "full": Case([{}], [ONE], steps=(7, 65528)),
    "images": Case([{}], [{"declared": ["2"], "data": True, "count": 3}]),
    "images of a file": Case([{}], [{"declared": ["2"], "data": True, "file": "/tmp", "count": 2}]),
    "without images": Case([{"memory_init_cow": False}], [{"declared": ["2"], "data": True}, ONE]),
    "signals off": Case([{"signals_based_traps": False}], SEVERAL),
    "does not move": Case([{"memory_may_move": False}], [ONE, {"count": 3}], steps=(7, 30)),
    "fuel and epochs": Case([{"consume_fuel": True, "epoch_interruption": True}], SEVERAL),
    "several memories": Case([{"wasm_multi_memory": True}], [{"declared": ["1", "2", "0", "9"], "count": 2}]),
    "64 bits": Case([{"wasm_memory64": True}], [{"declared": ["i64 1"], "count": 3}]),
    "64 bits, beyond 4 GiB": Case([{"wasm_memory64": True}], [{"declared": ["i64 1"]}], steps=(7, 65600)),
    "shared": Case([{"wasm_threads": True, "shared_memory": True}], [{"shared": True, "count": 3}]),
    "the host's": Case([{}], [{"host": True, "count": 4}, ONE]),
    "small pages": Case([{"wasm_custom_page_sizes": True}], [{"declared": ["5000 (pagesize 1)"], "count": 2}], steps=(0, 300)),
    "Pulley": Case([{"target": "pulley64"}], SEVERAL),
    "threads and arenas": Case([{}], SEVERAL, {"noise": 12}),
    "two engines": Case([{}, {"memory_reservation": 1 * GIB}], [{"count": 3}]),
    "two engines, one unguarded": Case([{}, {"memory_guard_size": 0}], [{"count": 3}]),
    "no reservation": Case([{"memory_reservation": 0}], SEVERAL),
    "no reservation, one": Case([{"memory_reservation": 0}], [ONE]),
    "no reservation, no growth": Case([{"memory_reservation": 0, "memory_reservation_for_growth": 0}], [ONE]),
    "no reservation, growth 1 MiB": Case([{"memory_reservation": 0, "memory_reservation_for_growth": MIB}], [ONE]),
    "reservation 1 MiB": Case([{"memory_reservation": MIB}], [{"count": 3}], steps=(7, 5)),
    "reservation 64 MiB": Case([{"memory_reservation": 64 * MIB}], [{"count": 5}]),
    "reservation 1 GiB": Case([{"memory_reservation": GIB}], SEVERAL),
    "reservation 6 GiB": Case([{"memory_reservation": 6 * GIB}], SEVERAL),
    "reservation 8 GiB, guard 2 GiB": Case([{"memory_reservation": 8 * GIB, "memory_guard_size": 2 * GIB}], SEVERAL),
    "guard 64 KiB": Case([{"memory_guard_size": 64 * KIB}], SEVERAL),
    "guard 1 MiB": Case([{"memory_guard_size": MIB}], SEVERAL),
    "guard 2 GiB": Case([{"memory_guard_size": 2 * GIB}], SEVERAL),
    "unguarded": Case([{"memory_guard_size": 0}], SEVERAL),
    "unguarded, one": Case([{"memory_guard_size": 0}], [ONE]),
    "pool": Case([{"pool": {}}], SEVERAL),
    "pool, images": Case([{"pool": {}}], [{"declared": ["2"], "data": True, "count": 3}]),
    "pool of 20": Case([{"pool": {"total_memories": 20}}], SEVERAL),
    "pool of 20, full": Case([{"pool": {"total_memories": 20}}], [{"count": 20}]),
    "pool of small slots": Case(
        [{"pool": {"max_memory_size": 64 * MIB}, "memory_reservation": 64 * MIB, "memory_guard_size": 16 * MIB}], SEVERAL
    ),
    "pool and not": Case([{"pool": {}}, {}], SEVERAL),
}


@pytest.fixture(scope="module")
def newest() -> Iterator[Subject]:
    pytest.importorskip("wasmtime")
    with subject() as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_wasmtime(newest: Subject, name: str) -> None:
    case = CASES[name]
    scores = newest.scores({"engines": case.engines, "memories": case.memories, **case.more}, list(case.steps))
    print(f"wasmtime, {name}: {sum(scores, Score())}")
    assert [score[1:] for score in scores] == [PERFECT] * len(scores), [str(score) for score in scores]


def chance(dice: random.Random) -> Case:
    """One to three engines with any reservation, guard, growth or pool, and threads beside them."""
    engines = []
    for _ in range(dice.randint(1, 3)):
        settings: dict[str, Any] = {}
        if dice.random() < 0.6:
            settings["memory_reservation"] = dice.choice(
                [0, dice.randint(1, 1 << 17) * 64 * KIB, dice.choice([MIB, 64 * MIB, GIB, 8 * GIB])]
            )
        if dice.random() < 0.4:
            settings["memory_guard_size"] = dice.choice([64 * KIB, MIB, dice.randint(1, 1 << 10) * 64 * KIB, 2 * GIB])
        if dice.random() < 0.3:
            settings["memory_reservation_for_growth"] = dice.choice([0, MIB, dice.randint(1, 1 << 14) * 64 * KIB])
        if dice.random() < 0.2:
            pool = {"total_memories": dice.randint(10, 100)}
            if dice.random() < 0.5:
                pool["max_memory_size"] = settings["memory_reservation"] = dice.randint(1, 1 << 10) * MIB
            settings = {key: settings[key] for key in settings if key != "memory_reservation_for_growth"} | {"pool": pool}
        settings["memory_init_cow"] = dice.random() < 0.7
        engines.append(settings)
    memories: list[dict[str, Any]] = [
        {
            "declared": [f"{'i64 ' if dice.random() < 0.2 else ''}{dice.choice([2, 3, dice.randint(2, 100)])}"],
            "count": dice.randint(1, 4),
            "data": dice.random() < 0.3,
        }
        for _ in range(dice.randint(1, 3))
    ]
    for one in memories:
        one["data"] = one["data"] and not one["declared"][0].startswith("i64")
    return Case(engines, memories, {"noise": dice.choice([0, 0, 4, 12])}, (3, dice.randint(10, 200)))


def test_any_configuration(newest: Subject) -> None:
    """Two hundred times what nobody would choose: a size is right or the memory is not found."""
    dice = random.Random(7)
    total, refused = Score(), 0
    for _ in range(200):
        case = chance(dice)
        try:
            scores = newest.scores({"engines": case.engines, "memories": case.memories, **case.more}, list(case.steps))
        except Refused:
            refused += 1  # the engine does not take such a combination
            continue
        total = sum(scores, total)
    print(f"wasmtime, any configuration: {total}, {refused} refused")
    assert refused < 40
    assert total.wrong == 0
    assert total.precision >= 0.9975
    assert total.recall >= 0.9986


FIFTY: dict[str, Any] = {"memories": [{"count": 20}, {"declared": ["3"], "count": 20}, {"declared": ["40 1000"], "count": 10}]}


@pytest.mark.parametrize("name", [name for name in LOCKED if name.startswith("wasmtime==")])
def test_wasmtime_of_each_version(name: str) -> None:
    with subject(installed(name)) as running:
        scores = running.scores(FIFTY, [7, 300])
    print(f"{name}: {sum(scores, Score())}")
    assert [score.hits for score in scores] == [50] * 3
    assert [score[1:] for score in scores] == [PERFECT] * 3
