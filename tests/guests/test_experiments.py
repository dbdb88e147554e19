"""Quotas and weights on control groups v2, in a guest of two nodes: the same experiments as on this host, predicted before, measured after.

Its CPUs are emulated, which changes how fast it works and not who gets what of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lab import full, full_image
from tests.need import TOP, need
from tests.real.experiments.rows import Row, by_component, score, table

pytestmark = [pytest.mark.real, pytest.mark.quiet, pytest.mark.timeout(700)]

LIMIT_SECONDS = 640
MODULES = (
    "tests/__init__.py",
    "tests/real/__init__.py",
    *(f"tests/real/experiments/{name}.py" for name in ("groups", "rows", "scheduling")),
)


def test_quotas_and_weights_of_version_2(tmp_path: Path) -> None:
    need(*full_image.PROGRAMS, root=True)
    full_image.image()
    site = full_image.site(tmp_path)
    for module in (*MODULES, "tests/real/experiments/__init__.py", "tests/real/experiments/__main__.py"):
        place = site / module
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / module, place)
    result = full.run(Path(__file__).with_name("experiments") / "job", {"site": site}, tmp_path, limit_seconds=LIMIT_SECONDS)
    assert result.code == 0, result.log
    assert (result.out / "cgroup").read_text() == "cgroup2fs\n"
    rows = [Row(**{**one, "predicted": tuple(one["predicted"])}) for one in json.loads((result.out / "rows.json").read_text())]
    print("\n" + "\n".join(table(rows)), f"in {result.seconds:.0f} s")
    assert {row.component for row in rows} == {"throttling", "shares"}
    inside, _, _ = score(rows)
    assert inside >= 0.9
    for component, own in by_component(rows).items():
        assert 0.8 <= score(own)[1] <= 1.25, component
