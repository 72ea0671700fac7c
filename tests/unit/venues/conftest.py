from __future__ import annotations

import pytest

from tests.support.venue import serving


@pytest.fixture
def venue():
    """A running venue; `venue.account` is what is behind it."""
    with serving() as server:
        yield server
