"""Hosts with a fake engine in this process, and the modules that work on them."""

from __future__ import annotations

import pytest
from ansible.module_utils.andon import skew
from ansible.module_utils.andon.lock import Lock

import plugins.modules.release_apply as release_apply
import plugins.modules.release_record as release_record
import plugins.modules.release_state as release_state
from tests.support.releases import FakeEngine, Host, record


class Fleet:
    """Some hosts, and what the verbs do on each of them without Ansible."""

    def __init__(self, base, count=3):
        self.hosts = [Host(base, "h%d" % (n + 1)) for n in range(count)]
        self.serial = 0

    def deploy(self, content, hosts=None, **more):
        return [host.deploy(content, **more) for host in hosts or self.hosts][0]

    def states(self):
        return {h.name: release_state.look(h.params()) for h in self.hosts}

    def record(self, name, healthy=True, hosts=None):
        self.serial += 1
        for host in hosts or self.hosts:
            record(host, name, [h.name for h in self.hosts], healthy, self.serial)

    def apply(self, host, release, **more):
        lock = Lock(str(host.state))
        lock.take("run-1", "ann", "rollback", "", 900)
        params = host.params(release=release, confirm=release, run="run-1", operator="ann", need_halt=False, ttl=900, wait=0, settle=0)
        return release_apply.run(dict(params, **more), False)

    def skew(self):
        return skew.compare({h: s["services"] for h, s in self.states().items()})


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    for module in (release_state, release_record, release_apply):
        monkeypatch.setattr(module, "Engine", FakeEngine)
    return Fleet(tmp_path)
