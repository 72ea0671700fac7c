from __future__ import annotations

import pytest

from tests.support.fleet import FakeFleet


@pytest.fixture
def fleet(tmp_path):
    """Two fake hosts and an inventory; see tests/support/fleet.py."""
    return FakeFleet(tmp_path / "fleet")
