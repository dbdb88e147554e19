"""What the kernel knows of the CPU's hardware vulnerabilities, and does about them: /sys/devices/system/cpu."""

from __future__ import annotations

from typing import Literal

from agent.model.values import Fact

VulnerabilityState = Literal["not affected", "mitigated", "vulnerable", "unknown"]


class Vulnerability(Fact, frozen=True):
    """One hardware vulnerability under the kernel's name ("spectre_v2"), and the kernel's words on it.

    `state` is how those words begin; absent where they begin with none that the kernel documents. "mitigated" may be with a rest that
    `text` names ("SMT vulnerable").
    """

    name: str
    text: str
    state: VulnerabilityState | None = None


class CpuSecurity(Fact, frozen=True):
    """`smt_control` is whether hardware threads may be switched: "on", "off", "forceoff", "notsupported", "notimplemented"."""

    vulnerabilities: tuple[Vulnerability, ...] = ()
    smt_control: str | None = None
