# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one name means on this host, and what of it was there before a change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: andon_find_component
short_description: Find a component on a host
description:
  - Finds the containers that one name means, says which of them a restart may touch and why not, and packs evidence. Reads only.
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
  limit:
    description: Also judge the limit that O(memory) or O(undo) asks for.
    type: bool
    default: false
  evidence_lines:
    description: Last log lines of each container to keep as evidence; 0 keeps no evidence.
    type: int
    default: 0

attributes:
  check_mode:
    support: full
    description: It reads in both modes.
  diff_mode:
    support: none
    description: Nothing is changed.
"""

EXAMPLES = r"""
- name: Which containers are the adapter, and may they be restarted
  andon_find_component:
    target: adapter
"""

RETURN = r"""
matches:
  description: The containers, each with C(verdict) (act, leave, same, refuse) and C(why).
  type: list
  elements: dict
  returned: always
known:
  description: The words that would have matched something on this host.
  type: list
  elements: str
  returned: always
elsewhere:
  description: A container of that name is there, but the cord does not cover it.
  type: bool
  returned: always
evidence:
  description: Packed inspect (without the environment's values), last log lines and memory of the containers to act on.
  type: str
  returned: always
"""

from ansible.module_utils.andon import targets
from ansible.module_utils.andon.components_module import SPEC_FIND, SPEC_LIMIT, run, survey_of
from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec=dict(SPEC_FIND, limit={"type": "bool", "default": False}, evidence_lines={"type": "int", "default": 0}, **SPEC_LIMIT),
        supports_check_mode=True,
    )
    run(module, find)


def find(module, engine):
    found = survey_of(module, engine)
    lines = module.params["evidence_lines"]
    found["evidence"] = targets.evidence(engine, found["matches"], lines) if lines else ""
    module.exit_json(changed=False, andon_progress=targets.plan_words(found, module.params["target"]), **found)


if __name__ == "__main__":
    main()
