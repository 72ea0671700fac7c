# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every run of a verb while an incident is open lands in that incident's journal, from bare ansible-playbook, too."""

from __future__ import annotations

DOCUMENTATION = """
name: andon_journal
type: notification
short_description: Records runs of Andon's playbooks in the open incident's journal
description:
  - While an incident is open, a run of a playbook in C(playbooks/), or of its shim in the root, becomes two lines of the
    journal, C(verb.began) and C(verb.ended), with who, the command, the hosts, the result per host and the duration.
  - Of extra vars the names are recorded, and the values of a short list of harmless ones. Nothing of a task's result is
    recorded but the verdict and the C(andon_report).
  - A stop (C(emergency_stop), C(kill_strategy)) is recorded when it is over, never before; without an open incident it
    opens one then. Runs with C(--check) never open one.
  - Whatever goes wrong here is a warning at the end. It never fails a run.
requirements:
  - enabled in C(callbacks_enabled) of C(ansible.cfg)
"""

import atexit
import contextlib
import os
import time
import uuid
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]
# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase

# Nothing stands between the key press and the stop, not even the journal: these are recorded when they are over.
STOPS = {"emergency_stop": "Emergency stop", "kill_strategy": "Strategy killed"}
# Extra vars whose values are recorded. Everything else may be a secret: its name is recorded and nothing more.
SAFE = (
    *("service", "strategy", "andon_strategy", "reason", "andon_reason", "name", "memory", "to", "confirm"),
    *("andon_stop_mode", "andon_pressed_at", "andon_until_proven", "incident", "since", "until"),
    *("andon_venue", "andon_halt_first", "andon_reconciliation", "andon_close_cap", "andon_close_unclaimed"),
    *("andon_restart_adapter", "andon_switch_act", "andon_switch_timeout_s"),
    *("andon_resume_accept", "andon_resume_size", "andon_resume_plan", "andon_resume_request"),
    *("collect_logs_name", "collect_logs_since", "collect_logs_until"),
)
# Verdicts of a stop that was never sent: a typo must not open an incident. (A host that did not answer does.)
REFUSED = ("REFUSED", "NOT HERE")
# What is kept of a report's data, and how much of it (bytes of JSON): a journal is read at 3 a.m.
KEPT = (
    *("orders", "positions", "release", "evidence", "bundle", "error_rate", "memory", "strategy", "switch"),
    *("gates", "approvals", "size", "digest", "sizes"),
)
KEPT_BYTES = 65536
START_WAIT = 0.5  # seconds for another writer before a verb starts
END_WAIT = 2.0  # seconds for another writer after it has ended
# The worst thing that happened to a host is what is recorded of it.
RANK = ("ok", "changed", "failed", "unknown", "unreachable")


class Recording:
    """One run of one playbook: what is known of it so far."""

    def __init__(self, verb):
        self.verb = verb
        self.id = uuid.uuid4().hex[:12]
        self.began = time.time()
        self.clock = time.monotonic()
        self.hosts = {}
        self.report = None
        self.proof = None
        self.variables = {}
        self.incident = None
        self.noted = False
        self.tried = False

    def saw(self, host, how):
        """Remembers the worst of what happened to a host."""
        if RANK.index(how) >= RANK.index(self.hosts.get(host, "ok")):
            self.hosts[host] = how


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "andon_journal"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.run = None
        self.warnings = []
        self.pid = os.getpid()
        atexit.register(self._interrupted)

    # What Ansible tells

    def v2_playbook_on_start(self, playbook):
        self.run = None
        self.warnings = []
        self._guarded(self._start, playbook)

    def v2_playbook_on_play_start(self, play):
        self._guarded(self._play, play)

    def v2_runner_on_ok(self, result, **kwargs):
        self._guarded(self._result, result, "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False, **kwargs):
        self._guarded(self._result, result, "ok" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result, **kwargs):
        self._guarded(self._result, result, "unreachable")

    def v2_playbook_on_stats(self, stats):
        run, self.run = self.run, None
        if run:
            self._guarded(self._end, run, stats)
        self._warn()

    def _interrupted(self):
        """The interpreter ends and the run has not: Ctrl-C, or an error in Ansible."""
        run, self.run = self.run, None
        if run and os.getpid() == self.pid:
            self._guarded(self._end, run, None)
            self._warn()

    # What it means

    def _start(self, playbook):
        path = Path(playbook._file_name).resolve()
        if path.parent in (ROOT, ROOT / "playbooks") and not path.name.startswith("_"):
            self.run = Recording(path.stem)

    def _play(self, play):
        run = self.run
        if run is None:
            return
        manager = play.get_variable_manager()
        run.variables = dict(getattr(manager, "extra_vars", None) or {})
        # The CLI says when the key was pressed; the run itself began a moment later.
        pressed = run.variables.get("andon_pressed_at")
        if isinstance(pressed, (int, float)) and 0 <= run.began - pressed < 60:
            run.began = float(pressed)
        if run.verb in STOPS or run.tried:
            return
        run.tried = True
        # An error is not said yet: the end tries again, and says it if that fails, too.
        with contextlib.suppress(Exception):
            self._note_start(run, START_WAIT)

    def _result(self, result, how):
        run = self.run
        if run is None:
            return
        host = result._host.get_name()
        data = result._result
        if how == "ok" and data.get("changed"):
            how = "changed"
        for one in [data, *(item for item in data.get("results") or [] if isinstance(item, dict))]:
            if isinstance(one.get("andon_report"), dict):
                run.report = one["andon_report"]
                run.proof = one.get("proof") or run.proof
                if self._judgements(run):
                    return  # the verdict over all hosts: it says nothing of the one host that it ran for
        # A verb that judges by itself never fails a task for one host: its verdict counts, not Ansible's.
        if isinstance(data.get("verdict"), str) and data.get("proven") is False:
            how = "unknown" if data["verdict"] == "UNKNOWN" else "failed"
        run.saw(host, how)

    def _end(self, run, stats):
        """Writes what is still to be written of a run; stats None: it was interrupted."""
        from ansible.module_utils.andon import incidents, journal

        seconds = time.monotonic() - run.clock
        if stats is not None:
            self._settled(run, stats)
        had = run.incident or incidents.current()
        run.incident = had or self._opened(run)
        if run.incident is None:
            return
        before = incidents.load(had) if had else None
        folder = incidents.folder(run.incident)
        if not run.noted:
            self._note_start(run, END_WAIT)
        ok = self._good(run, stats)
        data = {
            **self._fields(run),
            "ended": _utc(time.time()),
            "seconds": round(seconds, 2),
            "ok": ok,
            "interrupted": stats is None,
            "hosts": dict(sorted(run.hosts.items())),
        }
        if run.report is not None:
            data["report"] = condensed(run.report, run.proof)
        if run.verb in STOPS and not data["check"] and run.hosts and incidents.load(run.incident).resolved is not None:
            # The latch names this incident: what was resolved is going on.
            incidents.reopen(run.incident, "%s was run" % run.verb)
        journal.append(folder, "verb.ended", run.verb, data, wait=END_WAIT)
        self._guarded(self._tell, run.incident, before)

    def _tell(self, incident, before):
        """People are told by another process, after the run and its record."""
        from ansible.module_utils.andon import outbox

        for line in outbox.announce(incident, before):
            self._display.display(line, stderr=True)

    def _settled(self, run, stats):
        """The last word on each host: a failure that a rescue made good is none; a host known by the verdict alone is one."""
        judged = self._judgements(run)
        for host, how in run.hosts.items():
            counts = stats.summarize(host)
            if how == "failed" and host not in judged and not counts["failures"]:
                run.hosts[host] = "changed" if counts["changed"] else "ok"
        for host, one in judged.items():
            if host not in run.hosts:
                good = "ok" if run.report.get("ok") is True else "failed"
                run.hosts[str(host)] = "unknown" if isinstance(one, dict) and one.get("verdict") == "UNKNOWN" else good

    @staticmethod
    def _judgements(run):
        """The verb's own verdict per host, {} without one."""
        data = (run.report or {}).get("data")
        hosts = data.get("hosts") if isinstance(data, dict) else None
        return hosts if isinstance(hosts, dict) else {}

    @staticmethod
    def _good(run, stats):
        if stats is None or not run.hosts:
            return False
        if run.report is not None:
            return run.report.get("ok") is True
        return all(how in ("ok", "changed") for how in run.hosts.values())

    def _opened(self, run):
        """A stop that ran on hosts opens an incident when none is open; returns its id or None."""
        from ansible.module_utils.andon import incidents

        if run.verb not in STOPS or context.CLIARGS.get("check") or not run.hosts:
            return None
        judged = self._judgements(run)
        if judged and all(isinstance(one, dict) and one.get("verdict") in REFUSED for one in judged.values()):
            return None
        data = (run.report or {}).get("data")
        # The latch on the hosts names this incident already: the same id, if it is free.
        wanted = data.get("incident") if isinstance(data, dict) else None
        name = incidents.open_incident(STOPS[run.verb], 1, detected=run.began, verb=run.verb, wanted=wanted, join=True, wait=END_WAIT)
        if run.proof:
            self._guarded(self._keep_proof, Path(run.proof), incidents.folder(name))
        return name

    @staticmethod
    def _keep_proof(proof, folder):
        """A copy of the proof beside the journal: it was written before there was an incident."""
        from ansible.module_utils.andon import state

        state.write_atomic(folder / "proof.json", proof.read_bytes())

    def _note_start(self, run, wait):
        from ansible.module_utils.andon import incidents, journal

        run.incident = run.incident or incidents.current()
        if run.incident:
            journal.append(incidents.folder(run.incident), "verb.began", run.verb, self._fields(run), wait=wait)
            run.noted = True

    def _fields(self, run):
        arguments = context.CLIARGS
        variables = {str(name): _shown(name, value) for name, value in sorted(run.variables.items())}
        return {
            "run": run.id,
            "began": _utc(run.began),
            "check": bool(arguments.get("check")),
            "limit": arguments.get("subset") or "",
            "command": command(run.verb, arguments, variables),
            "variables": {name: value for name, value in variables.items() if name in SAFE},
        }

    # Errors

    def _guarded(self, step, *args):
        """Whatever goes wrong in recording is kept for the end: the run goes on."""
        try:
            step(*args)
        except Exception as error:
            self.warnings.append(error)

    def _warn(self):
        from ansible.module_utils.andon.text import clean

        for error in self.warnings:
            if getattr(error, "then", None):
                words, means, then = str(error), error.means, error.then
            else:
                words, means, then = "%s: %s" % (type(error).__name__, error), "This run is not, or not wholly, in the journal.", "andon verify"
            for line in (
                "WARNING: NOT RECORDED: " + clean(words, 400),
                "  It means: " + clean(means, 400),
                "  Next: " + clean(then, 200),
            ):
                self._display.display(line, color=C.COLOR_ERROR, stderr=True)
        self.warnings = []


def _utc(at):
    from ansible.module_utils.andon import state

    return state.utc(at)


def _shown(name, value):
    """An extra var as it is recorded: the value of a harmless one, else three asterisks."""
    from ansible.module_utils.andon.text import clean

    if name in SAFE and isinstance(value, (str, int, float, bool)):
        return clean(value, 200) if isinstance(value, str) else value
    if name in SAFE and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [clean(one, 200) for one in value[:20]]
    return "***"


def command(verb, arguments, variables):
    """The command as argv, made anew from what Ansible understood: only options that are known to hold no secret."""
    import json

    words = ["ansible-playbook", verb + ".yml"]
    for path in arguments.get("inventory") or ():
        words += ["-i", str(path)]
    if arguments.get("subset"):
        words += ["--limit", str(arguments["subset"])]
    words += ["--" + flag for flag in ("check", "diff") if arguments.get(flag)]
    for option, name in (("tags", "tags"), ("skip-tags", "skip_tags")):
        given = [str(tag) for tag in arguments.get(name) or ()]
        if given and given != ["all"]:
            words += ["--" + option, ",".join(given)]
    if arguments.get("start_at_task"):
        words += ["--start-at-task", str(arguments["start_at_task"])]
    if variables:
        words += ["-e", json.dumps(variables, sort_keys=True)]
    return words


def condensed(report, proof=None):
    """What is kept of a report: its words, and per host the verdict and the containers' names."""
    import json

    data = report.get("data") if isinstance(report.get("data"), dict) else {}
    hosts = data.get("hosts") if isinstance(data.get("hosts"), dict) else {}
    kept = {
        "hosts": {
            str(host): {
                "verdict": one.get("verdict"),
                "why": one.get("why"),
                "containers": [c.get("name") for c in one.get("containers") or [] if isinstance(c, dict)],
            }
            for host, one in hosts.items()
            if isinstance(one, dict)
        }
    }
    for name in KEPT:
        if data.get(name) is not None:
            kept[name] = data[name]
    if proof:
        kept["proof"] = str(proof)
    result = {name: report.get(name) for name in ("headline", "ok")}
    result["summary"] = [str(line) for line in report.get("summary") or []][:30]
    if len(json.dumps(kept, default=str)) > KEPT_BYTES:
        kept = {"left_out": "the report's data is larger than %d bytes" % KEPT_BYTES, "proof": kept.get("proof")}
    result["data"] = kept
    return result
