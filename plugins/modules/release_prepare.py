#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that can fail on a host before a rollback changes it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prepare
short_description: Makes sure that a host can go to a release
description:
  - Checks that the release is recorded here and intact, that Compose answers, that there is room, and pulls by digest the images
    that are gone. No container, configuration file or tag is changed.
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
  disk_reserve:
    description: Free bytes that must be there.
    type: int
    default: 536870912
attributes:
  check_mode:
    description: Says what would be pulled.
    support: full
  diff_mode:
    description: Nothing on the host is compared.
    support: none
author: The Andon maintainers (@andon)
"""

EXAMPLES = r"""
- name: Make sure that every host can go there
  release_prepare:
    release: v41
"""

RETURN = r"""
pulled:
  description: The references that were pulled.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon.apply import fetch_images, need_copies
    from ansible.module_utils.andon.compose import Compose
    from ansible.module_utils.andon.engine import Engine, EngineError
    from ansible.module_utils.andon.ledger import Ledger
    from ansible.module_utils.andon.record import enough_disk
    from ansible.module_utils.andon.releases import ReleaseError
except ImportError:  # linters import modules where the project's module_utils cannot be found
    Engine = EngineError = ReleaseError = None

OPTIONS = {
    "container_cli": {"type": "str", "default": "docker"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "protected": {"type": "list", "elements": "str", "default": []},
    "release": {"type": "str", "required": True},
    "disk_reserve": {"type": "int", "default": 536870912},
}


def main():
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    p = module.params
    try:
        engine = Engine(p["container_cli"])
        release = Ledger(p["host_state"]).get(p["release"])
        Compose(engine).need()
        enough_disk(p["host_state"], p["disk_reserve"])
        need_copies(release)
        pulled = fetch_images(engine, release, check=module.check_mode)
    except (EngineError, ReleaseError, OSError) as error:
        module.fail_json(msg=str(error), andon_progress="REFUSED  %s" % error)
    extra = {"andon_progress": "OK  pulled %s" % ", ".join(pulled)} if pulled and not module.check_mode else {}
    module.exit_json(changed=bool(pulled), pulled=pulled, **extra)


if __name__ == "__main__":
    main()
