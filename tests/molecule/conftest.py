"""What the scenarios' tests share. Each test runs once per host of the lab, over SSH connections of its own, and compares with
what prepare.py saw there before the verb."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import testinfra

from lab import lab

sys.path.insert(0, str(Path(__file__).resolve().parent))

import looks  # noqa: E402  (the path above must be set first)

Containers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=lab.HOSTS)
def host(request):
    """One host of the lab after another: the lab's own list, so that no inventory can leave one out."""
    return testinfra.get_host(f"ssh://{request.param}", ssh_config=str(lab.STATE / "ssh_config"))


@pytest.fixture(scope="module")
def before(host) -> Containers:
    """What ran on the host before the verb."""
    record = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "before.json"
    return json.loads(record.read_text())[host.backend.get_hostname()]


@pytest.fixture(scope="module")
def after(host) -> Containers:
    """What is there now."""
    return looks.containers(host.check_output)


@pytest.fixture(scope="module")
def latch(host):
    """latch("all"): the latch file as JSON, or None; a latch that others could read or write fails the test."""

    def read(scope: str) -> dict[str, Any] | None:
        path = f"/var/lib/andon/halts/{scope}.json"
        with_mode = host.check_output("test ! -e %s || { stat -c '%%a %%U' %s; cat %s; }", path, path, path)
        if not with_mode:
            return None
        mode, _, text = with_mode.partition("\n")
        assert mode == "600 root"
        return json.loads(text)

    return read
