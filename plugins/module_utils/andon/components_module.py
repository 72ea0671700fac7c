"""What the modules andon_find_component, andon_restart and andon_limit_memory share: options, the gate, and their answer.

PRIVATE to these three. Standard library only, Python 3.8.
"""

from __future__ import annotations

from . import limits, targets
from .engine import Engine, EngineError
from .hands import Hands
from .text import clean, duration, plural, valid_name

SPEC_FIND = {
    "target": {"type": "str", "required": True},
    "force": {"type": "str", "default": ""},
    "also_stopped": {"type": "bool", "default": False},
    "container_cli": {"type": "str", "default": "docker"},
    "host_state": {"type": "path", "default": "/var/lib/andon"},
    "host_root": {"type": "path", "default": "/"},
    "selectors": {"type": "list", "elements": "str", "default": ["label=andon.component"]},
    "components": {"type": "list", "elements": "dict", "default": []},
    "protected": {"type": "list", "elements": "str", "default": []},
}
SPEC_LIMIT = {
    "memory": {"type": "str", "default": ""},
    "memory_swap": {"type": "str", "default": ""},
    "undo": {"type": "bool", "default": False},
    "margin": {"type": "int", "default": 20},
}
SPEC_ACT = {
    "confirm": {"type": "str", "default": ""},
    "grace": {"type": "int", "default": 10},
    "wait": {"type": "int", "default": 60},
    "settle": {"type": "float", "default": 5.0},
}


def run(module, work):
    """Runs C(work(module, engine)); whatever the host or the engine does not do ends in one line, never in a traceback."""
    target = module.params["target"]
    if not valid_name(target):
        refuse(module, "'%s' cannot be the name of a component (letters, digits, '_', '.', '-'). Nothing was touched" % clean(target, 60))
    if "confirm" in module.params and not module.check_mode and module.params["confirm"] != target:
        refuse(module, "This needs a confirmation that names the target: -e confirm=%s. Nothing was touched" % target)
    try:
        work(module, Engine(module.params["container_cli"]))
    except (EngineError, limits.LimitError, OSError) as error:
        words = clean(error, 400)
        module.fail_json(msg=words, andon_progress="FAILED  " + words, containers=[])


def refuse(module, words, **more):
    module.fail_json(msg=words, andon_progress="REFUSED  " + words, containers=[], **more)


def wanted_of(params):
    """The limit that the options ask for; None for a module without these options, or when none is asked for.

    Raises:
        limits.LimitError: it is no size, or both or neither are asked for.
    """
    if "limit" in params and not params["limit"]:
        return None
    if "memory" not in params:
        return None
    if bool(params["memory"]) == params["undo"]:
        raise limits.LimitError("Give either a limit (-e memory=512m) or -e undo=true")
    forced = params["force"] == params["target"]
    if params["undo"]:
        return limits_wanted(0, 0, params, forced)
    memory = limits.parse_size(params["memory"])
    return limits_wanted(memory, limits.parse_swap(params["memory_swap"], memory), params, forced)


def limits_wanted(memory, swap, params, forced):
    return targets.Wanted(memory, swap, undo=params["undo"], margin=params["margin"], forced=forced)


def survey_of(module, engine):
    """targets.survey with this module's options."""
    options = {key: module.params[key] for key in ("selectors", "components", "protected", "host_state", "host_root", "force", "also_stopped")}
    return targets.survey(engine, module.params["target"], options, wanted_of(module.params))


def hands_of(module, engine, found):
    """The hands with this module's options."""
    params = module.params
    return Hands(
        engine,
        params["host_state"],
        grace=params["grace"],
        wait=params["wait"],
        settle=params["settle"],
        host_root=params["host_root"],
        total=found["accounting"].get("total", 0),
    )


def act(module, found, work, done_word, before=None, diff=None):
    """Does C(work) to every container that may be touched, all at once, and ends the module.

    Args:
        module: AnsibleModule.
        found: what targets.survey said.
        work: function of one view that returns a result (Hands.restart, Hands.limit).
        done_word: "restarted" or "limited".
        before: called once before the first change.
        diff: what --diff shows.
    """
    matches = found["matches"]
    answer = {"matches": matches}
    if diff and (diff["before"] or diff["after"]):
        answer["diff"] = diff
    refused = [one for one in matches if one["verdict"] == targets.REFUSE]
    if refused:
        refuse(module, "%s: %s. Nothing was touched on this host" % (refused[0]["name"], refused[0]["why"]), **answer)
    chosen = [one for one in matches if one["verdict"] == targets.ACT]
    if not chosen:
        words = "; ".join("%s: %s" % (one["name"], one["why"]) for one in matches) or "no %s here" % module.params["target"]
        module.exit_json(changed=False, containers=[], andon_progress="OK  nothing to do: %s" % words, **answer)
    if module.check_mode:
        words = "would be %s: %s" % (done_word, ", ".join(one["name"] for one in chosen))
        module.exit_json(changed=True, containers=[], andon_progress="OK  " + words, **answer)
    if before:
        before()
    results = targets.parallel(work, chosen)
    failed = [one for one in results if not one["ok"]]
    answer.update(containers=results, changed=True)
    if failed:
        words = "; ".join("%s: %s" % (one["name"], one["words"]) for one in failed)
        module.fail_json(msg=words, andon_progress="FAILED  " + words, andon_lines=failed[0]["lines"], **answer)
    slowest = max(one["seconds"] for one in results)
    words = "HEALTHY  %s %s in %s: %s" % (plural(len(results), "container"), done_word, duration(slowest), ", ".join(one["name"] for one in results))
    module.exit_json(andon_progress=words, **answer)
