"""No prediction above its physical bound and none for an idle workload: 500 random hosts, each of nine windows; 10,000 by `make bounds`."""

from __future__ import annotations

import pytest

from tests.validation.random_hosts import offences, windows

HOSTS = 500
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_no_figure_lies_above_its_bound_and_none_is_of_the_idle(part: int) -> None:
    wrong = {seed: words for seed in range(part, HOSTS, PARTS) if (words := offences(seed))}
    assert wrong == {}


def test_what_is_drawn_has_what_the_bounds_are_of() -> None:
    """Learnt intervals, both ways to make a figure, workloads that are idle, and quotas that stop a group."""
    documents = [(document, idle) for seed in range(20) for _, document, idle in windows(seed)]
    predictions = [prediction for document, _ in documents for prediction in document.predictions]
    assert {"prior", "learned"} == {prediction.interval for prediction in predictions}
    assert any(prediction.by_contention for prediction in predictions)
    assert any(prediction.forecast for prediction in predictions)
    assert any(idle for _, idle in documents)
    names = {prediction.component for prediction in predictions}
    assert names >= {"run_queue_delay", "steal", "cpu_pressure", "cpu_share", "throttled_periods", "throttled_time", "halt_polling"}
