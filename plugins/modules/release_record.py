#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Records what runs on a host as a release, or adds a proof of health to the one that it is already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_record
short_description: Records what runs on a host as a release
description:
  - Writes C(<host_state>/releases/<release>/), root-only - the resolved Compose models with images pinned by id, the facts of every
    covered service, and copies of environment and configuration files, with a manifest of hashes.
  - Refuses when the Compose files on disk are not what runs, and when what runs is not what was judged on the bastion.
  - Keeps each image by a tag of its own (C(andon-release/kept:<release>-<image>)), then removes releases that retention no longer wants.
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
  key:
    description: The fleet's key for fingerprints; the action plugin fills it in.
    type: str
    required: true
  release:
    description: The release's id.
    type: str
    required: true
  expected:
    description: The hash of what was judged on the bastion.
    type: str
    required: true
  words:
    description: What is kept with it - at, operator, reason, run, hosts, allowed.
    type: dict
    required: true
  healthy:
    description: Whether every host was healthy when it was judged.
    type: bool
    required: true
  why:
    description: Why it was not, or what proved it.
    type: str
    default: ""
  keep:
    description: How many releases are kept.
    type: int
    default: 10
  never:
    description: Ids that retention never removes.
    type: list
    elements: str
    default: []
  disk_reserve:
    description: Free bytes that must be there.
    type: int
    default: 536870912
attributes:
  check_mode:
    description: Says what would be recorded; everything is resolved, nothing is written.
    support: full
  diff_mode:
    description: A new release has nothing to be compared with.
    support: none
author: The Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: Record what runs
  release_record:
    release: r-20261126-101500
    expected: "{{ decision.expected[inventory_hostname] }}"
    words: "{{ decision.words }}"
    healthy: "{{ decision.healthy }}"
"""

RETURN = r"""
release:
  description: The release's id.
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

import socket
import time

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon import latch
    from ansible.module_utils.andon.catalogue import state_print
    from ansible.module_utils.andon.engine import Engine, EngineError
    from ansible.module_utils.andon.ledger import Ledger
    from ansible.module_utils.andon.record import enough_disk, forget, record, resolve
    from ansible.module_utils.andon.releases import ReleaseError, differences, observe, shown, with_latch
    from ansible.module_utils.andon.state import parse_utc
    from ansible.module_utils.andon.text import valid_id
except ImportError:  # linters import modules where the project's module_utils cannot be found
    latch = Engine = EngineError = Ledger = ReleaseError = None

OPTIONS = {
    "container_cli": {"type": "str", "default": "docker"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "protected": {"type": "list", "elements": "str", "default": []},
    "key": {"type": "str", "required": True, "no_log": True},
    "release": {"type": "str", "required": True},
    "expected": {"type": "str", "required": True},
    "words": {"type": "dict", "required": True},
    "healthy": {"type": "bool", "required": True},
    "why": {"type": "str", "default": ""},
    "keep": {"type": "int", "default": 10},
    "never": {"type": "list", "elements": "str", "default": []},
    "disk_reserve": {"type": "int", "default": 536870912},
}
# A proof that is younger than this says nothing new when it says the same.
PROOF_AGE = 600


def run(p, check, now=time.time):
    """Does it; returns (changed, words, notes).

    Raises:
        ReleaseError, EngineError, OSError.
    """
    if not valid_id(p["release"]):
        raise ReleaseError("'%s' cannot be a release's id (letters, digits, . _ -)" % p["release"])
    engine, ledger = Engine(p["container_cli"]), Ledger(p["host_state"])
    containers = with_latch(engine.covered(p["selectors"], p["components"], p["protected"]), latch.read(p["host_state"]))
    seen = observe(engine, containers)
    if state_print(shown(seen["services"], p["key"], seen["projects"], socket.gethostname())) != p["expected"]:
        raise ReleaseError("what runs has changed since it was judged. Nothing was recorded; try again when the deploy is over")
    existing = next((r for r in ledger.all() if r.id == p["release"]), None)
    changed = False
    notes = []
    if existing is not None:
        if existing.problem or differences(existing.services, seen["services"]):
            raise ReleaseError("release %s is already recorded on this host and is not what runs (%s)" % (p["release"], existing.problem or "it differs"))
        release = existing
    else:
        enough_disk(p["host_state"], p["disk_reserve"])
        changed = True
        if check:
            resolve(engine, ledger, seen, strict=True)
            return True, "OK  would record %s" % p["release"], []
        release, notes = record(engine, ledger, p["release"], containers, p["words"])
    last = release.proofs[-1] if release.proofs else None
    if last is None or last["healthy"] != p["healthy"] or now() - (parse_utc(last["at"]) or 0) > PROOF_AGE:
        changed = True
        if not check:
            ledger.prove(release, p["healthy"], p["why"])
    if not check and existing is None:
        ledger.audit(verb="record_release", release=release.id, operator=p["words"].get("operator"), run=p["words"].get("run"), outcome="recorded")
        for old in ledger.expendable(p["keep"], set(p["never"]) | {release.id}):
            notes += ["removed release %s (retention: %d)" % (old.id, p["keep"])] + forget(engine, ledger, old)
    verb = "already recorded as" if existing is not None else "recorded"
    return changed, "OK  %s %s, %s" % (verb, release.id, "healthy" if p["healthy"] else "NOT HEALTHY, so it is not a good one"), notes


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        changed, words, notes = run(module.params, module.check_mode)
    except (EngineError, ReleaseError, latch.LatchError, OSError, ValueError) as error:
        module.fail_json(msg=str(error), andon_progress="FAILED  %s" % error)
    module.exit_json(changed=changed, release=module.params["release"], notes=notes, andon_progress=words)


if __name__ == "__main__":
    main()
