# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The verdict of a rollback: from what every host runs now, read again, and never from what the act said. Runs on the bastion."""

from __future__ import annotations

import textwrap
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import rollback, skew
from ansible.module_utils.andon.fleet_report import gather, limited, report, unknown_lines
from ansible.module_utils.andon.text import clean
from ansible.plugins.action import ActionBase


def planned(plan, left_out, check):
    """The report when nothing was done: refused, or check mode, or nothing to do."""
    target = plan["target"] or "?"
    lines = ["target    %s (%s)" % (clean(target, 40), clean(plan["why"], 200))] if plan["target"] else []
    lines += textwrap.wrap("manner    " + rollback.manner_words(plan), 80, subsequent_indent=" " * 10) if plan["target"] else []
    lines += ["--limit left out: %s" % clean(", ".join(left_out), 60)] if left_out else []
    lines += plan["notes"]
    detail = ["What changes on each host:"] + plan["lines"] if plan["lines"] else []
    detail += (["Where the hosts differ now:"] + skew.lines(plan["skew"])) if plan["skew"] else []
    data = {"plan": plan, "left_out": left_out}
    if plan.get("stop_failed"):
        # The stop's own report, right before this one, says which host.
        then = ["andon stop --until-proven", "then again: andon rollback --to %s" % target]
        return report("rollback", False, "ROLLBACK NOT BEGUN: not every host is proven HALTED", lines, detail, data, then)
    if plan["refusals"]:
        reasons = wrapped(plan["refusals"])
        then = ["andon rollback --check"] if plan["target"] and not check else ["andon release list", "andon skew"]
        if len(plan["refusals"]) == 1 and "not confirmed" in plan["refusals"][0]:
            then = ["ansible-playbook rollback.yml -e to=%s -e confirm=%s   (or: andon rollback)" % (target, target)]
        return report("rollback", False, "ROLLBACK REFUSED, nothing was changed", reasons + lines, detail, data, then)
    if plan["mode"] == rollback.NONE:
        return report("rollback", True, "OK: every host is on %s already" % clean(target, 40), lines, detail, data)
    return report("rollback", True, "WOULD ROLL BACK to %s" % clean(target, 40), lines, detail, data, ["andon rollback --to %s" % target])


def wrapped(lines):
    """Long reasons over several lines, so that nothing of them is cut off."""
    return [part for line in lines for part in textwrap.wrap("REFUSED  " + line, 80, subsequent_indent="         ")]


def done(plan, states, missing, acted, not_acted, left_out, words, resume):
    """The report after acting.

    Args:
        plan: what was to be done. states, missing: what hosts say now. acted, not_acted: {host: result | why} of the act itself.
        left_out: hosts that --limit left out. words: {host: last lines of what did not become healthy}.
        resume: trading was to be started again.
    """
    target = plan["target"]
    total = len(states) + len(missing)
    on, lines = rollback.counted(states, target)
    halted = [h for h, s in states.items() if s["halted"]]
    sick = [h for h, s in states.items() if not s["halted"] and s["unhealthy"]]
    ok = len(on) == total and not missing and not not_acted and not sick and not (resume and halted)
    summary = ["%-14s %s%s" % (clean(h, 14), "OK  " if h in on and h not in not_acted else "", words) for h, words in lines] + unknown_lines(missing)
    for host, why in sorted(not_acted.items()):
        summary += textwrap.wrap("%s: %s" % (clean(host, 14), clean(why, 500)), 80, subsequent_indent="    ")
    summary += ["  %s: %s" % (h, clean(note, 200)) for h, r in sorted(acted.items()) for note in r.get("notes", ())]
    summary += ["--limit left out: %s" % clean(", ".join(left_out), 60)] if left_out else []
    if ok:
        headline = "ROLLED BACK to %s: OK, %d/%d hosts%s" % (clean(target, 30), total, total, ", HALTED" if halted else ", healthy")
    elif len(on) == total and halted:
        headline = "ON %s, NOT STARTED: %d/%d hosts are halted" % (clean(target, 30), len(halted), total)
    else:
        headline = "ROLLBACK FAILED: %d/%d hosts are on %s" % (len(on), total, clean(target, 30))
    then = []
    if ok and halted:
        then = ["andon resume   (trading is still halted; look first: andon status)"]
    elif not ok and len(on) == total and not missing and not not_acted:
        then = ["andon status", "andon resume   (when the cause is gone)"]
    elif not ok:
        then = ["andon rollback --to %s --not-good   (again, when the cause is gone)" % target, "andon skew", "andon stop   (when in doubt)"]
    detail = ["    | " + clean(line, 74) for lines in words.values() for line in lines]
    detail += ["What was %s:" % ("changed" if ok else "to be changed")] + plan["lines"] if plan["lines"] else []
    data = {"plan": plan, "hosts": {h: {"now": w, "on_target": h in on} for h, w in lines}, "failed": not_acted, "unknown": missing, "halted": sorted(halted)}
    return report("rollback", ok, headline, summary, detail, data, then)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self._task.args
        plan, left_out = args["plan"], limited(task_vars)
        if self._task.check_mode or not plan["go"] or plan["mode"] == rollback.NONE:
            return planned(plan, left_out, bool(self._task.check_mode))
        acted, not_acted = gather(task_vars, args["acted"])
        results, missing = gather(task_vars, args["after"])
        states = {host: result["state"] for host, result in results.items()}
        words = {}
        for host, why in list(not_acted.items()):
            one = task_vars["hostvars"][host].get(args["acted"]) or {}
            words[host] = one.get("words") or []
            if one.get("now"):
                not_acted[host] = "%s. %s" % (why, one["now"])
        return done(plan, states, missing, acted, not_acted, left_out, words, bool(args.get("resume")))
