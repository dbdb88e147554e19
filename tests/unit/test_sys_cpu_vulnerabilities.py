"""collectors/sys_cpu_vulnerabilities.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.facts.sys_cpu_vulnerabilities import CpuSecurity, Vulnerability
from collectors.root import SysRoot, Unavailable
from collectors.sys_cpu_vulnerabilities import MAX_VULNERABILITIES, SMT_CONTROL, VULNERABILITIES, parse, read
from tests.unit.tree import grow


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("Not affected", "not affected"),
        ("Vulnerable", "vulnerable"),
        ("Vulnerable: Safe RET, no microcode", "vulnerable"),
        ("Vulnerable; SMT vulnerable", "vulnerable"),
        ("Mitigation: Retpolines; STIBP: disabled; RSB filling; PBRSB-eIBRS: Not affected", "mitigated"),
        ("Mitigation: Clear CPU buffers; SMT vulnerable", "mitigated"),
        ("KVM: Mitigation: VMX disabled", "mitigated"),
        ("KVM: Vulnerable", "vulnerable"),
        ("Processor vulnerable", "vulnerable"),
        ("Unknown: Dependent on hypervisor status", "unknown"),
        ("Not affected by what this test makes up", None),
        ("mitigation: in another spelling", None),
        ("Vulnerability", None),
    ],
)
def test_state_is_how_the_words_begin(text: str, state: str | None) -> None:
    assert parse("mds", f"{text}\n") == Vulnerability("mds", text, state)  # type: ignore[arg-type]


def test_vulnerabilities_by_name(tmp_path: Path) -> None:
    files = {
        f"{VULNERABILITIES}/spectre_v1": "Mitigation: usercopy/swapgs barriers and __user pointer sanitization\n",
        f"{VULNERABILITIES}/mds": "Not affected\n",
        f"{VULNERABILITIES}/empty": "\n",
        SMT_CONTROL: "forceoff\n",
    }
    mds = Vulnerability("mds", "Not affected", "not affected")
    spectre = Vulnerability("spectre_v1", "Mitigation: usercopy/swapgs barriers and __user pointer sanitization", "mitigated")
    assert read(grow(tmp_path, files)) == CpuSecurity((mds, spectre), "forceoff")


def test_each_may_be_missing(tmp_path: Path) -> None:
    assert read(grow(tmp_path / "a", {SMT_CONTROL: "on\n"})) == CpuSecurity((), "on")
    only_mds = grow(tmp_path / "b", {f"{VULNERABILITIES}/mds": "Vulnerable\n"})
    assert read(only_mds) == CpuSecurity((Vulnerability("mds", "Vulnerable", "vulnerable"),), None)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        read(grow(tmp_path, {"sys/devices/system/cpu/online": "0\n"}))
    assert caught.value.reason == "absent"
    assert caught.value.detail == VULNERABILITIES


def test_too_many(tmp_path: Path) -> None:
    root: SysRoot = grow(tmp_path, {f"{VULNERABILITIES}/v{number}": "Vulnerable\n" for number in range(MAX_VULNERABILITIES + 1)})
    assert len(read(root).vulnerabilities) == MAX_VULNERABILITIES
    assert [refusal.path for refusal in root.refusals] == [VULNERABILITIES]
