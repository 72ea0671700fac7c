"""Makes the project's own modules importable the way Ansible and the CLI import them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "plugins" / "module_utils"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import ansible.module_utils  # noqa: E402  (the path above must be set first)

# Plugins say `from ansible.module_utils.andon.x import y`, as Ansible itself resolves it; tests say `from andon.x`.
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

# Who starts the tests in the background (`nohup ./dev test &`) has Ctrl-C ignored in every child; tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """No test reads or writes the person's own state, inventory link or operator's name."""
    monkeypatch.setenv("ANDON_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ANDON_OPERATOR", "tester")
    # No test can reach a real venue: checked at every request (andon.venues).
    monkeypatch.setenv("ANDON_VENUES_LOOPBACK", "1")
    for name in [n for n in os.environ if n.startswith(("ANSIBLE_", "ANDON_NOTIFY")) and n not in ("ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP")]:
        monkeypatch.delenv(name)
