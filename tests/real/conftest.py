from __future__ import annotations

import pytest

from tests.lab import host
from tests.real.scraper import Scraper


@pytest.fixture
def scraper(libvirt: host.Libvirt) -> Scraper:
    return Scraper(libvirt.uri)
