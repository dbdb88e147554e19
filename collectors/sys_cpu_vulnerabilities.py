"""Hardware vulnerabilities of the CPU and SMT control: /sys/devices/system/cpu/vulnerabilities/*, /sys/devices/system/cpu/smt/control.

Source: Documentation/ABI/testing/sysfs-devices-system-cpu, Documentation/admin-guide/hw-vuln/, arch/x86/kernel/cpu/bugs.c. Asked in
every pass: loading KVM or microcode changes a mitigation, and SMT control is a switch.
"""

from __future__ import annotations

from agent.model.facts.sys_cpu_vulnerabilities import CpuSecurity, Vulnerability, VulnerabilityState
from collectors.root import SysRoot, Unavailable

VULNERABILITIES = "sys/devices/system/cpu/vulnerabilities"
SMT_CONTROL = "sys/devices/system/cpu/smt/control"

MAX_VULNERABILITIES = 256
"""Linux 6.18 has 19."""

# itlb_multihit says what KVM does ("KVM: Mitigation: VMX disabled"), or that the CPU has it and nothing is done ("Processor vulnerable").
_STATES: dict[str, VulnerabilityState] = {
    "Not affected": "not affected",
    "Mitigation": "mitigated",
    "KVM: Mitigation": "mitigated",
    "Vulnerable": "vulnerable",
    "KVM: Vulnerable": "vulnerable",
    "Processor vulnerable": "vulnerable",
    "Unknown": "unknown",
}


def read(root: SysRoot) -> CpuSecurity:
    """All vulnerabilities by name. `Unavailable` where the kernel (before 4.15, or of another architecture) shows neither."""
    names = root.names(VULNERABILITIES)
    if len(names) > MAX_VULNERABILITIES:
        root.note(VULNERABILITIES, "unsupported", f"{len(names)} files; the first {MAX_VULNERABILITIES} were read")
    texts = {name: root.text(f"{VULNERABILITIES}/{name}") for name in names[:MAX_VULNERABILITIES]}
    control = root.text(SMT_CONTROL)
    if not names and control is None:
        raise Unavailable("absent", VULNERABILITIES, "a kernel of 4.15 or later shows it, on architectures that keep the list")
    vulnerabilities = tuple(parse(name, text) for name, text in texts.items() if text and text.strip())
    return CpuSecurity(vulnerabilities, control.strip() or None if control else None)


def parse(name: str, text: str) -> Vulnerability:
    """`text` is one line: "Not affected", "Vulnerable", "Mitigation: PTI", "Vulnerable: Clear CPU buffers attempted, no microcode"."""
    text = text.strip()
    state = next((state for words, state in _STATES.items() if text == words or text.startswith((f"{words}:", f"{words};"))), None)
    return Vulnerability(name, text, state)
