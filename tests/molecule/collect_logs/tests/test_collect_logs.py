"""The bundle has every host's own log lines and a seal that holds; nothing is left or changed on any host."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import lab


@pytest.fixture(scope="module")
def bundle():
    """The bundle's folder on the bastion."""
    state = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "state"
    (manifest,) = state.rglob("incident-20261122/manifest.json")
    return manifest.parent


def test_the_hosts_own_lines_are_in_it(host, bundle):
    name = host.backend.get_hostname()
    # A line that stood in the log before the collection began: the first one of this container's file.
    line = host.check_output("head -n 1 /var/log/trading/momentum.log")
    found = [path for path in bundle.rglob("*") if path.is_file() and name in str(path) and line.encode() in path.read_bytes()]
    assert found, f"{line!r} of {name} is nowhere in {bundle}"


def test_every_item_is_private_and_sealed(bundle):
    assert {path.stat().st_mode & 0o077 for path in bundle.rglob("*") if path.is_file()} == {0}
    assert json.loads((bundle / "manifest.json").read_text())
    cli = [sys.executable, str(lab.ROOT / "cli.py"), "logs", "verify"]
    assert subprocess.run([*cli, str(bundle)], capture_output=True, check=False).returncode == 0
    victim = next(path for path in sorted(bundle.rglob("*.log*")) if path.is_file() and path.stat().st_size)
    whole = victim.read_bytes()
    victim.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    try:
        assert subprocess.run([*cli, str(bundle)], capture_output=True, check=False).returncode != 0
    finally:
        victim.write_bytes(whole)


def test_nothing_was_changed_or_left(host, before, after):
    assert after == before
    assert not host.file("/var/lib/andon").exists
    assert not host.check_output("find /dev/shm /run /tmp /var/tmp -maxdepth 2 -name '*andon*'")
