"""Calibration beside the daemon, if none that fits this host and was not disturbed is stored.

A niced child process measures, and the daemon reads its file.
"""

from __future__ import annotations

import logging
import os
import threading

from agent.calibrate import store
from agent.calibrate.child import forked
from agent.calibrate.run import SECONDS, Unable, host_of, measured
from agent.calibrate.use import parameters
from agent.config import Config, calibration_file
from collectors.root import SysRoot

log = logging.getLogger("stratascope")


def calibrate(config: Config) -> None:
    """Starts a calibration in a child process and returns at once. Call it before there are threads, because it forks."""
    if config.root != "/":
        log.warning("only the host itself can be calibrated, not %s", config.root)
        return
    path = config.calibration or calibration_file()
    stored, _ = parameters(path, host_of(SysRoot("/")))
    if stored.better and stored.busy_at is None:
        return
    child = forked(lambda: _run(path))
    threading.Thread(target=lambda: os.waitpid(child, 0), daemon=True).start()


def _run(path: str) -> None:
    log.info("calibrating for at most %.0f s", SECONDS)
    try:
        calibration = measured(SECONDS)
        if store.replaces(calibration, store.load(path)):
            store.keep(path, calibration)
            log.info("calibrated: %s", path)
        else:
            log.info("calibrated under more load than before: %s is kept", path)
    except (Unable, store.Unreadable) as error:
        log.warning("not calibrated: %s", error)
    except OSError as error:
        log.warning("not calibrated: %s: %s", error.filename or path, error.strerror)
