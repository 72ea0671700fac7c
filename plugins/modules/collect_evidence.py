#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's evidence, redacted on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: collect_evidence
short_description: Collect a host's logs and state into one redacted archive
description:
  - Reads container logs, log files, the engine's and the kernel's journal and the host's state, takes the secrets out, and writes one archive
    into a private folder on a file system that has room.
  - With O(state=started) the module returns at once; a collector goes on by itself. It ends and takes its folder away when nobody
    has renewed its lease for O(lease) seconds, so that no copy stays on the host whatever happens to the bastion.
  - The action plugin of the same name starts it, shows its progress, fetches the archive without privilege, and removes the folder.
    Use that; this module alone leaves the fetching to you.
options:
  state:
    description: Start a collection, or take the folder of one away.
    type: str
    choices: [started, removed]
    default: started
  folder:
    description: The folder of the collection to remove.
    type: str
  run:
    description: The run's id, written into the manifest.
    type: str
    default: ""
  key:
    description: The run's redaction key in hex, the same on all hosts; required for O(state=started).
    type: str
  known:
    description: Values that are secrets whatever stands around them.
    type: list
    elements: str
    default: []
  since:
    description: Start of the window, in seconds since 1970 (UTC).
    type: float
  until:
    description: End of the window, in seconds since 1970 (UTC).
    type: float
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  selectors:
    description: Engine filters; the logs of all containers that match one of them are collected, running or not.
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: Containers named in the inventory (dicts with C(name)), collected as well.
    type: list
    elements: dict
    default: []
  files:
    description: Patterns of log files.
    type: list
    elements: str
    default: [/var/log/trading/*.log, /var/log/trading/*.log.*, /var/log/trading/*.log-*]
  owner:
    description: The user id that will fetch the archive.
    type: int
    default: 0
  command_deadline:
    description: Seconds for one command or file.
    type: float
    default: 300
  host_deadline:
    description: Seconds for the whole host.
    type: float
    default: 900
  lease:
    description: Seconds without a sign of life from the bastion after which the collector gives up and cleans up.
    type: int
    default: 60
  max_item_bytes:
    description: The greatest stored size of one item; a longer one keeps its head and its tail.
    type: int
    default: 1073741824
  max_host_bytes:
    description: The greatest size of the host's archive.
    type: int
    default: 4294967296
  reserve:
    description: Bytes that must stay free on a disk.
    type: int
    default: 268435456
  work_folders:
    description: Folders to work in, the best first; those under /run and /dev/shm count as memory.
    type: list
    elements: str
    default: [/var/tmp, /tmp, /run, /dev/shm]
attributes:
  check_mode:
    support: full
    description: Says what would be collected and how much it is; makes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
author: The Andon maintainers
"""

EXAMPLES = r"""
- name: Collect the last hour
  collect_evidence:
    key: "{{ run_key }}"
    since: 1795312800
    until: 1795316400
"""

RETURN = r"""
folder:
  description: The private folder.
  returned: O(state=started)
  type: str
pid:
  description: The collector's process id.
  returned: O(state=started)
  type: int
expected:
  description: Bytes to read, about.
  returned: O(state=started)
  type: int
room:
  description: Bytes that the archive may have.
  returned: O(state=started)
  type: int
shrunk:
  description: There is less room than the collection probably needs; long items keep head and tail.
  returned: O(state=started)
  type: bool
swept:
  description: Folders of dead collections that were taken away.
  returned: O(state=started)
  type: list
  elements: str
estimate:
  description: Containers, files and bytes that would be collected.
  returned: in check mode
  type: dict
"""

from ansible.module_utils.andon import collector
from ansible.module_utils.andon.engine import EngineError
from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "state": {"type": "str", "choices": ["started", "removed"], "default": "started"},
    "folder": {"type": "str"},
    "run": {"type": "str", "default": ""},
    "key": {"type": "str", "no_log": True},
    "known": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "since": {"type": "float"},
    "until": {"type": "float"},
    "container_cli": {"type": "str", "default": "docker"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "files": {
        "type": "list",
        "elements": "str",
        "default": ["/var/log/trading/*.log", "/var/log/trading/*.log.*", "/var/log/trading/*.log-*"],
    },
    "owner": {"type": "int", "default": 0},
    "command_deadline": {"type": "float", "default": 300},
    "host_deadline": {"type": "float", "default": 900},
    "lease": {"type": "int", "default": 60},
    "max_item_bytes": {"type": "int", "default": 1 << 30},
    "max_host_bytes": {"type": "int", "default": 4 << 30},
    "reserve": {"type": "int", "default": 256 << 20},
    "work_folders": {"type": "list", "elements": "str", "default": ["/var/tmp", "/tmp", "/run", "/dev/shm"]},  # noqa: S108
}


def run(module):
    options = module.params
    if options["state"] == "removed":
        if module.check_mode:
            return {"changed": False}
        return {"changed": collector.remove(options["folder"])}
    if module.check_mode:
        return {"changed": False, "estimate": collector.estimate(options)}
    folders = tuple((path, collector.MEMORY if path.startswith(("/run", "/dev/shm")) else collector.DISK) for path in options["work_folders"])  # noqa: S108
    return dict(collector.start(options, folders), changed=True)


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "started", ("key", "since", "until")), ("state", "removed", ("folder",))],
    )
    try:
        result = run(module)
    except (collector.EvidenceError, EngineError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg="The evidence cannot be collected on this host: %s" % error)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
