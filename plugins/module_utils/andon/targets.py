"""One name typed by an operator, and the containers of one host that it means.

Used on the hosts, so standard library only, Python 3.8. Everything that can be refused is refused here, before anything
is touched: the plan and the act ask the same function.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import zlib

from . import latch, limits
from .engine import COMPONENT, COMPOSE_PROJECT, STRATEGY, SWARM_SERVICE, VENUE, EngineError
from .state import utc_now
from .text import clean, size, valid_name

ACT, LEAVE, SAME, REFUSE = "act", "leave", "same", "refuse"
LABELS = (COMPONENT, STRATEGY, VENUE)
# A line of a log is data of any length; evidence must pass through one SSH answer.
LINE = 4000


class Wanted:
    """The limit that is asked for.

    Attributes:
        memory, swap: bytes, as the engine takes them (C(swap) is both together).
        undo: restore what limits.json says instead.
        margin: percent above what the component uses.
        forced: accept a limit below that.
    """

    def __init__(self, memory=0, swap=0, undo=False, margin=20, forced=False):
        self.memory = memory
        self.swap = swap
        self.undo = undo
        self.margin = margin
        self.forced = forced


def matched_by(container, target):
    """Why C(target) means C(container): "name", "service", "label andon.strategy"; "" when it does not."""
    if container.name == target:
        return "name"
    if container.service == target:
        return "service"
    for label in LABELS:
        if container.labels.get(label) == target:
            return "label " + label
    return ""


def names(containers):
    """Every word that C(matched_by) would accept here, sorted."""
    found = set()
    for one in containers:
        found.update([one.name, one.service])
        found.update(one.labels.get(label, "") for label in LABELS)
    return sorted(word for word in found if word)


def measure(container, root="/"):
    """What the kernel says of a running container's memory.

    Returns:
        dict usage, anon, working_set, limit, swap_limit (bytes), version (1 or 2); or {"missing": why}.
    """
    if not container.pid:
        return {"missing": "it does not run"}
    try:
        group = limits.Cgroup(container.pid, container.id, root)
        memory, swap = group.limit()
        return dict(group.usage(), limit=memory, swap_limit=swap, version=group.version)
    except (LookupError, ValueError) as error:
        return {"missing": str(error)}


def auto_remove(container):
    """True for `docker run --rm`: the engine deletes it when it stops (a restart of a running one is safe)."""
    return bool((container.raw.get("HostConfig") or {}).get("AutoRemove"))


def judge(container, target, force, also_stopped, refusal):
    """Whether a restart may touch this container.

    Args:
        container: engine.Container that matched.
        target, force: what was typed; C(force) opens a gate only when it is the target's name, letter for letter.
        also_stopped: containers that do not run are started as well.
        refusal: latch.refusal's answer.

    Returns:
        (ACT, LEAVE or REFUSE, why).
    """
    if refusal:
        return REFUSE, refusal
    if container.protected:
        if container.name != target:
            return LEAVE, "protected"
        if force != target:
            return REFUSE, "it is protected. If you mean it: --force %s" % container.name
    swarm = container.labels.get(SWARM_SERVICE)
    if swarm:
        # The manager replaces a task that stops; two of them may run for a moment.
        return REFUSE, "it is a task of a Swarm service; on the manager: docker service update --force %s" % clean(swarm, 60)
    if container.status == "paused" and auto_remove(container):
        return REFUSE, "it is paused and was made with --rm: it would have to be killed, which deletes it"
    if container.status == "paused" and not also_stopped:
        return LEAVE, "it is paused, and a restart would let it run; --also-stopped includes it"
    if container.status not in ("running", "restarting", "paused"):
        if not also_stopped:
            return LEAVE, "it is %s (exit code %s); --also-stopped starts it" % (container.status, container.exit_code)
        if container.status not in ("exited", "created"):
            return LEAVE, "it is %s" % container.status
    return ACT, ""


def judge_limit(container, usage, wanted, record):
    """Whether the limit may be set, and which.

    Args:
        container: engine.Container.
        usage: what C(measure) said.
        wanted: a Wanted.
        record: this container's entry of limits.json, or None.

    Returns:
        (ACT, SAME, LEAVE or REFUSE, why, memory, swap).
    """
    memory, swap = wanted.memory, wanted.swap
    if wanted.undo:
        if record is None:
            return LEAVE, "Andon never changed its limit (nothing in limits.json)", container.memory, container.memory_swap
        memory, swap = int(record["memory"]), int(record["memory_swap"])
    running = "missing" not in usage
    same = (container.memory, container.memory_swap) == (memory, swap)
    # What the engine says is not what the kernel enforces after a change of the swap of a running container.
    if same and not (running and limits.differs((memory, swap or limits.UNLIMITED_SWAP), (usage["limit"], usage["swap_limit"]))):
        return SAME, "already %s" % limits.words(memory, swap), memory, swap
    if not memory:
        return REFUSE, "it was unlimited before, and an engine cannot go back to that: only a recreate can (compose up --force-recreate)", 0, 0
    if auto_remove(container):
        return REFUSE, "it was made with --rm: the stop before the change would delete it. Only a recreate can limit it", memory, swap
    if wanted.forced or not container.pid:
        return ACT, "", memory, swap
    if not running:
        return REFUSE, "what it uses cannot be read (%s), so whether %s is enough is UNKNOWN" % (usage["missing"], size(memory)), memory, swap
    least = limits.required(usage, wanted.margin)
    if memory < least:
        words = "%s is too little: it uses %s (anon %s), with %d %% margin that is %s" % (
            size(memory),
            size(usage["working_set"]),
            size(usage["anon"]),
            wanted.margin,
            size(least),
        )
        return REFUSE, words, memory, swap
    return ACT, "", memory, swap


def accounting(engine):
    """What this host can limit (M9): {memory: bool, swap: bool, total: bytes of the host}.

    Engines that do not say (podman) count as able; the read-back after the change decides then.
    """
    try:
        info = json.loads(engine.must("info", "--format", "{{json .}}") or "{}")
    except ValueError:
        info = {}
    return {"memory": info.get("MemoryLimit", True), "swap": info.get("SwapLimit", True), "total": int(info.get("MemTotal") or 0)}


def survey(engine, target, options, wanted=None):
    """What C(target) means on this host and what may be done with it. Reads only.

    Args:
        engine: engine.Engine.
        target: what the operator typed.
        options: dict selectors, components, protected, host_state, host_root, force, also_stopped.
        wanted: a Wanted, or None for a restart without a limit.

    Returns:
        dict matches [view], known [words], elsewhere (the cord does not cover the container of that name), accounting.

    Raises:
        EngineError: the engine does not answer.
        limits.LimitError: limits.json cannot be read.
    """
    everything = engine.components(options["selectors"], options["components"], options["protected"])
    found = [one for one in everything if matched_by(one, target)]
    records = limits.recorded(options["host_state"]) if wanted else {}
    able = accounting(engine) if wanted and found else {}
    matches = [view(one, target, options, wanted, records.get(one.id), able) for one in found]
    elsewhere = not found and bool([one for one in engine.inspect([target]) if one.name == target])
    return {"matches": matches, "known": names(everything), "elsewhere": elsewhere, "accounting": able}


def view(container, target, options, wanted, record, able):
    """One container as the plan, the act and the report know it: plain data."""
    verdict, why = judge(container, target, options["force"], options["also_stopped"], latch.refusal(container, options["host_state"]))
    usage = measure(container, options["host_root"])
    result = {
        "id": container.id,
        "name": container.name,
        "service": container.service,
        "project": container.labels.get(COMPOSE_PROJECT, ""),
        "image": container.image,
        "by": matched_by(container, target),
        "status": container.status,
        "health": container.health,
        "started_at": container.started_at,
        "memory": container.memory,
        "memory_swap": container.memory_swap,
        "usage": usage,
        "warnings": [],
    }
    if wanted and verdict == ACT:
        verdict, why, result["new_memory"], result["new_swap"] = judge_limit(container, usage, wanted, record)
        if verdict == ACT and not able["memory"]:
            verdict, why = REFUSE, "this host's kernel does not account memory, so a limit would do nothing (cgroup_enable=memory at boot)"
        if verdict in (ACT, SAME):
            result["warnings"] = warnings(container, result, able, wanted)
    result.update(verdict=verdict, why=why)
    return result


def warnings(container, one, able, wanted):
    """What the operator must know of this limit, one line each."""
    lines = []
    if not able["swap"]:
        lines.append("swap is not accounted on this host: memory is limited, swap is not")
    if able["total"] and one["new_memory"] > able["total"]:
        lines.append("the limit is above the host's memory (%s)" % size(able["total"]))
    # A label is anyone's text: only what can be a service's name is offered for pasting into a file.
    if valid_name(container.service) and not wanted.undo:
        lines.append("Compose drops this limit when it recreates %s; add to its file:" % container.service)
        lines += ["    " + line for line in limits.compose_lines(container.service, one["new_memory"], one["new_swap"])]
    return lines


def state_words(one):
    """One container's state for a person: "adapter running (healthy), 120.0 MiB"."""
    health = " (%s)" % one["health"] if one["health"] else ""
    memory = ", %s" % size(one["usage"]["working_set"]) if "missing" not in one["usage"] else ""
    return "%s %s%s%s" % (one["name"], one["status"], health, memory)


def plan_words(found, target):
    """The one line of a host in the plan."""
    matches = found["matches"]
    if not matches:
        return "OK  no %s here" % target
    refused = [one for one in matches if one["verdict"] == REFUSE]
    if refused:
        return "REFUSED  %s: %s" % (refused[0]["name"], refused[0]["why"])
    act = [one for one in matches if one["verdict"] == ACT]
    parts = ["%s [%s]" % (state_words(one), one["by"]) for one in act]
    parts += ["%s left alone: %s" % (one["name"], one["why"]) for one in matches if one["verdict"] in (LEAVE, SAME)]
    return "FOUND  " + "; ".join(parts)


# Evidence


def evidence(engine, matches, lines):
    """What is kept from before the change, packed for the way back to the bastion.

    Args:
        engine: engine.Engine.
        matches: views; those with the verdict ACT are kept.
        lines: the last lines of the log to keep.

    Returns:
        str: base64 of zlib of a JSON list [{at, container, memory, logs}]; packed so that no log line passes a terminal raw.
    """
    chosen = [one for one in matches if one["verdict"] == ACT]
    return base64.b64encode(zlib.compress(json.dumps(parallel(lambda one: _one_evidence(engine, one, lines), chosen)).encode())).decode("ascii")


def unpack(packed):
    """What C(evidence) packed."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def _one_evidence(engine, one, lines):
    found = engine.inspect([one["id"]])
    try:
        logs = [line[:LINE] for line in engine.tail(one["id"], lines)]
    except EngineError as error:
        logs = ["(the engine did not give the log: %s)" % clean(error)]
    return {"at": utc_now(), "name": one["name"], "container": without_values(found[0].raw) if found else None, "memory": one["usage"], "logs": logs}


def without_values(raw):
    """An inspect without the values of the environment: they are where secrets are, and names suffice as evidence."""
    config = dict(raw.get("Config") or {})
    config["Env"] = [str(item).partition("=")[0] + "=(hidden)" for item in config.get("Env") or []]
    return dict(raw, Config=config)


def parallel(function, items):
    """C(function) of each item, all at once, in their order."""
    items = list(items)
    if not items:
        return []
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(len(items), 50)) as pool:
        return list(pool.map(function, items))
