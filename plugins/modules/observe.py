#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measures one host and its components for andon health; changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: observe
short_description: Measure a host, its engine and its components in one step
version_added: "0.1.0"
description:
  - Reads disks, memory, load, the engine, the latches, and for each component its state, health, restarts, memory, age, image
    and the errors per minute in the end of its log. Everything has a deadline; what did not answer is said as such.
  - Judges nothing. An action plugin of the same name adds the clock, which only the bastion can know, and the line of progress.
options:
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  host_state:
    description: Andon's folder on the host, where the latches are.
    type: path
    default: /var/lib/andon
  selectors:
    description: Engine filters that say which containers are components (a union).
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: "Containers without labels: dictionaries with name, component, strategy, venue, protect."
    type: list
    elements: dict
    default: []
  disks:
    description: Folders whose file systems are measured; the engine's own folder is added.
    type: list
    elements: path
    default: [/, /var/log]
  error_patterns:
    description: Regular expressions that make a log line an error. Empty means Andon's own.
    type: list
    elements: str
    default: []
  window:
    description: Seconds that count as now.
    type: int
    default: 300
  before:
    description: Seconds before that which count as before.
    type: int
    default: 1800
  log_lines:
    description: How many of the last lines of a log are read.
    type: int
    default: 2000
  log_deadline:
    description: Seconds for one log.
    type: float
    default: 4.0
  engine_deadline:
    description: Seconds for the engine's first answer; after that it is said to hang.
    type: float
    default: 5.0
  deadline:
    description: Seconds for everything. Logs that were not read by then are said to be unknown.
    type: float
    default: 15.0
  limits:
    description: The limits of a healthy host; consumed on the bastion.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: There is nothing to change.
author: [The Andon maintainers (@andon)]
"""

EXAMPLES = r"""
- name: Measure the host
  observe:
    selectors: [label=andon.component]
  register: observed
"""

RETURN = r"""
begin:
  description: The host's clock when it began and, in C(end), when it ended (Unix times).
  returned: always
  type: float
engine:
  description: "ok, version, hung, error."
  returned: always
  type: dict
components:
  description: One dictionary per component, by name.
  returned: always
  type: list
  elements: dict
disks:
  description: "One dictionary per file system: path, size, free, used, inodes_used, read_only."
  returned: always
  type: list
  elements: dict
memory:
  description: "total, available, swap_total, swap_free in bytes."
  returned: always
  type: dict
load:
  description: "one, five, fifteen, cpus."
  returned: always
  type: dict
latches:
  description: "scope and words of every latch."
  returned: always
  type: list
  elements: dict
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.andon import health, latch, measure, shapes, tail
from ansible.module_utils.andon.engine import COMPOSE_PROJECT, Engine, EngineError, EngineHung
from ansible.module_utils.andon.text import clean
from ansible.module_utils.basic import AnsibleModule


def look_at_engine(engine, deadline):
    """{ok, version, root, error, hung} from one call; an engine that hangs is an answer, not a failure."""
    try:
        info = json.loads(engine.must("info", "--format", "{{json .}}", deadline=deadline))
        if not isinstance(info, dict):
            raise ValueError
    except EngineHung as error:
        return {"ok": False, "hung": True, "error": clean(error)}
    except EngineError as error:
        return {"ok": False, "hung": False, "error": clean(error)}
    except ValueError:
        return {"ok": False, "hung": False, "error": "its info is no JSON"}
    # Podman nests the same facts.
    version = info.get("ServerVersion") or (info.get("version") or {}).get("Version")
    root = info.get("DockerRootDir") or (info.get("store") or {}).get("graphRoot")
    if not version:
        errors = info.get("ServerErrors") or ["it says no version"]
        return {"ok": False, "hung": False, "error": clean("; ".join(str(one) for one in errors), 200)}
    return {"ok": True, "version": clean(version, 40), "root": str(root or "")}


def describe(container, latches, now):
    """What is shown of one container, as plain data."""
    covering = [one for one in latches if one.covers(container)]
    return {
        "id": container.id,
        "name": container.name,
        "component": clean(container.component, 40),
        "strategy": clean(container.strategy, 64),
        "service": clean(container.service, 80),
        "project": clean(container.labels.get(COMPOSE_PROJECT, ""), 80),
        "protected": container.protected,
        "image": clean(container.image, 200),
        "image_id": clean(container.image_id, 100),
        "status": clean(container.status, 20),
        "health": clean(container.health, 20),
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "restarts": container.restarts,
        "policy": container.policy_text,
        "age": health.seconds_since(container.started_at, now) if container.running else None,
        "ended_ago": None if container.running else health.seconds_since(container.finished_at, now),
        "memory": measure.container_memory(container.pid) if container.running and container.pid else None,
        "limit": container.memory,
        # A container that runs although a latch covers it is not halted: it must stand out, so it has no excuse here.
        "halted": clean(covering[0].words(), 160) if covering and not container.running else "",
        "latched": bool(covering),
    }


def add_errors(rows, containers, params, is_error, end):
    """Reads the end of every log at once, each bounded, and adds its rates to its row."""

    def read(container):
        left = min(params["log_deadline"], end - time.monotonic())
        if left < 0.1:
            return tail.Tail(error="there was no time left to read its log")
        return tail.container(params["container_cli"], container.id, params["log_lines"], left, keep=8 << 20)

    with ThreadPoolExecutor(max_workers=8) as pool:
        for one, container, found in zip(rows, containers, pool.map(read, containers)):  # noqa: B905 (hosts have Python 3.8)
            created = health.parse_utc(container.raw.get("Created", ""))
            one.update(health.counted(found, is_error, created, time.time(), params["window"], params["before"]))


def observe(params):
    """Everything of one host.

    Raises:
        shapes.PatternError: a pattern is no regular expression.
    """
    begin, end = time.time(), time.monotonic() + params["deadline"]
    is_error = shapes.Matcher(params["error_patterns"])
    engine = Engine(params["container_cli"], deadline=6.0)
    result = {"begin": begin, "selectors": params["selectors"], "components": [], "latches": [], "latch_error": ""}
    latches = []
    try:
        latches = latch.read(params["host_state"])
        result["latches"] = [{"scope": clean(one.scope, 80), "words": clean(one.words(), 200)} for one in latches]
    except latch.LatchError as error:
        result["latch_error"] = clean(error)
    result["engine"] = look_at_engine(engine, params["engine_deadline"])
    if result["engine"]["ok"]:
        try:
            containers = measure.components(engine, params["selectors"], params["components"])
            result["components"] = [describe(one, latches, time.time()) for one in containers]
            add_errors(result["components"], containers, params, is_error, end)
        except EngineError as error:
            result["engine"] = dict(result["engine"], ok=False, hung=isinstance(error, EngineHung), error=clean(error))
    root = result["engine"].get("root")
    result["disks"] = measure.disks(params["disks"] + ([root] if root else []))
    result["memory"] = measure.memory()
    result["load"] = measure.load()
    result["end"] = time.time()
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "disks": {"type": "list", "elements": "path", "default": ["/", "/var/log"]},
            "error_patterns": {"type": "list", "elements": "str", "default": []},
            "window": {"type": "int", "default": 300},
            "before": {"type": "int", "default": 1800},
            "log_lines": {"type": "int", "default": 2000},
            "log_deadline": {"type": "float", "default": 4.0},
            "engine_deadline": {"type": "float", "default": 5.0},
            "deadline": {"type": "float", "default": 15.0},
            "limits": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        result = observe(module.params)
    except shapes.PatternError as error:
        module.fail_json(msg="%s. Nothing was measured. Next: correct eyes_error_patterns in the inventory" % error)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
