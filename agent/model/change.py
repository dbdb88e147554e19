"""What somebody might change about a workload, what it would do, and where the costs of a workload lie: all of it predicted."""

from __future__ import annotations

from agent.model.components import Unit
from agent.model.finding import Finding
from agent.model.neighbours import Neighbours
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Prediction
from agent.model.values import CpuSet, Fact, Limit
from agent.model.workload import Element, LayerName


class Change(Fact, frozen=True, kw_only=True):
    """`cpus` is a quota in CPUs, "max" none; `weight` is cgroup v2's (1-10000); `node` holds all memory; huge pages back all of it."""

    pin: CpuSet | None = None
    cpus: Limit | None = None
    weight: int | None = None
    hugepages: bool = False
    node: int | None = None
    paradigm: Paradigm | None = None


class Effect(Fact, frozen=True, kw_only=True):
    """One component now and under the change. The difference is absent where one of the two is: nothing was assumed for it."""

    component: str
    unit: Unit
    before: Prediction | None = None
    after: Prediction | None = None
    difference: float | None = None
    lo: float | None = None
    hi: float | None = None


class Lost(Fact, frozen=True):
    """Of each second that the workload wants to run, so many are lost: waiting, switching, memory that is far, a core that is shared."""

    value: float
    lo: float
    hi: float


class Answer(Fact, frozen=True, kw_only=True):
    """What a change is predicted to do. `lost` is the change of what is lost, absent where a part of it is not known on either side.

    `already`: it is so, and nothing would change. `assumed` is what the altered model was given that nobody read; `caveats` what the
    formulas do not say.
    """

    workload: str
    name: str
    change: Change
    effects: tuple[Effect, ...]
    lost: Lost | None = None
    already: bool = False
    assumed: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


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

    `lost` is nothing of who is `idle`: it hardly ran, and is not predicted to have waited.
    Without advice none of `considered` changes is predicted to pay, whatever the parameters are. `key_figures`: the components of the costs
    that weigh most, the heaviest first.
    """

    workload: str
    name: str
    paradigm: Paradigm
    runtime: str
    execution_mode: str
    memory_mode: str
    cpu: tuple[Level, ...]
    memory: tuple[Level, ...]
    lost: Lost | None = None
    idle: bool = False
    measured_lost: float | None = None
    key_figures: tuple[str, ...] = ()
    neighbours: Neighbours | None = None
    findings: tuple[Finding, ...] = ()
    advice: Answer | None = None
    considered: tuple[Change, ...] = ()
