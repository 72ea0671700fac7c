#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One look at a host: its latches and the containers that the cord covers."""

from __future__ import annotations

DOCUMENTATION = """
module: host_state
short_description: Latches and covered containers of a host
description:
  - Reads the latch files and asks the engine once for every container that the cord covers, running or not.
  - Changes nothing.
author: the Andon maintainers
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
    description: Containers without labels, from the inventory; they win over labels.
    type: list
    elements: dict
    default: []
  protected:
    description: Names of containers that are never touched.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
"""

EXAMPLES = """
- name: Look at this host
  host_state:
    container_cli: "{{ container_cli }}"
  register: andon_state
"""

RETURN = """
containers:
  description: One dict per covered container (id, name, component, strategy, venue, status, health, policy, image_id, started_at).
  returned: always
  type: list
  elements: dict
latches:
  description: One dict per latch (scope, path, incident, operator, reason, at, containers, words).
  returned: always
  type: list
  elements: dict
sizes:
  description: "Sizes that a resume put in place: {container id: {name, size, at, incident}}."
  returned: always
  type: dict
sizes_error:
  description: Why the sizes cannot be known, empty if they are.
  returned: always
  type: str
releases:
  description: How many releases are recorded here.
  returned: always
  type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon.engine import VENUE, Engine, EngineError
    from ansible.module_utils.andon.latch import LatchError, read
    from ansible.module_utils.andon.resume import read_sizes
except ImportError:  # linters import modules where the project's module_utils cannot be found
    VENUE = Engine = EngineError = LatchError = read = read_sizes = None


def describe(container):
    """What the bastion needs to know of one engine.Container, as plain data."""
    return {
        "id": container.id,
        "name": container.name,
        "component": container.component,
        "strategy": container.strategy,
        "venue": container.labels.get(VENUE, ""),
        "service": container.service,
        "status": container.status,
        "running": container.running,
        "health": container.health,
        "policy": container.policy_text,
        "image": container.image,
        "image_id": container.image_id,
        "started_at": container.started_at,
        "exit_code": container.exit_code,
        "restarts": container.restarts,
    }


def recorded(host_state):
    """How many releases are recorded on this host; a folder that is not there holds none."""
    folder = os.path.join(host_state, "releases")
    try:
        return len([name for name in os.listdir(folder) if not name.startswith(".") and os.path.isdir(os.path.join(folder, name))])
    except FileNotFoundError:
        return 0


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "protected": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        latches = [
            {
                "scope": one.scope,
                "path": one.path,
                "incident": one.incident,
                "operator": one.operator,
                "reason": one.reason,
                "at": one.at,
                "containers": one.containers,
                "words": one.words(),
            }
            for one in read(p["host_state"])
        ]
        containers = [describe(c) for c in Engine(p["container_cli"]).covered(p["selectors"], p["components"], p["protected"])]
        releases = recorded(p["host_state"])
    except (EngineError, LatchError, OSError) as error:
        module.fail_json(msg=str(error))
    try:
        sizes, sizes_error = read_sizes(p["host_state"]), ""
    except OSError as error:  # what is halted must be shown all the same; a resume refuses
        sizes, sizes_error = {}, str(error)
    module.exit_json(changed=False, sizes_error=sizes_error, latches=latches, containers=containers, releases=releases, sizes=sizes)


if __name__ == "__main__":
    main()
