# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restarts one component on this host with a memory limit that is in force before its process starts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: andon_limit_memory
short_description: Restart a component with a memory limit
description:
  - Stops, limits and starts the containers that one name means, and reads the limit back from the engine and from the kernel.
  - Records the limits before the first change in C(limits.json) under O(host_state); O(undo) restores them.
  - Refuses under a latch, without a confirmation that equals the target, and a limit below what the component uses.
  - When a step fails, the old limit is put back, the container is started again, and the module fails.
author: The Andon maintainers
options:
  target:
    description: A container's name, a Compose service, or the value of one of the labels andon.component, andon.strategy and andon.venue.
    type: str
    required: true
  force:
    description: The target's name again, to open a gate (a protected container, or a limit below what it uses).
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
  memory:
    description: The limit, such as C(512m), C(1g) or bytes.
    type: str
    default: ""
  memory_swap:
    description: Memory and swap together; empty is the same as O(memory) (no swap), C(-1) unlimited swap.
    type: str
    default: ""
  undo:
    description: Restore the limits that were recorded before the first change.
    type: bool
    default: false
  margin:
    description: Percent that the limit must be above what the component uses.
    type: int
    default: 20
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
    description: Says what would be changed.
  diff_mode:
    support: full
    description: Current and desired limit of each container.
"""

EXAMPLES = r"""
- name: Restart the adapter with half a gibibyte
  andon_limit_memory:
    target: adapter
    confirm: adapter
    memory: 512m

- name: Give it back what it had
  andon_limit_memory:
    target: adapter
    confirm: adapter
    undo: true
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

from ansible.module_utils.andon import limits, targets
from ansible.module_utils.andon.components_module import SPEC_ACT, SPEC_FIND, SPEC_LIMIT, act, hands_of, run, survey_of
from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec=dict(SPEC_FIND, **SPEC_LIMIT, **SPEC_ACT), supports_check_mode=True)
    run(module, limit)


def limit(module, engine):
    found = survey_of(module, engine)
    changing = [one for one in found["matches"] if one["verdict"] == targets.ACT]
    diff = {"before": "", "after": "", "before_header": "memory limits", "after_header": "memory limits"}
    for one in changing:
        diff["before"] += "%s: %s\n" % (one["name"], limits.words(one["memory"], one["memory_swap"]))
        diff["after"] += "%s: %s\n" % (one["name"], limits.words(one["new_memory"], one["new_swap"]))
    hands = hands_of(module, engine, found)

    def before():
        limits.record(module.params["host_state"], changing)

    act(module, found, hands.limit, "limited", before=before, diff=diff)


if __name__ == "__main__":
    main()
