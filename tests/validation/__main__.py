"""`make validate`: the model beside published measurements, with the intervals that nine of ten draws of its parameters lie in."""

from __future__ import annotations

import math
import sys
from statistics import median

from tests.validation.cases import Case
from tests.validation.cases_table import CASES


def row(case: Case) -> str:
    low, high = case.published
    published = f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
    point, lo, hi = case.predicted
    predicted = f"{point:.4g}" + (f" [{lo:.4g}, {hi:.4g}]" if lo != hi else "")
    verdict = "none" if not case.modelled else "inside" if case.inside else "near" if case.near else "MISS"
    width = f"{hi / lo:.2f}" if hi > lo > 0 else ""
    mark = "*" if case.out_of_sample else " "
    remark = f"  ({case.remark})" if case.remark else ""
    figures = f"{mark} {verdict:6} {case.ratio:5.2f}  {predicted:34} {width:>6}  {published:18} {case.unit:16}"
    return f"{figures} {case.source}: {case.setting}{remark}"


def geometric_error(cases: tuple[Case, ...]) -> float:
    """How many times off, in the mean."""
    return math.exp(sum(abs(math.log(case.ratio)) for case in cases) / len(cases))


def main() -> int:
    print("  verdict ratio  predicted                           hi/lo  published          unit             source")
    for case in CASES:
        print(row(case))
    new = tuple(case for case in CASES if case.out_of_sample)
    for name, cases in (("out of sample (*)", new), ("all", CASES)):
        passed = sum(1 for case in cases if case.passed)
        error = geometric_error(tuple(case for case in cases if case.modelled))
        widths = [hi / lo for _, lo, hi in (case.predicted for case in cases) if hi > lo > 0]
        words = f"{passed} of {len(cases)} inside the interval or within 0.67-1.5; {error:.2f} times off in the mean"
        print(f"{name}: {words}; hi/lo {median(widths):.2f} in the median of {len(widths)}, {max(widths):.2f} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
