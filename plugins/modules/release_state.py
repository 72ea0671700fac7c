#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What runs on a host, what was recorded there, and who holds the lock. Read-only."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_state
short_description: What runs on a host, and which releases are recorded there
description:
  - Reads, per Compose project that the cord covers, which image, environment, labels, command and configuration files
    each service runs with, and compares that with every recorded release of this host.
  - Changes nothing.
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
    description:
      - The fleet's key for fingerprints, so that secret values and files can be compared between hosts without leaving one.
      - The action plugin of the same name fills it in on the bastion.
    type: str
    required: true
  health_wait:
    description: Seconds to wait at most until every running container is healthy.
    type: int
    default: 0
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
author: The Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: See what runs and what was recorded
  release_state:
    container_cli: "{{ container_cli }}"
    host_state: "{{ andon_host_state }}"
    selectors: "{{ andon_selectors }}"
"""

RETURN = r"""
state:
  description: >-
    services ({project: {service: facts}}, secrets and file hashes as fingerprints), projects, outside, unhealthy, stopped,
    releases (newest first), current (the release that matches what runs, or empty), last (the last rollback's marker), latch, lock,
    engine, compose, disk_free (bytes).
  returned: success
  type: dict
andon_progress:
  description: One line for the operator.
  returned: always
  type: str
"""

import os
import socket
import time

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon import latch
    from ansible.module_utils.andon.compose import Compose
    from ansible.module_utils.andon.engine import Engine, EngineError
    from ansible.module_utils.andon.ledger import Ledger
    from ansible.module_utils.andon.lock import Lock
    from ansible.module_utils.andon.releases import ReleaseError, differences, images, names_of_services, observe, shown, with_latch
except ImportError:  # linters import modules where the project's module_utils cannot be found
    latch = Compose = Engine = EngineError = Ledger = Lock = ReleaseError = None

OPTIONS = {
    "container_cli": {"type": "str", "default": "docker"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "protected": {"type": "list", "elements": "str", "default": []},
    "key": {"type": "str", "required": True, "no_log": True},
    "health_wait": {"type": "int", "default": 0},
}
HOST = socket.gethostname()
# Differences to one release that are worth sending to the bastion; the count is always exact.
CHANGES_LIMIT = 200


def disk_free(path):
    """Free bytes for root on the file system that holds C(path) or its nearest existing parent."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    numbers = os.statvfs(path)
    return numbers.f_bavail * numbers.f_frsize


def wait_healthy(engine, find, wait, clock=time.monotonic, sleep=time.sleep):
    """Looks until everything is healthy or C(wait) seconds are over; returns what was seen last."""
    end = clock() + wait
    while True:
        seen = observe(engine, find())
        if not seen["unhealthy"] or clock() >= end:
            return seen
        sleep(min(0.5, wait))


def recorded(engine, ledger, seen, key):
    """Each recorded release in words that may leave the host, newest first."""
    services = seen["services"]
    releases = ledger.all()
    now = shown(services, key, seen["projects"], HOST)
    there = images(engine, {one["image_id"] for r in releases for members in r.services.values() for one in members.values()})
    out = []
    for release in releases:
        then = shown(release.services, key, release.document.get("projects", {}), HOST)
        changes = differences(now, then) if not release.problem else []
        missing = sorted(
            {
                (one["image_id"], (one["digests"] or [""])[0])
                for members in release.services.values()
                for one in members.values()
                if one["image_id"] not in there
            }
        )
        out.append(
            dict(
                release.summary(),
                matches=not release.problem and not differences(services, release.services),
                services=names_of_services(release.services),
                projects=sorted(release.services),
                shown=then,
                changes=changes[:CHANGES_LIMIT],
                changes_count=len(changes),
                missing=[{"image_id": ident, "pull": digest} for ident, digest in missing],
            )
        )
    return out


def look(params):
    """The whole state of this host.

    Raises:
        EngineError, ReleaseError.
    """
    engine = Engine(params["container_cli"])
    host_state = params["host_state"]

    halted = latch.read(host_state)

    def find():
        return with_latch(engine.covered(params["selectors"], params["components"], params["protected"]), halted)

    seen = wait_healthy(engine, find, params["health_wait"])
    if not seen["services"] and not seen["outside"]:
        raise ReleaseError("no container matches the cord's selectors, running or stopped: wrong host, or wrong andon_selectors")
    ledger = Ledger(host_state)
    releases = recorded(engine, ledger, seen, params["key"])
    return {
        "services": shown(seen["services"], params["key"], seen["projects"], HOST),
        "projects": seen["projects"],
        "outside": seen["outside"],
        "unhealthy": seen["unhealthy"],
        "stopped": seen["stopped"],
        "releases": releases,
        "current": next((r["id"] for r in releases if r["matches"]), ""),
        "last": ledger.marker(),
        "latch": [one.words() for one in halted],
        "halted": any(one.scope == "all" for one in halted),
        "lock": Lock(host_state).holder(),
        "engine": engine.must("version", "--format", "{{.Server.Version}}").strip(),
        "compose": Compose(engine).version(),
        "disk_free": disk_free(host_state),
        "clock": time.time(),
    }


def progress(state):
    """One line: what runs, by its release's name if it has one."""
    bad = len(state["unhealthy"])
    words = "%d services, %s" % (
        sum(len(m) for m in state["services"].values()),
        "release " + state["current"] if state["current"] else "not a recorded release",
    )
    if state["latch"]:
        return "OK  halted, " + words
    return ("NOT HEALTHY  %s, %d containers: %s" % (words, bad, "%s (%s)" % sorted(state["unhealthy"].items())[0])) if bad else "OK  " + words


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        state = look(module.params)
    except (EngineError, ReleaseError, latch.LatchError, OSError) as error:
        module.fail_json(msg=str(error), andon_progress="UNKNOWN  %s" % error)
    module.exit_json(changed=False, state=state, andon_progress=progress(state))


if __name__ == "__main__":
    main()
