from __future__ import annotations

import re
import subprocess

import pytest

from tests.need import TOP, need, which

UNIT = "deploy/stratascope.service"
UNITS = (UNIT, "deploy/stratascope-calibrate.service")


@pytest.fixture
def analyze() -> str:
    need("systemd-analyze")
    return which("systemd-analyze") or ""


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(analyze: str, unit: str) -> None:
    said = subprocess.run([analyze, "verify", unit], cwd=TOP, capture_output=True, text=True, timeout=60, check=False).stderr
    # The one thing that a machine without the agent may say; the exit code is 0 even for unknown keys.
    assert re.sub(r".*: Command /opt/stratascope/bin/agent is not executable: No such file or directory\n", "", said) == ""


@pytest.mark.parametrize("unit", UNITS)
def test_the_service_is_not_exposed(analyze: str, unit: str) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", unit]
    said = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60, check=True).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure
    assert float(exposure[1]) <= 2.0


def test_the_service_sees_all_processes() -> None:
    keys = dict(line.split("=", 1) for line in (TOP / UNIT).read_text().splitlines() if re.match(r"\w+=", line))
    assert keys["ProtectProc"] == "default"
    assert keys["ProcSubset"] == "all"
    assert not keys.keys() & {"PrivateUsers", "PrivatePIDs", "PrivateNetwork"}
    assert set(keys["CapabilityBoundingSet"].split()) == {"CAP_SYS_PTRACE"}
