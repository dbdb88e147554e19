"""What breaks a law, beside the exceptions to it that are listed with their reasons."""

from __future__ import annotations

from collections.abc import Collection


def check(offenders: Collection[str], exceptions: Collection[str] = ()) -> None:
    """Fails for an offender that is no exception, and for an exception that offends no more."""
    new, gone = sorted(set(offenders) - set(exceptions)), sorted(set(exceptions) - set(offenders))
    assert not new, f"breaks this law: {', '.join(new)}"
    assert not gone, f"is an exception, and breaks this law no more: {', '.join(gone)}"
