"""The stop's two ends on the bastion: the script that is sent to a host, and what its answer proves.

Pure functions, no Ansible. `roles/emergency_stop/files/stop.sh` is the other side of the protocol: lines that begin with
"A1 ", a kind, and words or one JSON object. Everything in them comes from the host and is data.
"""

from __future__ import annotations

import json
import re
import shlex

from .resume import policy_text
from .state import parse_utc
from .text import clean, duration, plural

MODES = ("graceful", "now")

# Verdicts of one host. Only HALTED and NOT HERE (a strategy that this host does not have) count as proven.
HALTED = "HALTED"
NOT_HERE = "NOT HERE"
UNKNOWN = "UNKNOWN"
RUNNING = "NOT HALTED"
POLICY = "STOPPED, POLICY PENDING"
NOTHING = "NOTHING MATCHES"
UNLATCHED = "STOPPED, NOT LATCHED"
WOULD = "WOULD HALT"
REFUSED = "REFUSED"

_ID = re.compile(r"[0-9a-f]{12,64}\Z")


def name_filter(name):
    """The engine filter that matches exactly this container name (the filter is a regular expression)."""
    return "name=^/?%s$" % re.escape(name).replace("\\-", "-").replace("\\_", "_")


def _fixed(engine_filter):
    """A filter as a fixed string in the engine's own config.v2.json; None for one that has no such form."""
    kind, _, rest = engine_filter.partition("=")
    if kind != "label":
        return None
    key, has_value, value = rest.partition("=")
    return json.dumps(key, ensure_ascii=False) + ":" + (json.dumps(value, ensure_ascii=False) if has_value else "")


def header(incident, operator, reason, at):
    """The latch's first fields as JSON text without the braces; one line, whatever a person wrote."""
    fields = {
        "schema": 1,
        "incident": clean(incident, 80),
        "operator": clean(operator, 80),
        "reason": clean(reason, 400),
        "at": at,
    }
    return json.dumps(fields, sort_keys=True)[1:-1]


def script(
    text, *, cli, mode, grace, state, selectors, components, protected, strategy, latch_header, check, settle, root="/var/lib/docker", adapters=(), budget=2
):
    """The text to give to `sh -c` on a host.

    Args:
        text: the content of stop.sh.
        cli: the container CLI's name or path.
        mode: "graceful" or "now".
        grace: seconds between SIGTERM and SIGKILL (graceful).
        state: Andon's folder on the host.
        selectors: engine filters, a union.
        components: dicts {name, component, strategy, venue, protect} from the inventory; they win over labels.
        protected: names that are never touched.
        strategy: a strategy's id, or "" for everything.
        latch_header: what `header` made.
        check: look only.
        settle: seconds before the second look.
        root: where the engine keeps its files; read only when it is silent.
        adapters: names of containers that are halted through their own software first, by a program on the script's standard input.
        budget: whole seconds for that.

    Raises:
        ValueError: a value that cannot be right (an unknown mode, a filter with a line break).
    """
    if mode not in MODES:
        raise ValueError("the mode must be graceful or now, not %s" % clean(mode, 40))
    add, drop = [], list(protected)
    for one in components:
        name = one.get("name", "")
        if one.get("protect"):
            drop.append(name)
        elif strategy and one.get("strategy") != strategy:
            if one.get("strategy"):
                drop.append(name)
        elif one.get("component") or not strategy:
            add.append(name)
    for value in list(selectors) + add + drop + list(adapters):
        if not isinstance(value, str) or not value or any(c in value for c in "\n\r\0"):
            raise ValueError("not a usable selector or container name: %s" % clean(repr(value), 80))
    if not selectors and not add:
        raise ValueError("andon_selectors is empty: the cord would cover nothing")
    values = {
        "A_CLI": cli,
        "A_MODE": mode,
        "A_GRACE": str(int(grace)),
        "A_STATE": state,
        "A_SCOPE": "strategy-" + strategy if strategy else "all",
        "A_CHECK": "1" if check else "0",
        "A_SELECTORS": "\n".join(selectors),
        "A_STRATEGY": "label=andon.strategy=" + strategy if strategy else "",
        "A_ADD": "\n".join(name_filter(n) for n in add),
        "A_DROP": "\n".join(name_filter(n) for n in drop),
        "A_HEADER": latch_header,
        "A_GREP": "\n".join(f for f in (_fixed(s) for s in selectors) if f),
        "A_GREP_AND": _fixed("label=andon.strategy=" + strategy) if strategy else "",
        "A_GREP_ADD": "\n".join('"Name":"/%s"' % n for n in add),
        "A_GREP_DROP": "\n".join(['"andon.protect":"true"'] + ['"Name":"/%s"' % n for n in drop]),
        "A_ROOT": root,
        "A_SETTLE": "%g" % float(settle),
        "A_ADAPTERS": "\n".join(adapters),
        "A_BUDGET": str(int(budget)),
    }
    return "".join("%s=%s\n" % (key, shlex.quote(value)) for key, value in sorted(values.items())) + text


class HostStop:
    """One host's answer, parsed.

    Attributes:
        before, after, other, other_after, respawned: {id: dict of the script's FORM fields}.
        steps: list of dicts {name, rc, from, to (host uptime in s), words}.
        latch: "new" | "merged" | "volatile" | "failed" | None; latch_path.
        engine: None while it answered, else "missing" | "down" | "hung" | "silent".
        nothing: True if no container matched. pids: processes left, or None if never looked.
        left: ids that needed a kill after the grace. respawners, notes: lines of words.
        adapters: the adapters' rows as they came (adapter_stop.py reads them). adapters_skipped: why none was asked, or "".
        began, down, ended: (host clock Unix s or None, host uptime s) or None. complete: the last line came.
    """

    def __init__(self):
        self.before, self.after, self.other, self.other_after, self.respawned = {}, {}, {}, {}, {}
        self.steps, self.respawners, self.notes, self.left = [], [], [], []
        self.latch = self.latch_path = self.engine = self.pids = None
        self.adapters, self.adapters_skipped = [], ""
        self.nothing = self.complete = False
        self.uid = None
        self.began = self.down = self.ended = None


def _moment(words):
    try:
        clock = float(words[0])
    except (IndexError, ValueError):
        clock = None  # a date without %N
    try:
        return (clock, float(words[1]))
    except (IndexError, ValueError):
        return None


def parse(output):
    """A host's answer as a HostStop. Lines of another form (banners, motd) are skipped; nothing raises."""
    host = HostStop()
    tables = {
        "before": host.before,
        "after": host.after,
        "other": host.other,
        "other_after": host.other_after,
        "respawned": host.respawned,
    }
    for line in str(output).splitlines():
        if not line.startswith("A1 "):
            continue
        kind, _, rest = line[3:].partition(" ")
        words = rest.split()
        if kind in tables:
            try:
                one = json.loads(rest)
                if not isinstance(one, dict) or not _ID.match(str(one.get("id"))):
                    raise ValueError
            except ValueError:
                host.notes.append("a line about a container could not be read: %s" % clean(rest, 80))
                continue
            one["name"] = str(one.get("name", "")).lstrip("/")
            tables[kind][one["id"]] = one
        elif kind == "step" and len(words) >= 4:
            try:
                host.steps.append(
                    {
                        "name": clean(words[0], 20),
                        "rc": int(words[1]),
                        "from": float(words[2]),
                        "to": float(words[3]),
                        "words": clean(" ".join(words[4:]), 300),
                    }
                )
            except ValueError:
                host.notes.append("a step could not be read: %s" % clean(rest, 80))
        elif kind == "latch" and words:
            if host.latch in (None, "failed") or words[0] != "merged":
                host.latch = words[0]
            host.latch_path = clean(" ".join(words[1:]), 200)
        elif kind == "engine":
            host.engine = clean(rest, 20)
        elif kind == "nothing":
            host.nothing = True
        elif kind == "pids":
            host.pids = [int(w) for w in words if w.isdigit()]
        elif kind == "left":
            host.left = words
        elif kind == "respawner":
            host.respawners.append(clean(rest, 160))
        elif kind == "adapter":
            host.adapters.append(rest)
        elif kind == "adapters":
            host.adapters_skipped = clean(rest, 100)
        elif kind == "note":
            host.notes.append(clean(rest, 200))
        elif kind == "begin":
            host.began = _moment(words)
            host.uid = int(words[2]) if len(words) > 2 and words[2].isdigit() else None
        elif kind == "down":
            host.down = _moment(words)
        elif kind == "end":
            host.ended = _moment(words)
            host.complete = True
    return host


def _policy(one):
    return policy_text(one.get("restart_policy"))


def _ended_at(finished_at, host, received_at):
    """When a process ended, on the bastion's clock: host clocks lie, so only a difference within the host's clock is used.

    received_at - (host clock at the end - FinishedAt); too late by at most the answer's way back, never too early.
    """
    moment = parse_utc(finished_at)
    if moment is None or not host.ended or host.ended[0] is None or received_at is None:
        return None
    return received_at - (host.ended[0] - moment)


def container_rows(host, mode, pressed_at=None, received_at=None):
    """One row per container of the stop: what ran, how it was stopped, the policy then and now.

    Args:
        host: a HostStop. mode: graceful or now.
        pressed_at, received_at: Unix seconds on the bastion's clock: the key press, and the answer's arrival.

    Returns:
        list of dicts: id, name, component, strategy, image, image_id, was (status before), how (graceful | killed | already
        stopped | gone | still running | unknown), exit_code, policy_before, policy_after, seconds (press to the last
        process's end, or None), running.
    """
    killed = set(host.left)
    rows = []
    for key, was in list(host.before.items()) + [(k, v) for k, v in host.respawned.items() if k not in host.before]:
        now = host.after.get(key)
        ran = bool(was.get("was_running"))
        row = {
            "id": key,
            "name": clean(was.get("name"), 80),
            "component": clean(was.get("component") or "", 30),
            "strategy": clean(was.get("strategy") or "", 64),
            "image": clean(was.get("image") or "", 160),
            "image_id": clean(was.get("image_id") or "", 80),
            "was": clean(was.get("status"), 20),
            "policy_before": _policy(was),
            "policy_after": _policy(now) if now else None,
            "exit_code": now.get("exit_code") if now else None,
            "seconds": None,
            "running": bool(now and now.get("was_running")),
        }
        if host.engine:
            row["how"] = "unknown" if host.pids is None else ("killed" if ran else "already stopped")
            row["running"] = None
        elif now is None:
            row["how"] = "gone"
            row["policy_after"] = "gone"
        elif row["running"]:
            row["how"] = "still running"
        elif not ran:
            row["how"] = "already stopped"
        else:
            code = row["exit_code"]
            # 137 after a graceful stop: PID 1 did not heed SIGTERM, the engine sent SIGKILL (S13).
            row["how"] = "killed" if mode == "now" or key in killed or code == 137 else "graceful"
            ended = _ended_at(now.get("finished_at"), host, received_at)
            if ended is not None and pressed_at is not None:
                row["seconds"] = round(max(ended - pressed_at, 0.0), 2)
        if key in host.respawned:
            row["respawned"] = True
        rows.append(row)
    return sorted(rows, key=lambda r: (r["component"], r["name"]))


def judge(host, *, strategy="", check=False):
    """The verdict of one host, and why.

    Args:
        host: a HostStop. strategy: the id, "" for everything. check: it was a look only.

    Returns:
        (verdict, one line of reasons or "").
    """
    if host.began is None:
        return UNKNOWN, "the host gave no answer that Andon understands"
    if not host.complete:
        return UNKNOWN, "the connection ended before the proof; the stop there goes on by itself"
    if host.nothing:
        if strategy and host.engine is None:
            return NOT_HERE, "no container of this strategy on this host"
        return NOTHING, "no container matches andon_selectors here, running or stopped: wrong labels or wrong host?"
    if check:
        return WOULD, plural(sum(bool(c.get("was_running")) for c in host.before.values()), "running container")
    if host.engine == "silent":
        return UNKNOWN, "the engine stopped answering before the proof"
    if host.pids:
        return RUNNING, "%s still alive: %s" % (plural(len(host.pids), "process"), " ".join(map(str, host.pids[:8])))
    if host.pids is None:
        return UNKNOWN, "the host never reported which processes are left"
    if host.engine:
        words = {"missing": "there is no container CLI", "down": "the engine is down", "hung": "the engine hangs"}
        # Without the engine nothing is proven about its future: it applies the old policies when it comes back.
        if all(_policy(one) == "no" for one in host.before.values()) and host.engine == "missing":
            return HALTED, ""
        return POLICY, "%s; processes killed, but it may restart them when it comes back. Press again then" % words.get(host.engine, host.engine)
    rows = list(host.after.values())
    alive = [one for one in rows if one.get("was_running") or one.get("status") in ("running", "paused", "restarting")]
    if alive:
        return RUNNING, "still running: %s" % ", ".join(clean(one["name"], 40) for one in alive[:5])
    policed = [one for one in rows if _policy(one) != "no"]
    if policed:
        return POLICY, "restart policy not 'no': %s" % ", ".join("%s (%s)" % (clean(o["name"], 40), _policy(o)) for o in policed[:5])
    if host.respawned:
        by = sorted({clean(one.get("swarm"), 60) for one in host.respawned.values() if one.get("swarm")})
        named = ", ".join(sorted({clean(one["name"], 40) for one in host.respawned.values()}))
        cause = "swarm service %s" % ", ".join(by) if by else "; ".join(host.respawners[:2]) or "something outside Andon"
        return RUNNING, "started again after the stop: %s; by %s. Stop that, then press again" % (named, cause)
    swarm = sorted({clean(one.get("swarm"), 60) for one in host.before.values() if one.get("swarm")})
    if swarm:
        return RUNNING, "Swarm will start these again: %s. Type on a manager: docker service scale NAME=0" % ", ".join(swarm)
    if host.latch in (None, "failed"):
        return UNLATCHED, "stopped, but the latch could not be written (disk full or read-only, not root?)"
    return HALTED, ""


def untouched(host):
    """In a strategy's stop: names of other containers that changed (restarted, stopped, vanished), [] if none did."""
    changed = []
    if host.nothing or not host.complete:
        return changed
    for key, was in host.other.items():
        now = host.other_after.get(key)
        same = now and all(now.get(k) == was.get(k) for k in ("was_running", "started_at", "restart_policy"))
        # One that was already restarting in a loop changes by itself.
        if not same and was.get("status") != "restarting":
            changed.append(clean(was.get("name"), 80))
    return sorted(changed)


def progress(verdict, why, rows, seconds):
    """One line for the screen: HALTED 3/3 in 1.2 s (2 graceful, 1 killed)."""
    if verdict in (HALTED, POLICY, UNLATCHED, RUNNING) and rows:
        down = sum(1 for r in rows if r["how"] in ("graceful", "killed", "already stopped", "gone"))
        counts = {}
        for row in rows:
            counts[row["how"]] = counts.get(row["how"], 0) + 1
        line = "%s %d/%d in %s (%s)" % (
            verdict,
            down,
            len(rows),
            duration(seconds),
            ", ".join("%d %s" % (n, how) for how, n in sorted(counts.items())),
        )
    else:
        line = verdict
    return line + (" - " + why if why else "")
