#!/usr/bin/python
# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts again what a latch stopped, tier by tier with a health gate; or halts that again; or lifts the latch."""

from __future__ import annotations

DOCUMENTATION = """
module: resume_host
short_description: Start what a latch stopped, halt it again, or lift the latch
description:
  - C(state=started) restores the old restart policies and starts, in the order data, gateway and adapter, risk, strategy,
    what ran before the stop. After each tier every container of it must be healthy (without a health check, running and not
    restarting for a settle time) before the next one starts. A failed gate stops again what this run started here.
  - C(state=sized) compares the host with I(expected) and writes down which containers get which I(size); it starts nothing.
  - C(state=halted) stops what the latch names and sets its restart policies to C(no) again.
  - C(state=lifted) moves the latch aside (a copy is kept) if everything it names that ran before runs now.
author: the Andon maintainers
options:
  state:
    description: What to do.
    type: str
    choices: [started, halted, lifted, sized]
    required: true
  confirm:
    description: The target by name; C(all) or the strategy's id. Anything else is refused.
    type: str
    required: true
  strategy:
    description: The strategy's id; empty for everything.
    type: str
    default: ""
  incident:
    description: The incident that the latch must belong to.
    type: str
    required: true
  expected:
    description:
      - This host's part of the plan that was shown, and approved where approvals are required. With anything else on the host
        nothing is started. C(resume) always gives it; empty only for another verb that starts again what it stopped itself.
    type: dict
    default: {}
  verb:
    description:
      - Which verb asks. The bastion's part, an action plugin of the same name, checks approvals and gates for C(resume), and
        refuses C(rollback) where approvals or the gate C(positions) would be got around.
    type: str
    choices: [resume, rollback]
    default: resume
  size:
    description: For C(sized), the part of the usual size that the containers with C(sized_by) in I(expected) get.
    type: float
    default: 0
  wait:
    description: Seconds that a tier may take to become healthy.
    type: float
    default: 60
  settle:
    description: Seconds that a container without a health check must stay up.
    type: float
    default: 2
  grace:
    description: Seconds between SIGTERM and SIGKILL when it halts again.
    type: int
    default: 5
  container_cli:
    description: The container CLI.
    type: str
    default: docker
  host_state:
    description: Andon's own folder on the host.
    type: path
    default: /var/lib/andon
  selectors:
    description: Engine filters that say which containers the cord covers.
    type: list
    elements: str
    default: [label=andon.component]
  components:
    description: Containers without labels, from the inventory.
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
    description: Says what it would start; changes nothing.
  diff_mode:
    support: none
    description: The plan is shown before; there is no file to compare.
"""

EXAMPLES = """
- name: Start this host's containers
  resume_host:
    state: started
    confirm: "{{ confirm }}"
    incident: 2026-11-22-exchange-down
"""

RETURN = """
started:
  description: Names of the containers that this call started.
  returned: success or a failed gate
  type: list
  elements: str
andon_lines:
  description: On a failed gate, the failing container's own last log lines.
  returned: failure
  type: list
  elements: str
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.andon import resume
    from ansible.module_utils.andon.engine import Engine, EngineError
    from ansible.module_utils.andon.latch import LatchError, read
    from ansible.module_utils.andon.state import utc_now
    from ansible.module_utils.andon.text import clean, clean_lines
except ImportError:  # linters import modules where the project's module_utils cannot be found
    resume = Engine = EngineError = LatchError = read = clean = clean_lines = utc_now = None


class GateFailed(Exception):
    """A container did not become healthy; args: its name, why, its last log lines."""


def start(engine, tiers, params, started):
    """Starts tier after tier; appends the id of each container that it starts to C(started).

    Raises:
        GateFailed: a container of a tier is not healthy within the wait.
        EngineError: the engine refused.
    """
    for tier in tiers:
        now = {c.id: c for c in engine.inspect([one["id"] for one in tier])}
        begun = []
        for one in tier:
            here = now.get(one["id"])
            if here is None:
                continue
            if here.policy_text != one["policy"]:
                engine.must("update", "--restart=" + one["policy"], one["id"])
            if one["start"]:
                if not here.running:
                    started.append(one["id"])
                    begun.append(one["id"])
                else:
                    begun.append(one["id"])
        fresh = [i for i in begun if i in started]
        if fresh:
            engine.must("start", *fresh, deadline=params["wait"])
        end = time.monotonic() + params["wait"]
        for container_id in begun:
            healthy, last = engine.settle(container_id, max(end - time.monotonic(), 0.1), params["settle"])
            if not healthy:
                name = last.name if last else container_id[:12]
                why = "vanished" if last is None else "state %s, health %s, exit code %s" % (last.status, last.health or "none", last.exit_code)
                raise GateFailed(name, why, engine.tail(container_id, 15))


def halt(engine, ids, grace):
    """Stops these containers and makes them stay down; returns those that still run (names)."""
    ids = list(ids)
    if not ids:
        return []
    engine.run("update", "--restart=no", *ids)
    engine.run("stop", "-t", str(grace), *ids, deadline=grace + 20)
    return [c.name for c in engine.inspect(ids) if c.running or c.policy_text != "no"]


def lift(latch):
    """Moves the latch aside; the copy says what the stop recorded (nothing is lost)."""
    kept = os.path.join(os.path.dirname(latch.path), "lifted")
    os.makedirs(kept, 0o700, exist_ok=True)
    os.rename(latch.path, os.path.join(kept, "%s-%d-%d.json" % (latch.scope, int(time.time()), os.getpid())))


def act(module, engine, latches, params):
    """Does what C(state) says with these latches of one scope (two, if a stop found the disk full) and ends the module."""
    containers = engine.covered(params["selectors"], params["components"], params["protected"])
    plain = [{"id": c.id, "name": c.name, "component": c.component, "running": c.running, "image": c.image, "image_id": c.image_id} for c in containers]
    written = [{"at": one.at, "containers": one.containers} for one in latches]
    if params["expected"] and params["state"] != "halted":
        sizes = {row["name"]: row["sized_by"] for row in params["expected"]["containers"] if "sized_by" in row}
        other = resume.host_difference(params["expected"], resume.host_plan(written, plain, sizes))
        if other:
            words = "REFUSED the plan no longer matches this host: %s" % clean("; ".join(other), 300)
            module.fail_json(msg=words + ". Nothing was started", andon_progress=words)
    tiers, gone = resume.to_start(resume.merged(written), plain)
    names = {one["id"]: one["name"] for tier in tiers for one in tier}
    wanted = [one for tier in tiers for one in tier if one["start"]]
    running = {c.id for c in containers if c.running}

    if params["state"] == "sized":
        rows = [row for row in params["expected"].get("containers", []) if "sized_by" in row]
        if not module.check_mode:
            # Before the size is in place: whoever comes after a run that broke off in between must know of it.
            resume.keep_sizes(params["host_state"], rows, params["size"], params["incident"], utc_now())
        module.exit_json(changed=bool(rows), msg="sizes written down")
    if params["state"] == "lifted":
        missing = [one["name"] for one in wanted if one["id"] not in running]
        if missing:
            module.fail_json(msg="the latch stays: not running: %s" % ", ".join(missing))
        if not module.check_mode:
            for latch in latches:
                lift(latch)
        module.exit_json(changed=True, msg="latch lifted", gone=gone)
    if params["state"] == "halted":
        again = [i for i in names if i in running]
        left = [] if module.check_mode else halt(engine, names, params["grace"])
        if left:
            module.fail_json(msg="could not be halted again: %s" % ", ".join(left))
        module.exit_json(
            changed=bool(again), halted=[names[i] for i in again], andon_progress="HALTED again: %s" % (", ".join(names[i] for i in again) or "nothing ran")
        )
    todo = [one["name"] for one in wanted if one["id"] not in running]
    if module.check_mode:
        module.exit_json(changed=bool(todo), started=todo, gone=gone, andon_progress="OK would start %s" % (", ".join(todo) or "nothing"))
    started = []
    try:
        start(engine, tiers, params, started)
    except (GateFailed, EngineError) as error:
        # Compensate, then fail: what this run started is halted again, the latch is still there.
        left = halt(engine, started, params["grace"])
        for one in (one for tier in tiers for one in tier):
            engine.run("update", "--restart=no", one["id"])
        words = "%s is not healthy (%s)" % error.args[:2] if isinstance(error, GateFailed) else str(error)
        module.fail_json(
            msg="%s; %s" % (clean(words, 300), "halted again" if not left else "and could NOT be halted again: %s" % ", ".join(left)),
            andon_lines=clean_lines("\n".join(error.args[2]), 160, 15) if isinstance(error, GateFailed) else [],
            started=[names[i] for i in started],
            still_running=left,
        )
    fresh = [names[i] for i in started]
    words = "OK started %d of %d, healthy%s" % (len(fresh), len(wanted), " (gone: %s)" % ", ".join(gone) if gone else "")
    module.exit_json(changed=bool(fresh), started=fresh, gone=gone, andon_progress=words)


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "halted", "lifted", "sized"], "required": True},
            "confirm": {"type": "str", "required": True},
            "strategy": {"type": "str", "default": ""},
            "incident": {"type": "str", "required": True},
            "expected": {"type": "dict", "default": {}},
            "verb": {"type": "str", "choices": ["resume", "rollback"], "default": "resume"},
            "size": {"type": "float", "default": 0},
            "wait": {"type": "float", "default": 60},
            "settle": {"type": "float", "default": 2},
            "grace": {"type": "int", "default": 5},
            "container_cli": {"type": "str", "default": "docker"},
            "host_state": {"type": "path", "default": "/var/lib/andon"},
            "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
            "components": {"type": "list", "elements": "dict", "default": []},
            "protected": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    p = module.params
    target = p["strategy"] or "all"
    if p["confirm"] != target:
        module.fail_json(msg="not confirmed: confirm must be '%s'. Nothing was started" % target)
    try:
        latches = read(p["host_state"])
        scope = resume.scope_of(p["strategy"])
        mine = [one for one in latches if one.scope == scope]
        if p["strategy"] and any(one.scope == "all" for one in latches):
            module.fail_json(msg="everything is halted here; a strategy alone cannot be resumed. Next: andon resume")
        if not mine and p["expected"].get("containers") and p["state"] != "halted":
            words = "REFUSED the plan no longer matches this host: its latch is gone"
            module.fail_json(msg=words + ". Nothing was started", andon_progress=words)
        if not mine:
            module.exit_json(changed=False, started=[], msg="nothing is halted here", andon_progress="OK nothing is halted here")
        others = sorted({one.incident for one in mine} - {p["incident"]})
        if others:
            module.fail_json(msg="the latch belongs to another incident: %s. Nothing was started" % (clean(", ".join(others), 120) or "none"))
        act(module, Engine(p["container_cli"]), mine, p)
    except (EngineError, LatchError, OSError) as error:
        module.fail_json(msg=clean(error, 400))


if __name__ == "__main__":
    main()
