"""What somebody might change about a workload, what it would do, and where the costs of a workload lie: all of it predicted."""

from __future__ import annotations

from typing import Literal

from agent.model.components import Unit
from agent.model.finding import Finding
from agent.model.neighbours import Neighbours
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Prediction, Score
from agent.model.values import CpuSet, Fact, Limit
from agent.model.workload import Element, LayerName


class Change(Fact, frozen=True, kw_only=True):
    """`cpus` is a quota in CPUs, "max" none; `weight` is cgroup v2's (1-10000); `node` holds all memory; huge pages back all of it.

    `memory` is a limit in bytes, "max" none. `without` are ids of other workloads, which leave. `move_to` is a node: the workload runs on
    its CPUs, and all memory lies on it.
    """

    pin: CpuSet | None = None
    cpus: Limit | None = None
    weight: int | None = None
    hugepages: bool = False
    node: int | None = None
    paradigm: Paradigm | None = None
    memory: Limit | None = None
    without: tuple[str, ...] = ()
    move_to: int | None = None


class Effect(Fact, frozen=True, kw_only=True):
    """One component now and under the change. The difference is absent where one of the two is: nothing was assumed for it.

    The difference is from `now`: what is measured of contention, else what is predicted. `unpredicted`: why nothing is said of it.
    """

    component: str
    unit: Unit
    before: Prediction | None = None
    after: Prediction | None = None
    now: float | None = None
    now_from: Literal["measured", "predicted"] | None = None
    difference: float | None = None
    lo: float | None = None
    hi: float | None = None
    unpredicted: str | None = None


class Lost(Fact, frozen=True):
    """Of each second that the workload wants to run, so many are lost: waiting, switching, memory that is far, a core that is shared."""

    value: float
    lo: float
    hi: float


class CpuTimeEffect(Fact, frozen=True, kw_only=True):
    """CPUs' worth of running of a workload: as measured `now`, and as predicted `then`, between `lo` and `hi`."""

    workload: str
    name: str
    now: float
    then: float
    lo: float
    hi: float


MemoryOutcome = Literal["fits", "reclaims", "swaps", "kills", "refused", "unknown"]


class MemoryEffect(Fact, frozen=True, kw_only=True):
    """A workload under another memory limit, in bytes. `held` is what its group holds now, `excess` what of it is above the limit.

    `outcome` is what the kernel does first with what it holds now: nothing; drop pages of files; swap; where that is not enough, kill, or
    on cgroup v1 refuse the limit. `reasons` say of what this is made, and what cannot be predicted.
    """

    limit: Limit
    before: Limit | None
    outcome: MemoryOutcome
    held: int | None = None
    excess: int | None = None
    reasons: tuple[str, ...] = ()


class Answer(Fact, frozen=True, kw_only=True):
    """What a change is predicted to do. `lost` is the change of what is lost, absent where a part of it is not known on either side.

    `already`: it is so, and nothing would change. `assumed` is what the altered model was given that nobody read; `caveats` what the
    formulas do not say. `cpu_time` is the workload's, `neighbours` those of others whose CPU time the change alters; `leaving` are the
    names of those that leave.
    """

    workload: str
    name: str
    change: Change
    effects: tuple[Effect, ...]
    lost: Lost | None = None
    already: bool = False
    assumed: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    cpu_time: CpuTimeEffect | None = None
    neighbours: tuple[CpuTimeEffect, ...] = ()
    memory: MemoryEffect | None = None
    leaving: tuple[str, ...] = ()


class Cost(Fact, frozen=True, kw_only=True):
    """A prediction on the layer where it arises. `lost`, and the shares of the predicted and of the measured sum, only of lost time.

    `weight`: the larger of what was measured and predicted, as a part of the time that the workload wants to run, or of the most that can
    be. None of what is the same whatever the workload does.
    """

    prediction: Prediction
    lost: float | None = None
    share: float | None = None
    measured_lost: float | None = None
    measured_share: float | None = None
    weight: float | None = None


class Level(Fact, frozen=True):
    name: LayerName
    elements: tuple[Element, ...]
    costs: tuple[Cost, ...] = ()


class Explanation(Fact, frozen=True, kw_only=True):
    """The stack of one workload with what each layer costs; `advice` is the one change that is predicted to pay most.

    `word` names this workload alone on its host, for a command line; it is to be quoted for a shell.
    `lost` is nothing of who is `idle`: it hardly ran, and is not predicted to have waited. `lost_parts_unknown`: components that may add
    to it.
    Without advice none of `considered` changes is predicted to pay, whatever the parameters are. `key_figures`: the components of the costs
    that weigh most, the heaviest first. `scores`: how well a daemon's intervals of this workload's figures did so far.
    """

    workload: str
    name: str
    word: str
    paradigm: Paradigm
    runtime: str
    execution_mode: str
    memory_mode: str
    cpu: tuple[Level, ...]
    memory: tuple[Level, ...]
    lost: Lost | None = None
    idle: bool = False
    lost_parts_unknown: tuple[str, ...] = ()
    measured_lost: float | None = None
    key_figures: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    neighbours: Neighbours | None = None
    findings: tuple[Finding, ...] = ()
    advice: Answer | None = None
    considered: tuple[Change, ...] = ()
