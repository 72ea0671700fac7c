#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The fleet's lock, on one host: taken, renewed, given back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_lock
short_description: The fleet's lock on one host
description:
  - Takes, renews or gives back C(<host_state>/lock.json). The fleet's lock is held by whoever holds it on every host; the role
    C(fleet_lock) takes it in the right order and all or nothing.
  - For rollback, resume, restart and limit_memory. Never for the stop.
  - The action plugin of the same name fills in who and which run, and takes over the lock of a run on this bastion that is dead.
options:
  state:
    description: C(present) takes or renews it, C(absent) gives it back.
    type: str
    choices: [present, absent]
    default: present
  host_state:
    description: Andon's own folder on the host.
    type: path
    default: /var/lib/andon
  run_id:
    description: The run that wants it; filled in.
    type: str
    required: true
  owner:
    description: Who wants it; filled in.
    type: str
    default: ""
  where:
    description: The bastion's boot and process namespace; filled in.
    type: str
    default: ""
  dead:
    description: Runs known to be dead; filled in.
    type: list
    elements: str
    default: []
  verb:
    description: What for.
    type: str
    default: ""
  reason:
    description: Why.
    type: str
    default: ""
  ttl:
    description: Seconds until it expires by itself, on the host's clock.
    type: int
    default: 900
  force:
    description: Give back a lock that another run holds.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says whether it could be taken or given back.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
author: The Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: Take the lock
  fleet_lock:
    verb: rollback
    reason: bad prices
    ttl: 900
"""

RETURN = r"""
holder:
  description: Who holds it, when it was refused.
  returned: when refused
  type: dict
replaced:
  description: The dead or expired holder that was replaced.
  returned: when one was
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon.lock import Lock, LockBroken, LockHeld, words
except ImportError:  # linters import modules where the project's module_utils cannot be found
    Lock = LockBroken = LockHeld = words = None

OPTIONS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "run_id": {"type": "str", "required": True},
    "owner": {"type": "str", "default": ""},
    "where": {"type": "str", "default": ""},
    "dead": {"type": "list", "elements": "str", "default": []},
    "verb": {"type": "str", "default": ""},
    "reason": {"type": "str", "default": ""},
    "ttl": {"type": "int", "default": 900},
    "force": {"type": "bool", "default": False},
}


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    p = module.params
    lock = Lock(p["host_state"])
    try:
        if p["state"] == "absent":
            gone = lock.release(p["run_id"], force=p["force"], check=module.check_mode)
            module.exit_json(changed=gone)
        replaced = lock.take(p["run_id"], p["owner"], p["verb"], p["reason"], p["ttl"], where=p["where"], dead=p["dead"], check=module.check_mode)
    except LockHeld as error:
        module.fail_json(
            msg="%s. Nothing was done. Next: wait for it, ask them, or when you know that it is dead: andon lock release --force" % error,
            holder=error.holder,
            andon_progress="REFUSED  %s" % error,
        )
    except (LockBroken, OSError) as error:
        module.fail_json(msg=str(error), andon_progress="REFUSED  %s" % error)
    extra = {"replaced": replaced, "andon_progress": "WARNING  taken over from a dead run: %s" % words(replaced)} if replaced else {}
    module.exit_json(changed=not module.check_mode, **extra)


if __name__ == "__main__":
    main()
