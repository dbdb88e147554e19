"""The HTTP side: /metrics, health, readiness and a landing page, served by uvicorn and starlette."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporters.metrics.text import OPENMETRICS, TEXT

# What Prometheus allows itself when it does not say (scrape_timeout), less what the way back takes.
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
        patience = _patience(request.headers.get("x-prometheus-scrape-timeout-seconds"))
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


def _patience(header: str | None) -> float:
    """Seconds that a scrape may take, from the header that Prometheus sends; nonsense in it is ignored."""
    try:
        seconds = float(header) if header else SCRAPE_SECONDS
    except ValueError:
        seconds = SCRAPE_SECONDS
    return max(0.1, min(seconds, SCRAPE_SECONDS) - MARGIN_SECONDS) if seconds > 0 else SCRAPE_SECONDS - MARGIN_SECONDS


def listen(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Bound sockets; OSError names the address that cannot be had."""
    sockets = []
    for host, port in addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sockets.append(socket.create_server((host, port), family=family, backlog=128))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None
    return sockets


def serve(app: Starlette, sockets: list[socket.socket]) -> None:
    """Until SIGTERM or SIGINT; what is in flight then gets eight seconds, which a pass over a slow host can take, of the unit's ten."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", limit_concurrency=64, timeout_keep_alive=75, timeout_graceful_shutdown=8
    )
    uvicorn.Server(config).run(sockets=sockets)
