"""Lists of what still breaks a law: they only become shorter."""

from __future__ import annotations

from collections.abc import Collection


def check(offenders: Collection[str], still: Collection[str] = ()) -> None:
    """Fails for an offender that is not listed, and for a listed one that offends no more."""
    assert sorted(set(offenders) - set(still)) == [], "breaks this law"
    assert sorted(set(still) - set(offenders)) == [], "is listed and breaks this law no more: take it off the list"
