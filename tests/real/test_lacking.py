"""Where something is missing the lab's tests skip and say what; in strict mode that fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.need import TOP, need

pytestmark = [pytest.mark.real, pytest.mark.beside]

# Nobody while the test runs: modules are imported before and after, and may lie where root alone can read.
AS_NOBODY = """
import os, sys, pytest
class Nobody:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self):
        os.seteuid(65534)
        done = yield
        os.seteuid(0)
        return done
sys.exit(pytest.main(sys.argv[1:], [Nobody()]))
"""
CONTAINER = "tests/real/test_host_lab.py::test_a_container_has_its_limits"
GUEST = "tests/guests/test_topology.py::test_a_guest_that_panics_ends_with_its_console"


def run(command: list[str], test: str, **environment: str) -> tuple[int, str]:
    whole = [sys.executable, *command, "-p", "no:cacheprovider", "-rs", test]
    done = subprocess.run(whole, cwd=TOP, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def test_without_root() -> None:
    need(root=True)
    code, said = run(["-c", AS_NOBODY], CONTAINER, STRATASCOPE_STRICT="0")
    assert (code, "1 skipped" in said, "missing: root (run as root)" in said) == (0, True, True), said
    code, said = run(["-c", AS_NOBODY], CONTAINER, STRATASCOPE_STRICT="1")
    assert (code, "1 error" in said, "missing: root (run as root)" in said) == (1, True, True), said


def test_without_qemu(tmp_path: Path) -> None:
    """Every program of this host is there but for one."""
    for place in os.get_exec_path():
        for program in Path(place).glob("*"):
            if program.name != "qemu-system-x86_64" and not (tmp_path / program.name).exists():
                (tmp_path / program.name).symlink_to(program)
    missing = "missing: qemu-system-x86_64 (apt-get install qemu-system-x86)"
    code, said = run(["-m", "pytest"], GUEST, PATH=str(tmp_path), STRATASCOPE_STRICT="0")
    assert (code, "1 skipped" in said, missing in said) == (0, True, True), said
    code, said = run(["-m", "pytest"], GUEST, PATH=str(tmp_path), STRATASCOPE_STRICT="1")
    assert (code, "1 failed" in said, missing in said) == (1, True, True), said
