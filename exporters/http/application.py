"""What is served over HTTP: /metrics, health, readiness and a landing page. `server` listens and serves it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporters.metrics.text import OPENMETRICS, TEXT

# Prometheus' own default of scrape_timeout, and what the way back may take of it.
SCRAPE_SECONDS = 10.0
MARGIN_SECONDS = 0.5

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Stratascope</title></head>
<body><h1>Stratascope</h1><p>Version {version}. What this host is, where each workload sits on it, what its layers cost.</p>
<ul><li><a href="/metrics">Metrics</a></li><li><a href="/-/healthy">Healthy</a></li><li><a href="/-/ready">Ready</a></li></ul>
</body></html>
"""


def application(metrics: Callable[[bool, float], bytes], ready: Callable[[], bool], version: str) -> Starlette:
    """`metrics(openmetrics, patience_seconds)` gives the exposition; it is called in a worker thread."""

    def scrape(request: Request) -> Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        patience = patience_seconds(request.headers.get("x-prometheus-scrape-timeout-seconds"))
        return Response(metrics(openmetrics, patience), media_type=OPENMETRICS if openmetrics else TEXT)

    def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    def is_ready(_: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("the first pass is not done\n", status_code=503)

    def landing(_: Request) -> Response:
        return HTMLResponse(_PAGE.format(version=version))

    return Starlette(
        routes=[
            Route("/", landing),
            Route("/metrics", scrape),
            Route("/-/healthy", healthy),
            Route("/-/ready", is_ready),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)],
    )


def patience_seconds(header: str | None) -> float:
    """How long a scrape may take, by the timeout that Prometheus sends in a header; nonsense in it is ignored."""
    try:
        seconds = float(header) if header else SCRAPE_SECONDS
    except ValueError:
        seconds = SCRAPE_SECONDS
    return max(0.1, min(seconds, SCRAPE_SECONDS) - MARGIN_SECONDS) if seconds > 0 else SCRAPE_SECONDS - MARGIN_SECONDS
