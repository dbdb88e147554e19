"""exporters/http: how long a scrape may take, and where the server listens."""

from __future__ import annotations

import pytest

from exporters.http.application import MARGIN_SECONDS, SCRAPE_SECONDS, patience_seconds
from exporters.http.server import listen


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, SCRAPE_SECONDS - MARGIN_SECONDS),
        ("", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("2", 2 - MARGIN_SECONDS),
        ("0.2", 0.1),
        ("3600", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("0", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("-1", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("soon", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("nan", SCRAPE_SECONDS - MARGIN_SECONDS),
        ("inf", SCRAPE_SECONDS - MARGIN_SECONDS),
    ],
)
def test_the_scrapers_deadline(header: str | None, seconds: float) -> None:
    assert patience_seconds(header) == pytest.approx(seconds)


def test_listening_on_several_addresses() -> None:
    sockets = listen([("127.0.0.1", 0), ("127.0.0.2", 0)])
    try:
        assert [bound.getsockname()[0] for bound in sockets] == ["127.0.0.1", "127.0.0.2"]
        port = sockets[0].getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen([("127.0.0.1", port)])
    finally:
        for bound in sockets:
            bound.close()
