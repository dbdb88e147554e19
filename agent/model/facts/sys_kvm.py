"""How KVM translates guest memory and waits for vCPUs: parameters below /sys/module/kvm*."""

from __future__ import annotations

from agent.model.values import Fact


class Kvm(Fact, frozen=True):
    """How KVM on this host translates guest memory and waits for vCPUs.

    `nested_paging`: EPT or NPT is in use; without, KVM shadows the guests' page tables; absent where the vendor module says nothing.
    `nested`: guests may be hypervisors.
    """

    vendor_module: str | None = None
    nested_paging: bool | None = None
    nested: bool | None = None
    halt_poll_ns: int | None = None
