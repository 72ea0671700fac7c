"""Adapters on the bastion: reads adapters/<kind>.yml, checks every word of it, and makes what a host needs to run one action.

Pure; nothing is sent. An adapter that cannot be right is an error in words before anything is asked of a host, because at
3 a.m. a typo in `unless_state` must not be a pause that starts a stopped bot. docs/adapters.md describes the files.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import adapter_values as values
from .adapter_values import READS, STATES, VERIFIES
from .text import clean, nearest, valid_id, valid_name

FOLDER = Path(__file__).resolve().parents[3] / "adapters"
CHANGES = ("halt", "cancel_orders", "flatten", "resume")
ACTIONS = (*CHANGES, *READS)
KEYS = ("kind", "endpoint", "venue", "vars", "override")
TOP = (*ACTIONS, "about", "state", "reads", "vars", "products")

COMMON = ("name", "timeout_s", "ok", "already", "unknown", "requires_state", "unless_state", "foreach", "when")
RULE = ("status", "rc", "body_regex", "json")
# Of each step: the keys it may have, and those it must have.
SPECS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "http": (("method", "path", "json"), ("path",)),
    "command": (("in", "argv", "read"), ("argv",)),
    "file": (("in", "path", "touch", "write", "json", "remove", "read", "mode"), ("path",)),
    "redis": (("op", "key", "stream", "value", "fields"), ()),
    "signal": (("name",), ("name",)),
    "container": (("op", "network"), ("op",)),
}
SELECTOR = ("path", "each", "where", "fields", "value", "map", "as", "default")
LOG = ("each", "where", "at", "unit", "text", "regex", "latest")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# What a template may name besides the adapter's vars and what the action gives.
BUILT_IN = ("component", "strategy", "incident_id", "halt_until", "item")
_VAR = re.compile(r"[a-z_][a-z0-9_]*\Z")


class AdapterError(ValueError):
    """An adapter cannot be used: what is wrong, where, and what to write instead. Nothing was sent."""


def _wrong(where: str, what: str) -> None:
    raise AdapterError("%s: %s" % (where, clean(what, 260)))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _wrong(where, "must be a mapping (name: value), not %s" % type(value).__name__)
    return dict(value)


def _known(given: Iterable[Any], known: Iterable[str], where: str, what: str) -> None:
    known = tuple(known)
    for one in given:
        if one not in known:
            near = nearest(str(one), known)
            hint = "Did you mean: %s?" % ", ".join(near) if near else "Known: %s" % ", ".join(known)
            _wrong(where, "unknown %s '%s'. %s" % (what, clean(one, 40), hint))


def _choice(value: Any, known: Iterable[str], where: str) -> None:
    _known([value], known, where, "value")


def _states(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        _wrong(where, "must be a list of %s" % ", ".join(STATES))
    _known(value, STATES, where, "state")


def _regex(value: Any, where: str) -> None:
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        _wrong(where, "is no regular expression: %s" % error)


def _seconds(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 600:
        _wrong(where, "must be seconds, more than 0 and at most 600")


def load(kind: str, override: Mapping[str, Any] | None = None, folder: Path | None = None) -> dict[str, Any]:
    """The checked definition of a kind of adapter.

    Args:
        kind: the file's name without .yml. override: actions that replace those of the file. folder: where the files are.

    Raises:
        AdapterError: the kind is not known, the file cannot be read, or one word in it is not understood.
    """
    import yaml  # only on the bastion, and only where there is an adapter

    folder = folder or FOLDER
    known = sorted(path.stem for path in folder.glob("*.yml"))
    if kind not in known:
        _known([kind], known, "adapter", "kind")
    where = "adapters/%s.yml" % kind
    try:
        text = (folder / (kind + ".yml")).read_text(encoding="utf-8")
        # The C loader is ten times as fast, and a stop reads this file too.
        definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506  (both are safe)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AdapterError("%s cannot be read: %s" % (where, clean(error, 200))) from error
    definition = _mapping(definition, where)
    check(definition, where)
    if override:
        override = _mapping(override, "override")
        _known(override, TOP, "override", "action")
        definition = {**definition, **override}
        check(definition, "override of %s" % where)
    return definition


def check(definition: Mapping[str, Any], where: str) -> None:
    """Checks every word of a definition. Raises AdapterError."""
    _known(definition, TOP, where, "action")
    for name in _mapping(definition.get("vars", {}), where + ": vars"):
        if not _VAR.match(str(name)):
            _wrong(where + ": vars", "'%s' cannot be a value's name (small letters, digits, _)" % clean(name, 40))
    for name, factors in _mapping(definition.get("products", {}), where + ": products").items():
        if not isinstance(factors, list) or not all(isinstance(one, str) for one in factors):
            _wrong("%s: products: %s" % (where, name), "must be a list of values' names")
    reads = _mapping(definition.get("reads", {}), where + ": reads")
    for name, step in reads.items():
        _read(step, "%s: reads: %s" % (where, name), reads)
    if "state" in definition:
        _read(definition["state"], where + ": state", reads)
    sources = set(reads) | {act for act in READS if act in definition and act != "liveness"}
    for act in ACTIONS:
        if act in definition:
            _action(act, definition[act], "%s: %s" % (where, act), sources)


def _action(act: str, action: Any, where: str, sources: set[str]) -> None:
    action = _mapping(action, where)
    if act == "liveness":
        for name, fact in action.items():
            _fact(_mapping(fact, "%s: %s" % (where, name)), "%s: %s" % (where, name), sources)
        return
    if act in READS:
        _known(action, ("do", "data"), where, "key")
        if not isinstance(action.get("do"), list) or len(action["do"]) != 1:
            _wrong(where, "do must be a list of one reading step")
        _read({**_mapping(action["do"][0], where), "data": action.get("data", "")}, where, sources)
        return
    _known(action, ("do", "verify", "durable", "requires_state", "foreach", "on_failure"), where, "key")
    if not isinstance(action.get("do"), list) or not action["do"]:
        _wrong(where, "do must be a list of steps")
    if not isinstance(action.get("verify"), list) or not action["verify"]:
        _wrong(where, "verify is missing: an answer is no proof. Look through another channel: %s" % ", ".join(VERIFIES))
    if "on_failure" in action:
        _choice(action["on_failure"], ("go_on", "end"), where + ": on_failure")
    if "durable" in action and not isinstance(action["durable"], bool):
        _wrong(where + ": durable", "must be true or false: does it survive a restart of the component?")
    _guards(action, where, sources)
    for number, step in enumerate(action["do"], 1):
        _step(step, "%s: step %d" % (where, number), sources)
    for number, one in enumerate(action["verify"], 1):
        _verify(one, "%s: verify %d" % (where, number), sources)


def _guards(holder: Mapping[str, Any], where: str, sources: set[str]) -> None:
    for word in ("requires_state", "unless_state", "satisfied_if_state", "only_in_state"):
        if word in holder:
            _states(holder[word], "%s: %s" % (where, word))
    if "foreach" in holder:
        each = _mapping(holder["foreach"], where + ": foreach")
        _known(each, ("from", "key"), where + ": foreach", "key")
        if not isinstance(each.get("key"), str) or "from" not in each:
            _wrong(where + ": foreach", "needs from (a reading action or a name of reads) and key (a field of its rows)")
        _known([each["from"]], sorted(sources), where + ": foreach: from", "source")
    if "timeout_s" in holder:
        _seconds(holder["timeout_s"], where + ": timeout_s")
    for word in ("ok", "already", "unknown"):
        if word in holder:
            _rule(holder[word], "%s: %s" % (where, word), sources, word)


def _rule(rule: Any, where: str, sources: set[str], word: str) -> None:
    rule = _mapping(rule, where)
    _known(rule, RULE + (("read",) if word == "already" else ()), where, "key")
    for key in ("status", "rc"):
        codes = rule.get(key, [])
        if not isinstance(codes, list) or not all((isinstance(one, int) and not isinstance(one, bool)) or one in ("timeout", "broken") for one in codes):
            _wrong("%s: %s" % (where, key), "must be a list of numbers, or timeout, broken")
    if "body_regex" in rule:
        _regex(rule["body_regex"], where + ": body_regex")
    if "read" in rule:
        _known([rule["read"]], sorted(sources), where + ": read", "source")


def _kind(step: Mapping[str, Any], kinds: Iterable[str], common: Iterable[str], where: str) -> str:
    """The step's type; exactly one must be there."""
    kinds = tuple(kinds)
    found = [key for key in step if key in kinds]
    unknown = [key for key in step if key not in kinds and key not in common]
    if unknown and not found:
        _known(unknown[:1], kinds, where, "step")
    _known(unknown, (*kinds, *common), where, "key")
    if len(found) != 1:
        _wrong(where, "must have exactly one of: %s" % ", ".join(kinds))
    return found[0]


def _step(step: Any, where: str, sources: set[str]) -> None:
    step = _mapping(step, where)
    kind = _kind(step, (*SPECS, "wait", "manual"), COMMON, where)
    _guards(step, where, sources)
    if "when" in step and not (isinstance(step["when"], list) and all(isinstance(one, str) for one in step["when"])):
        _wrong(where + ": when", "must be a list of values' names")
    if kind == "manual":
        _text(step["manual"], where + ": manual", "what a person is to do")
    elif kind == "wait":
        _wait(step["wait"], where + ": wait", sources)
    else:
        _spec(kind, step[kind], "%s: %s" % (where, kind))


def _text(value: Any, where: str, what: str) -> None:
    if not isinstance(value, str) or not value:
        _wrong(where, "must be text: %s" % what)


def _spec(kind: str, spec: Any, where: str) -> None:
    """One step's own keys."""
    spec = _mapping(spec, where)
    allowed, needed = SPECS[kind]
    _known(spec, allowed, where, "key")
    for key in needed:
        if key not in spec:
            _wrong(where, "%s is missing" % key)
    if "in" in spec:
        _choice(spec["in"], ("host", "container"), where + ": in")
    if kind == "http":
        _choice(spec.get("method", "GET"), METHODS, where + ": method")
        if not isinstance(spec["path"], str) or not spec["path"].startswith("/"):
            _wrong(where + ": path", "must begin with /; the address is endpoint.base_url of the inventory")
    elif kind == "command" and not (isinstance(spec["argv"], list) and spec["argv"]):
        _wrong(where + ": argv", "must be a list: the program and its arguments, without a shell")
    elif kind == "file":
        if len({"touch", "write", "json", "remove", "read"} & set(spec)) != 1:
            _wrong(where, "must have exactly one of: touch, write, json, remove, read")
    elif kind == "redis":
        op = spec.get("op", "get")
        _choice(op, ("get", "set", "del", "xadd"), where + ": op")
        for key in {"set": ("key", "value"), "xadd": ("stream", "fields")}.get(op, ("key",)):
            if key not in spec:
                _wrong(where, "%s is missing for op %s" % (key, op))
    elif kind == "signal" and not re.match(r"[A-Z0-9+]{1,12}\Z", str(spec["name"])):
        _wrong(where + ": name", "must be a signal's name such as TERM or USR1")
    elif kind == "container":
        _choice(spec["op"], ("pause", "stop", "kill", "network_disconnect"), where + ": op")
        if (spec["op"] == "network_disconnect") is not ("network" in spec):
            _wrong(where, "network belongs to op network_disconnect, and only there")


def _read(step: Any, where: str, sources: Iterable[str], more: tuple[str, ...] = ("data",)) -> str:
    """A step that changes nothing; returns its type."""
    step = _mapping(step, where)
    kind = _kind(step, ("http", "command", "file", "redis"), ("timeout_s", "ok", "already", "unknown", "name", *more), where)
    _guards(step, where, set(sources))
    _spec(kind, step[kind], "%s: %s" % (where, kind))
    spec = step[kind]
    if kind == "http" and spec.get("method", "GET") not in ("GET", "HEAD"):
        _wrong(where + ": http: method", "a reading step must be a GET")
    if kind == "file" and "read" not in spec:
        _wrong(where + ": file", "a reading step must have read: true")
    if kind == "redis" and spec.get("op", "get") != "get":
        _wrong(where + ": redis: op", "a reading step must be a get")
    if "data" in more and "data" in step:
        _selector(step["data"], where + ": data")
    return kind


def _wait(wait: Any, where: str, sources: Iterable[str]) -> None:
    _read(wait, where, sources, more=("equals",))
    if "equals" not in wait:
        _wrong(where, "equals is missing: what to wait for")


def _selector(how: Any, where: str) -> None:
    if isinstance(how, str):
        return
    how = _mapping(how, where)
    _known(how, SELECTOR, where, "key")
    if "each" in how and set(how) & {"path", "value", "map", "as"}:
        _wrong(where, "each goes with where, fields and default only")
    if ("where" in how or "fields" in how) and "each" not in how:
        _wrong(where, "where and fields need each")
    if "as" in how:
        _choice(how["as"], values.KINDS, where + ": as")
    for path, condition in _mapping(how.get("where", {}), where + ": where").items():
        if isinstance(condition, Mapping):
            _known(condition, values.WHERE_WORDS, "%s: where: %s" % (where, path), "word")
    fields = how.get("fields")
    if isinstance(fields, Mapping) and not set(fields) & {"path", "each", "value"}:
        for name, one in fields.items():
            _selector(one, "%s: fields: %s" % (where, name))
    elif fields is not None:
        _selector(fields, where + ": fields")


def _fact(fact: dict[str, Any], where: str, sources: set[str]) -> None:
    _read(fact, where, sources, more=("equals", "age", "count", "only_in_state"))
    if "age" in fact:
        age = _mapping(fact["age"], where + ": age")
        _known(age, ("path", "unit", "max_s"), where + ": age", "key")
        if "path" not in age or not isinstance(age.get("max_s"), (int, float)):
            _wrong(where + ": age", "needs path and max_s")
    if "count" in fact:
        count = _mapping(fact["count"], where + ": count")
        _known(count, (*LOG, "within_s", "max"), where + ": count", "key")
        _regex(count.get("regex"), where + ": count: regex")


def _verify(one: Any, where: str, sources: set[str]) -> None:
    one = _mapping(one, where)
    kind = _kind(one, VERIFIES, ("timeout_s", "satisfied_if_state", "in_stop"), where)
    _guards(one, where, sources)
    if kind == "wait":
        _wait(one["wait"], where + ": wait", sources)
    elif kind == "log":
        log = _mapping(one["log"], where + ": log")
        _read({key: value for key, value in log.items() if key not in LOG}, where + ": log", sources, more=())
        if "each" not in log:
            _wrong(where + ": log", "each is missing: where the entries are in the answer")
        _regex(log.get("regex"), where + ": log: regex")
        if "latest" in log:
            _regex(log["latest"], where + ": log: latest")
    elif kind == "container_log":
        log = _mapping(one["container_log"], where + ": container_log")
        _known(log, ("regex",), where + ": container_log", "key")
        _regex(log.get("regex"), where + ": container_log: regex")
    elif kind == "venue":
        _known(_mapping(one["venue"], where + ": venue"), ("open_orders", "include_conditional", "positions", "no_new_orders_for_s"), where + ": venue", "key")
    else:
        _text(one["manual"], where + ": manual", "what a person is to look at")


# -- what a host needs for one action ---------------------------------------------------------------------------------------


def with_adapter(components: Iterable[Any]) -> list[Mapping[str, Any]]:
    """The entries of andon_components that have an adapter."""
    return [one for one in components if isinstance(one, Mapping) and one.get("adapter")]


def plan(entry: Mapping[str, Any], act: str, given: Mapping[str, Any] | None = None, *, folder: Path | None = None, environ: Mapping[str, str] = os.environ):
    """What the host needs to run one action on one component; everything is checked here, before anything is sent.

    Args:
        entry: an entry of andon_components with C(adapter). act: an action. given: values of this run (incident_id, size, ...).
        folder: where the adapters' files are. environ: where *_env secrets are looked up.

    Returns:
        (plan, secrets): plan has no secret in it, only {"secret": key}; secrets is {key: value}.

    Raises:
        AdapterError: something is wrong with the entry, the file, a value or a secret.
    """
    name = entry.get("name")
    if not valid_name(name):
        _wrong("andon_components", "'%s' cannot be a container's name" % clean(name, 60))
    where = "component %s" % name
    adapter = _mapping(entry["adapter"], where + ": adapter")
    _known(adapter, KEYS, where + ": adapter", "key")
    _known([act], ACTIONS, "act", "action")
    try:
        definition = load(str(adapter.get("kind", "")), adapter.get("override"), folder)
    except AdapterError as error:
        raise AdapterError("%s: %s" % (where, error)) from None
    secrets: dict[str, str] = {}
    endpoint = _endpoint(_mapping(adapter.get("endpoint") or {}, where + ": endpoint"), where + ": endpoint", name, secrets, environ)
    venue = _mapping(adapter.get("venue") or {}, where + ": venue")
    _known(venue, ("name", "symbols", "prefix"), where + ": venue", "key")
    if venue and not valid_id(venue.get("name")):
        _wrong(where + ": venue: name", "must be the name of an entry of andon_venues")
    size = (given or {}).get("size")
    if size not in (None, ""):
        try:
            fits = 0 < float(size) <= 1
        except (TypeError, ValueError):
            fits = False
        if not fits:
            _wrong(where, "size must be more than 0 and at most 1, not %s. Nothing was sent" % clean(size, 40))
        given = {**(given or {}), "size": float(size)}
    extra = {key: value for key, value in _mapping(adapter.get("vars") or {}, where + ": vars").items() if value is not None}
    numbers = {**_mapping(definition.get("vars", {}), where), **extra, **{k: v for k, v in (given or {}).items() if v not in (None, "")}}
    known = _values(name, entry, numbers, definition, where)
    parts = _parts(definition, act)
    _names_are_known(parts, known, definition.get("products") or {}, where, act)
    if act == "resume" and "size" in known and not any("size" in step.get("when", []) for step in parts.get("resume", {}).get("do", [])):
        _wrong(where, "the adapter %s has no step for a smaller size, so it would trade at its full size. Nothing was sent" % adapter["kind"])
    _endpoint_fits(parts, endpoint, where)
    text = str(venue.get("name") or entry.get("venue") or "")
    return (
        {
            "name": name,
            "kind": adapter["kind"],
            "strategy": str(entry.get("strategy") or ""),
            "venue": text,
            "symbols": [str(one) for one in venue.get("symbols") or []],
            "prefix": str(venue.get("prefix") or ""),
            "endpoint": endpoint,
            "values": known,
            "definition": parts,
        },
        secrets,
    )


def _secret(holder: Mapping[str, Any], key: str, where: str, name: str, secrets: dict[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """A secret given as KEY or by the name of an environment variable in KEY_env; kept apart from the plan."""
    value, source = holder.get(key), holder.get(key + "_env")
    if value is None and source is None:
        _wrong(where, "%s or %s_env is missing" % (key, key))
    if value is None:
        value = environ.get(str(source))
        if not value:
            _wrong(
                where, "the environment variable %s is not set on the bastion. Nothing was sent. Next: export it, then type the same again" % clean(source, 60)
            )
    if not isinstance(value, str) or not value or "{{" in value:
        _wrong(where, "%s must be text" % key)
    ref = "%s/%d" % (name, len(secrets))
    secrets[ref] = str(value)
    return {"secret": ref}


def _endpoint(given: dict[str, Any], where: str, name: str, secrets: dict[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    _known(given, ("base_url", "auth", "redis"), where, "key")
    result: dict[str, Any] = {}
    if "base_url" in given:
        url = str(given["base_url"])
        if not re.match(r"https?://[A-Za-z0-9.\-_\[\]:]+(/[^\s?#]*)?\Z", url):
            _wrong(where + ": base_url", "must be http(s)://host:port/path, without a user in it")
        result["base_url"] = url
    auth = _mapping(given.get("auth") or {}, where + ": auth")
    _known(auth, ("basic", "bearer"), where + ": auth", "key")
    if len(auth) > 1:
        _wrong(where + ": auth", "must be basic or bearer, not both")
    if "basic" in auth:
        basic = _mapping(auth["basic"], where + ": auth: basic")
        _known(basic, ("user", "password", "password_env"), where + ": auth: basic", "key")
        result["auth"] = {
            "basic": {"user": str(basic.get("user") or ""), "password": _secret(basic, "password", where + ": auth: basic", name, secrets, environ)}
        }
    if "bearer" in auth:
        bearer = _mapping(auth["bearer"], where + ": auth: bearer")
        _known(bearer, ("token", "token_env"), where + ": auth: bearer", "key")
        result["auth"] = {"bearer": {"token": _secret(bearer, "token", where + ": auth: bearer", name, secrets, environ)}}
    if "redis" in given:
        redis = _mapping(given["redis"], where + ": redis")
        _known(redis, ("host", "port", "db", "user", "password", "password_env"), where + ": redis", "key")
        result["redis"] = {key: redis[key] for key in ("host", "port", "db", "user") if key in redis}
        if "password" in redis or "password_env" in redis:
            result["redis"]["password"] = _secret(redis, "password", where + ": redis", name, secrets, environ)
    return result


def _values(name: str, entry: Mapping[str, Any], given: Mapping[str, Any], definition: Mapping[str, Any], where: str) -> dict[str, Any]:
    """All values that templates may name. A product whose factors are not all there is not there either."""
    for key, value in given.items():
        if not isinstance(value, (str, int, float, bool)):
            _wrong("%s: vars: %s" % (where, key), "must be text, a number, true or false")
    days = given.get("halt_days", 30)
    if isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 < days <= 3650:
        _wrong("%s: vars: halt_days" % where, "must be a number of days")
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    known = {
        "component": name,
        "strategy": str(entry.get("strategy") or ""),
        "incident_id": "no-incident",
        "halt_until": until.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        **given,
    }
    for product, factors in (definition.get("products") or {}).items():
        found = [known.get(factor) for factor in factors]
        if any(value is None for value in found):
            continue
        result = 1.0
        for factor, value in zip(factors, found, strict=True):
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = float("nan")
            if isinstance(value, bool) or not 0 < number < float("inf"):
                _wrong("%s: vars: %s" % (where, factor), "must be a number above 0, not %s" % clean(value, 40))
            result *= number
        known[product] = round(result, 8)
    return known


def _parts(definition: Mapping[str, Any], act: str) -> dict[str, Any]:
    """The part of a definition that one action needs: itself, the state, and what its loops read."""
    parts = {key: definition[key] for key in (act, "state") if key in definition}
    parts["reads"] = dict(definition.get("reads") or {})
    for key in READS:
        if key in definition and key != "liveness":
            parts.setdefault(key, definition[key])
    wanted = _sources(parts.get(act))
    parts["reads"] = {key: value for key, value in parts["reads"].items() if key in wanted}
    return {key: value for key, value in parts.items() if key in (act, "state", "reads") or key in wanted}


def _sources(value: Any) -> set[str]:
    """The names that C(foreach: {from}) and C(already: {read}) name anywhere in an action."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key == "foreach" and isinstance(one, Mapping):
                found.add(str(one.get("from")))
            elif key == "already" and isinstance(one, Mapping) and "read" in one:
                found.add(str(one["read"]))
            else:
                found |= _sources(one)
    elif isinstance(value, list):
        for one in value:
            found |= _sources(one)
    return found


def _names_are_known(parts: Mapping[str, Any], known: Mapping[str, Any], products: Mapping[str, Any], where: str, act: str) -> None:
    """Every template's name must have a value, or its step must say C(when) it is left out."""
    action = parts.get(act)
    if action is None:
        return
    for holder in [parts] if act in READS else [{k: v for k, v in parts.items() if k != act}, action.get("verify"), *action["do"]]:
        optional = set(holder.get("when", [])) if isinstance(holder, Mapping) and act not in READS else set()
        if any(name not in known for name in optional):
            continue  # the step is left out
        missing = sorted(values.names(holder) - set(known) - {"item"})
        if missing:
            # A product that is missing lacks a factor: that is what can be set.
            factor = next((one for one in products.get(missing[0], []) if one not in known), missing[0])
            _wrong(where, "%s needs the value '%s', which nothing gives. Nothing was sent. Next: set adapter: vars: %s" % (act, factor, factor))


def _endpoint_fits(parts: Mapping[str, Any], endpoint: Mapping[str, Any], where: str) -> None:
    """HTTP steps need base_url."""

    def uses(value: Any) -> bool:
        if isinstance(value, Mapping):
            return "http" in value or any(uses(one) for one in value.values())
        return isinstance(value, list) and any(uses(one) for one in value)

    if uses(parts) and "base_url" not in endpoint:
        _wrong(where + ": endpoint", "base_url is missing: http://host:port/path of its API")
