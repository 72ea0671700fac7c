#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts a host on a recorded release, or back on what it had when that fails."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_apply
short_description: Puts a host on a recorded release
description:
  - Puts configuration files back, makes the containers that differ anew from the release's pinned model, removes those that are not in
    it, starts all in order with a health gate per level, and reads the host again. What a latch covers is made and not started.
  - When something fails it puts back what the host had, and fails.
  - The action plugin of the same name fills in C(run), and skips the host once another one has failed.
options:
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  host_state:
    description: Andon's own folder on the host.
    type: path
    default: /var/lib/andon
  selectors:
    description: Engine filters that say which containers the cord covers (a union).
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: Containers without labels, as in the inventory's C(andon_components).
    type: list
    elements: dict
    default: []
  protected:
    description: Names of containers that are never touched.
    type: list
    elements: str
    default: []
  release:
    description: The release's id.
    type: str
    required: true
  confirm:
    description: Must be the release's id; the gate that no flag of Ansible gets around.
    type: str
    default: ""
  run:
    description: This run, which must hold the fleet's lock; filled in.
    type: str
    required: true
  operator:
    description: Who does it; filled in.
    type: str
    default: ""
  need_halt:
    description: Refuse unless everything on this host is halted (hosts that differ are rolled back as one set).
    type: bool
    default: false
  ttl:
    description: Seconds by which the lock is renewed when the host begins.
    type: int
    default: 900
  wait:
    description: Seconds that a level may take to become healthy.
    type: int
    default: 60
  settle:
    description: Seconds that a container without a health check must stay up.
    type: float
    default: 5
attributes:
  check_mode:
    description: Says whether anything would change.
    support: full
  diff_mode:
    description: The plan shows the differences of all hosts before.
    support: none
author: The Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: Put this host on the release
  release_apply:
    release: v41
    confirm: v41
"""

RETURN = r"""
now:
  description: What the host has now, for a person.
  returned: always
  type: str
words:
  description: The last lines of the container that did not become healthy.
  returned: when one did not
  type: list
  elements: str
incident:
  description: The incident of the latch that keeps this host halted, or empty.
  returned: success
  type: str
notes:
  description: What else a person should know.
  returned: success
  type: list
  elements: str
andon_progress:
  description: One line for the operator.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon import latch
    from ansible.module_utils.andon.apply import Host, NotApplied
    from ansible.module_utils.andon.engine import Engine, EngineError
    from ansible.module_utils.andon.ledger import Ledger
    from ansible.module_utils.andon.lock import Lock, LockBroken, LockHeld
    from ansible.module_utils.andon.releases import ReleaseError
except ImportError:  # linters import modules where the project's module_utils cannot be found
    latch = Host = NotApplied = Engine = EngineError = Ledger = Lock = LockBroken = LockHeld = ReleaseError = None

OPTIONS = {
    "container_cli": {"type": "str", "default": "docker"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "protected": {"type": "list", "elements": "str", "default": []},
    "release": {"type": "str", "required": True},
    "confirm": {"type": "str", "default": ""},
    "run": {"type": "str", "required": True},
    "operator": {"type": "str", "default": ""},
    "need_halt": {"type": "bool", "default": False},
    "ttl": {"type": "int", "default": 900},
    "wait": {"type": "int", "default": 60},
    "settle": {"type": "float", "default": 5},
}


def run(p, check):
    """Does it; returns (changed, words, notes).

    Raises:
        NotApplied, ReleaseError, EngineError, LockHeld, LockBroken, latch.LatchError, OSError.
    """
    if not check and p["confirm"] != p["release"]:
        raise ReleaseError("not confirmed: confirm must be the release's id, %s. Nothing was done" % p["release"])
    engine, ledger = Engine(p["container_cli"]), Ledger(p["host_state"])
    release = ledger.get(p["release"])

    def find():
        return engine.covered(p["selectors"], p["components"], p["protected"])

    host = Host(engine, ledger, p["host_state"], find, p["run"], p["operator"], p["wait"], p["settle"])
    if check:
        changed = not host.is_on(release, host.look())
        return changed, "OK  would go to %s" % release.id if changed else "OK  already on %s" % release.id, []
    lock = Lock(p["host_state"])
    lock.held_by(p["run"])
    holder = lock.holder()
    lock.take(p["run"], holder.get("owner", ""), holder.get("verb", ""), holder.get("reason", ""), p["ttl"], where=holder.get("where", ""))
    if p["need_halt"] and not any(one.scope == "all" for one in latch.read(p["host_state"])):
        raise ReleaseError("the hosts differ and this one is not halted. Nothing was done here. Next: andon stop, then andon rollback again")
    return host.apply(release)


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        changed, words, notes = run(module.params, module.check_mode)
    except NotApplied as error:
        module.fail_json(
            msg=str(error), changed=error.state != "unchanged", now=error.state, words=error.words, andon_progress="FAILED  %s; %s" % (error.state, error)
        )
    except (EngineError, ReleaseError, LockHeld, LockBroken, latch.LatchError, OSError) as error:
        module.fail_json(msg=str(error), now="unchanged", andon_progress="REFUSED  %s" % error)
    incident = next((one.incident for one in latch.read(module.params["host_state"]) if one.scope == "all"), "")
    module.exit_json(changed=changed, now=words, notes=notes, incident=incident, andon_progress=words)


if __name__ == "__main__":
    main()
