"""agent compare: the document's matrices are whole, in two languages, and no cell says what this host did not."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from agent.model.device import CpuDevices, Devices, MemoryDevices
from agent.model.host import Host, Identity
from agent.model.logical import KernelCpu, KernelMemory, Logical
from agent.model.physical import Cpus, Physical
from agent.model.physical import MainMemory as PhysicalMemory
from agent.model.values import CpuSet
from exporters.views.compare import Lang, compare, render
from exporters.views.evidence import Scope
from exporters.views.matrices import CLAIMS, MATRICES
from tests.unit.overhead_hosts import container
from tests.unit.told import HOSTILE, at, document, reviewed, window

ROWS = {
    "2.3.2": 8,
    "3.3.2": 8,
    "4.4.1": 8,
    "5.4.1": 10,
    "6.3.2": 6,
    "7.3.2": 6,
    "8.4.1": 8,
    "9.4.1": 9,
    "10.3.1": 8,
    "11.1": 5,
    "11.2": 6,
    "11.3": 7,
    "11.4": 6,
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def nothing() -> Host:
    return Host(
        identity=Identity(),
        physical=Physical(cpus=Cpus(online=CpuSet()), memory=PhysicalMemory()),
        logical=Logical(cpu=KernelCpu(), memory=KernelMemory()),
        devices=Devices(CpuDevices(), MemoryDevices()),
    )


def test_the_matrices_are_the_documents() -> None:
    assert {one.section: len(one.rows) for one in MATRICES} == ROWS
    terms = [row.term for one in MATRICES for row in one.rows] + [
        (en, zh) for one in MATRICES for row in one.rows for en, zh, _ in row.cells
    ]
    assert not [en for en, _ in terms if CHINESE.search(en) or not en]
    assert {zh for _, zh in terms if not CHINESE.search(zh)} <= {
        "N/A",
        "vCPU",
        "Host OS",
        "Runtime + Host OS",
        "Hypervisor + Guest OS",
        "vCPU Pinning",
    }
    # A Chinese term has one translation wherever it stands.
    assert len({zh for _, zh in terms}) == len(set(terms))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_as_an_operator_reads_it(lang: Lang, request: pytest.FixtureRequest) -> None:
    text = render(compare(document(window()), lang), width=140, terminal=False, encoding="utf-8").decode()
    assert max(map(cell_len, text.splitlines())) <= 140
    assert "predicted" in text
    reviewed(f"compare-{lang}", text, request)


def test_one_section_on_a_narrow_terminal(request: pytest.FixtureRequest) -> None:
    text = render(compare(document(window()), "en", ("11.2",)), width=72, terminal=False, encoding="ascii").decode("ascii")
    assert max(map(len, text.splitlines())) <= 72
    reviewed("compare-narrow", text, request)


def test_a_host_that_says_nothing_has_terms_only() -> None:
    found = compare(document(replace(window(), after=nothing(), before=None)))
    assert not [cell for one in found.matrices for row in one.rows for cell in row.cells if cell.evidence is not None]
    bare = replace(nothing(), workloads=(replace(container(), threads=(), memory=type(container().memory)(), cpu=type(container().cpu)()),))
    scope = Scope(document(replace(window(), after=bare, before=None)), bare.workloads)
    said = {evidence(scope) for one in MATRICES for row in one.rows for _, _, evidence in row.cells if evidence}
    assert all(text is None or "0 of 0" not in text for text in said)


def test_evidence_is_of_the_columns_workloads() -> None:
    """A column of whom nobody runs here has terms only."""
    seen = window()
    alone = replace(seen, after=replace(seen.after, workloads=seen.after.workloads[:1]))
    for one in compare(document(alone)).matrices:
        for number, column in enumerate(one.columns):
            if column.workloads == 0:
                assert not [row for row in one.rows if row.cells[number].evidence]


def test_figures_are_the_snapshots() -> None:
    snapshot = document(window())
    (found,) = compare(snapshot, "en", ("11.3",)).matrices
    delays = {one.workload: one for one in snapshot.predictions if one.component == "run_queue_delay"}
    for cell, id_ in zip(found.rows[0].cells, ("vm", "c0ffee", "wasm"), strict=True):
        assert cell.evidence
        assert f"predicted {1000 * delays[id_].value:.3g} ms" in cell.evidence
        assert f"measured {1000 * (delays[id_].measured or 0):.3g} ms" in cell.evidence


def test_claims_of_the_snapshot_in_both_languages() -> None:
    snapshot = document(window())
    assert compare(snapshot).claims == snapshot.claims
    assert {one.id for one in snapshot.claims} == set(CLAIMS)
    translated = compare(snapshot, "zh").claims
    assert [(one.id, one.verdict, one.evidence) for one in translated] == [(one.id, one.verdict, one.evidence) for one in snapshot.claims]
    assert all(CHINESE.search(one.claim) for one in translated)


@pytest.mark.parametrize(("lang", "word"), [("en", "not tested here: L1 answers in 1-2 ns"), ("zh", "本机未检验: L1 Cache")])
def test_a_claim_of_defaults_is_said_to_be_untested(lang: Lang, word: str) -> None:
    text = render(compare(document(window()), lang), width=100, terminal=False, encoding="utf-8").decode()
    assert word in text
    assert "holds: L1" not in text


@pytest.mark.parametrize("width", [72, 140])
def test_a_hostile_name_is_text(width: int) -> None:
    hostile = replace(container(1.0), name=HOSTILE, isolation=HOSTILE)
    text = render(compare(document(replace(window(), after=at(1.0, (hostile,))))), width=width, terminal=True, encoding="utf-8").decode()
    assert "[red]" in text.replace("\n", "")
    assert not set(text) & {"\x9b", "\r", "\x07", "\u202e"}
