# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restarts one component on this host, all its containers at once, and waits until they are healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: andon_restart
short_description: Restart a component on a host
description:
  - Restarts the containers that one name means, at the same time, and waits until each is healthy.
  - Refuses under a latch, and without a confirmation that equals the target.
author: The Andon maintainers
options:
  target:
    description: A container's name, a Compose service, or the value of one of the labels andon.component, andon.strategy and andon.venue.
    type: str
    required: true
  force:
    description: The target's name again, to open a gate (a protected container).
    type: str
    default: ""
  also_stopped:
    description: Start the matching containers that are stopped or paused as well.
    type: bool
    default: false
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  host_state:
    description: Andon's folder on the host.
    type: path
    default: /var/lib/andon
  host_root:
    description: Where the host's C(/proc) and C(/sys) are; another folder only where modules run in a container beside the engine.
    type: path
    default: /
  selectors:
    description: Engine filters that say which containers the cord covers.
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: Containers without labels, C({name, component, strategy, venue, protect}).
    type: list
    elements: dict
    default: []
  protected:
    description: Names of containers that are never touched without O(force).
    type: list
    elements: str
    default: []
  confirm:
    description: The target again. Without it nothing is done; check mode does not need it.
    type: str
    default: ""
  grace:
    description: Seconds between SIGTERM and SIGKILL.
    type: int
    default: 10
  wait:
    description: Greatest wait in seconds for the health check.
    type: int
    default: 60
  settle:
    description: Seconds that a container without a health check must stay up.
    type: float
    default: 5

attributes:
  check_mode:
    support: full
    description: Says what would be restarted.
  diff_mode:
    support: none
    description: A restart has no current and desired state. The module is not idempotent.
"""

EXAMPLES = r"""
- name: Restart the adapter
  andon_restart:
    target: adapter
    confirm: adapter
"""

RETURN = r"""
containers:
  description: One entry per container that was acted on, C({name, id, ok, words, seconds, lines, status, health, memory, memory_swap}).
  type: list
  elements: dict
  returned: always
matches:
  description: What the name meant on this host before, as M(andon_find_component) says.
  type: list
  elements: dict
  returned: when it got that far
"""

from ansible.module_utils.andon.components_module import SPEC_ACT, SPEC_FIND, act, hands_of, run, survey_of
from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec=dict(SPEC_FIND, **SPEC_ACT), supports_check_mode=True)
    run(module, restart)


def restart(module, engine):
    found = survey_of(module, engine)
    act(module, found, hands_of(module, engine, found).restart, "restarted")


if __name__ == "__main__":
    main()
