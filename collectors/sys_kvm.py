"""How this host's KVM translates guest memory and waits for it: parameters below /sys/module/kvm*.

Source: Documentation/admin-guide/kernel-parameters.txt (kvm-intel.ept, kvm-amd.npt), Documentation/virt/kvm/halt-polling.rst.
"""

from __future__ import annotations

from agent.model.facts.sys_kvm import Kvm
from collectors.root import SysRoot, Unavailable
from collectors.text import flag, unsigned


def read(root: SysRoot) -> Kvm:
    modules = [name for name in root.names("sys/module") if name == "kvm" or name.startswith("kvm_")]
    if not modules:
        raise Unavailable("absent", "sys/module/kvm", "modprobe kvm_intel or kvm_amd, if this host is to run virtual machines")
    vendor = next((name for name in modules if name != "kvm"), None)
    # PVM runs guests without hardware virtualization, and shadows their page tables ("KVM: x86/PVM: Introduce a new hypervisor", 2024).
    is_shadowed = False if vendor == "kvm_pvm" else None
    paging = {"kvm_intel": "ept", "kvm_amd": "npt"}.get(vendor or "")
    return Kvm(
        vendor,
        nested_paging=root.parse(f"sys/module/{vendor}/parameters/{paging}", flag) if paging else is_shadowed,
        nested=root.parse(f"sys/module/{vendor}/parameters/nested", flag) if vendor else None,
        halt_poll_ns=root.parse("sys/module/kvm/parameters/halt_poll_ns", unsigned),
    )
