"""What a workload's placement means, with its evidence: facts that somebody who tunes a host looks for.

model_miss: what was measured was outside its predicted interval three windows of a daemon in a row.
model_beaten: "as in the last window" decides more than a component predicts, over a day of windows.
busy_calibration: the parameters were measured while others ran.
"""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact

Kind = Literal[
    "vcpus_float",
    "vcpus_pinned",
    "vcpus_pinned_exclusively",
    "vcpus_on_one_core",
    "vcpus_across_nodes",
    "memory_remote",
    "pins_on_isolated_cpus",
    "pins_on_offline_cpus",
    "topology_contradicts_pins",
    "emulator_on_vcpu_cpus",
    "affinity_drift",
    "statement_mismatch",
    "node_memory_here",
    "topology_here",
    "steal_here",
    "model_miss",
    "model_beaten",
    "busy_calibration",
]


class Finding(Fact, frozen=True, kw_only=True):
    """One thing that follows from the figures in `evidence`. `workload` None: it is of this host. `remedy` None: nothing is amiss."""

    id: Kind
    workload: str | None
    text: str
    evidence: str
    remedy: str | None = None
