"""The list of findings in docs/findings.md: `python -m exporters.findings < docs/findings.md` prints it anew, `make docs` writes it."""

from __future__ import annotations

import sys

from agent.model.finding import KINDS

BEGIN, END = "<!-- The list is made from agent/model/finding.py, by make docs. -->\n", "<!-- End of the list. -->\n"


def reference(document: str) -> str:
    """The document with its list of kinds made anew; the rest of it is written by hand."""
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{_list()}\n{END}{tail}"


def _list() -> str:
    rows = [("finding", "severity", "what it says"), ("---", "---", "---")]
    rows += [(f"`{kind}`", meaning.severity, meaning.text) for kind, meaning in KINDS.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(reference(sys.stdin.read()), end="")
