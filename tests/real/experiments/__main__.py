"""`python -m tests.real.experiments`: quotas and weights on this host, as JSON: the rows of the experiments that need no other program."""

from __future__ import annotations

import dataclasses
import json

from tests.real.experiments import scheduling


def main() -> None:
    rows = [*scheduling.throttling(), *scheduling.one_request(), *scheduling.weights()]
    print(json.dumps([dataclasses.asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
