"""Linear memories in a memory map, by the layouts of the runtimes that are there, and by those that embedders have chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from agent.model.runtimes import Runtime
from collectors.proc_pid.maps import Vma
from collectors.root import Budget
from collectors.wasm_maps.explanation import Rules, RunReader
from collectors.wasm_maps.layouts import layouts_of
from collectors.wasm_maps.learning import learn
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.runs import runs_of

# 47 bits of address space hold no more of the smallest reservation; beyond it somebody plays with PROT_NONE.
MAX_MEMORIES = 1 << 15
# Of what embedders may have chosen, so many are tried.
MAX_CHOSEN = 32
MANY_EMPTY = 8


def detect(vmas: Iterable[Vma], runtimes: Iterable[Runtime], budget: Budget | None = None) -> list[MappedMemory]:
    """The memories of these runtimes' layouts, by base. Low confidence: it fits, but so would something else. Raises OverBudget.

    A memory of no pages opens nothing: it is counted where closed space is a whole number of reservations. In a slab it cannot
    be told from a free slot and is left out. `reserved_bytes` of a slot in a slab is the slot.
    """
    runtimes = tuple(runtimes)
    shapes = [layouts_of(runtime.name) for runtime in runtimes]
    fixed = tuple(layout for shape in shapes for layout in shape.fixed)
    rules = Rules(fixed, tuple(elastic for shape in shapes for elastic in shape.elastic))
    if not rules.layouts:
        return []
    budget = budget or Budget()
    reader = RunReader(rules, budget)
    runs = list(runs_of(vmas))
    by_run: dict[int, list[MappedMemory] | None] = {number: reader.exactly(run) for number, run in enumerate(runs)}
    # Free slots of a pool that is not known yet may add up to memories of no pages.
    unread = [number for number, memories in by_run.items() if memories is None or _empties(memories) > MANY_EMPTY]
    learns = any(runtime.learns for runtime in runtimes)
    if unread and learns:
        # What an embedder has chosen shows where its memories stand alone, and holds where they do not.
        learnt = Counter(layout for number in unread for layout in set(learn(runs[number])))
        if learnt:
            ranked = sorted(learnt, key=lambda layout: (layout.weak, -learnt[layout], layout.slots == 1, layout.total))[:MAX_CHOSEN]
            # A slot may begin where an arena would: parts of a pool are smaller than the pool.
            pools = sorted((layout for layout in ranked if layout.slots > 1), key=lambda layout: -layout.total)
            others = [layout for layout in ranked if layout.slots == 1]
            reader = RunReader(Rules((*pools, *rules.layouts, *others), rules.elastic), budget, reader.steps)
            for number in unread:
                budget.check()
                memories, before = reader.exactly(runs[number]), by_run[number]
                if memories is not None and (before is None or _empties(memories) < _empties(before)):
                    by_run[number] = memories
    all_memories: list[MappedMemory] = []
    for number, run in enumerate(runs):
        exact = by_run[number]
        if exact is None:
            budget.check()
        all_memories += reader.loosely(run, learns) if exact is None else exact
    # Anybody may reserve a power of two: of no pages it is a memory only beside one that has some.
    used = {memory.layout for memory in all_memories if memory.size_bytes}
    return [memory for memory in all_memories if memory.size_bytes or memory.confidence == "high" or memory.layout in used][:MAX_MEMORIES]


def _empties(memories: list[MappedMemory]) -> int:
    return sum(1 for memory in memories if not memory.size_bytes)
