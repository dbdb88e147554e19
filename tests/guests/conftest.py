from __future__ import annotations

import pytest

from tests.lab import full
from tests.lab.ahead import Ahead


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest, ahead: Ahead) -> full.Result:
    """What the guest of this module's `plan` left."""
    found = ahead.result(request.module.__name__)
    print(found.log)
    assert found.code == 0, found.log
    return found
