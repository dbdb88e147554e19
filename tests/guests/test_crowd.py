"""Containers in numbers on control groups v2: what tests/real/test_crowd.py asks of the host, asked in a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.guest import parts
from tests.lab import full, full_image
from tests.need import TOP, need

pytestmark = [pytest.mark.real, pytest.mark.quiet, pytest.mark.timeout(900)]

# conftest.py knows daemons of this host; what is left of the v1 hierarchies skips itself.
JOB = """set -eu
ulimit -n 65536
export PYTHONPATH=/lab/site:/lab STRATASCOPE_CHURN="30 50"
python3 -m pytest -c /dev/null --rootdir /lab --noconftest -p no:cacheprovider -q -rs -s --junitxml /out/junit.xml \\
	-k "not every_value" tests/real/test_crowd.py
"""
LIMIT_SECONDS = 600  # two minutes are usual on two CPUs that are free


def test_the_crowd_on_v2(tmp_path: Path) -> None:
    need(*full_image.PROGRAMS, root=True)
    full_image.image()
    files = {"site": full_image.site(tmp_path)} | {name: TOP / name for name in parts()}
    result = full.run(JOB, files, tmp_path, limit_seconds=LIMIT_SECONDS, shape=full.CROWD)
    print(result.log)
    assert {case.name: case.wrong for case in result.cases if case.wrong} == {}
    assert result.code == 0, result.log
    assert len(result.cases) >= 3
