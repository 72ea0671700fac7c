# Copyright: the Andon maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of a resume over all hosts, or every reason why there is none. Runs once, on the bastion."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

# Ansible finds module_utils for modules, not for plugins on the bastion.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.module_utils.andon import (
    approvals,
    fleet_report,
    reconciliations,
    report,
    resume,
    resume_adapters,
    resume_gates,
    resume_run,
    text,
    venue_runner,
    venue_stop,
)
from ansible.module_utils.andon.run_id import this_run
from ansible.plugins.action import ActionBase

CLOCK = 1.0  # seconds: Binance refuses a clock that is 1 s ahead, bybit one that is 1 s ahead or 5 s behind
RECONCILED = 900.0  # seconds that a reconciliation may be old


def number(value, default, low, high):
    """A number from the inventory within bounds. Raises ValueError."""
    found = float(default if value is None or value == "" else value)
    if not low < found <= high:
        raise ValueError("%s is not above %g and at most %g" % (text.clean(value, 20), low, high))
    return found


class Facts:
    """What the plan is made from; C(reasons) gathers why there is none."""

    def __init__(self, action, task_vars):
        self.action, self.task_vars, self.args = action, task_vars, action._task.args
        self.check = bool(action._task.check_mode)
        self.request = bool(self.args.get("request")) and str(self.args["request"]).lower() not in ("false", "no", "0", "")
        self.strategy = self.args.get("strategy") or ""
        self.target = self.strategy or "all"
        self.hosts = list(task_vars["ansible_play_hosts_all"])
        self.states = report.collect(task_vars, self.args["register"])
        self.reasons = resume_run.forbidden(action._loader)
        self.now = time.time()
        self.plan, self.path, self.approved = None, None, None
        self.needed, self.size, self.accepted = 0, None, []
        self.gates, self.core, self.lines = [], None, []

    @property
    def scope(self):
        return resume.scope_of(self.strategy)

    def latches(self, host):
        return [one for one in (self.states[host] or {}).get("latches", []) if one["scope"] == self.scope]

    def read(self):
        """The options, and the plan's file if one is given: its size and its accepted gates are then this run's."""
        accepted = self.args.get("accept") or []
        if isinstance(accepted, str):  # -e andon_resume_accept=positions,clock
            accepted = [one.strip() for one in accepted.split(",")]
        try:
            self.needed = resume_run.needed(self.task_vars, self.hosts)
            self.size = resume_run.size_of(self.args.get("size"))
            if self.args.get("file"):
                self.path = approvals.find(str(self.args["file"]))
                self.plan = approvals.load(self.path)
                self.size = self.plan["size"] if self.size is None else self.size
                accepted = accepted or self.plan["accepted"]
        except ValueError as error:
            self.reasons.append(text.clean(error, 300))
        wrong = resume_gates.accept_errors(accepted)
        self.reasons += wrong
        self.accepted = [] if wrong else sorted(set(accepted))

    def judge(self):
        """Everything that refuses, in an order in which nothing is asked of anybody if the answer is no anyway."""
        confirm = self.target if self.check or self.request else self.args.get("confirm")
        fleet = list(self.task_vars["groups"].get("trading", []))
        self.reasons += resume.refusals(self.states, self.strategy, self.args.get("incident") or "", fleet, confirm)
        if self.reasons:
            return
        incidents = sorted({one["incident"] for host in self.hosts for one in self.latches(host)})
        hosts = {h: self.of_host(h) for h in self.states}
        if self.reasons:
            return
        self.core = {
            "incident": incidents[0] if incidents else "",
            "target": self.target,
            "strategy": self.strategy,
            "size": self.size,
            "accepted": self.accepted,
            "hosts": hosts,
        }
        self.lines = resume.plan_lines(hosts, self.size)
        self.compare()
        if not self.reasons:
            self.gates = resume_gates.settle(self.look(), self.accepted)
            self.reasons += resume_gates.refusals(self.gates)

    def of_host(self, host):
        """One host's part of the plan; what cannot have the size that was asked for is refused by its name."""
        state, latches = self.states[host], self.latches(host)
        said = self.task_vars["hostvars"][host].get(self.args["sizes"]) or {}
        adapters = said.get("adapters")
        if adapters is None and (said.get("failed") or self.size is not None):
            self.reasons.append("%s: its adapters could not be looked at: %s" % (text.clean(host, 40), text.clean(said.get("msg") or "no result", 160)))
            return {}
        if state.get("sizes_error"):
            self.reasons.append("%s: %s. Next: correct or remove that file on the host" % (text.clean(host, 40), text.clean(state["sizes_error"], 200)))
        plain = resume.host_plan(latches, state["containers"])
        self.reasons += resume_adapters.refusals(host, plain["containers"], adapters or {}, self.size, state.get("sizes") or {})
        return resume.host_plan(latches, state["containers"], resume_adapters.sizes(plain["containers"], adapters or {}, self.size))

    def compare(self):
        """The plan that was confirmed, or approved, against the fleet as it is now."""
        digest = approvals.digest(self.core)
        if self.args.get("plan") and self.args["plan"] != digest and not self.check:
            self.reasons.append("the plan is another one than was confirmed: something changed in between. Look at it again")
        if self.plan is not None:
            self.reasons += ["the plan no longer matches: %s" % one for one in approvals.live_difference(self.plan, self.core)]
            try:
                self.approved = approvals.check(self.path, self.plan, self.needed, self.args.get("signers") or "", self.now)
                self.reasons += self.approved["why"]
            except approvals.PlanError as error:
                self.reasons.append(text.clean(error, 300))
        elif self.needed and not self.check and not self.request:
            self.reasons.append("%s required and no plan is named. Next: andon resume --request" % text.plural(self.needed, "approval"))

    # The gates

    def look(self):
        """What each gate says; the venues are asked once for two of them."""
        adapters = resume_run.has_adapters(self.task_vars, self.hosts)
        configured = bool(self.task_vars.get("andon_venues"))
        rows, why = self.venues() if configured else (None, "")
        clocks = report.collect(self.task_vars, self.args["clock"])
        bound = number(self.args.get("clock_s"), CLOCK, 0, 3600)
        return [
            self.positions(configured and adapters, rows, [row["name"] for row in rows or []]),
            self.skew(),
            resume_gates.credentials_gate(rows, why),
            resume_gates.clock_gate({h: (one or {}).get("clock") for h, one in clocks.items()}, rows, bound, configured or adapters),
        ]

    def venues(self):
        """(the venues' rows, or None and why they could not be asked)."""
        try:
            config = venue_stop.reader(self.task_vars, self.action._templar)()
            return venue_runner.ask(config, cancel=False, status=True, budget=number(self.args.get("budget"), 10, 0, 300)), ""
        except (ValueError, OSError) as error:  # ConfigError is a ValueError
            return [], text.clean(error, 300)

    def skew(self):
        if not sum((s or {}).get("releases", 0) for s in self.states.values()):
            return resume_gates.skew_gate({}, {}, (), ())
        results, missing = fleet_report.gather(self.task_vars, "__releases_state")
        read = self.action._templar.template  # the inventory's own words may be templates
        allowed = read(self.task_vars.get("releases_allow_skew") or [])
        ignored = read(self.task_vars.get("releases_ignore_environment") or ["HOSTNAME"])
        return resume_gates.skew_gate({h: r["state"] for h, r in results.items()}, missing, allowed, ignored)

    def positions(self, applies, rows, names):
        limit = number(self.args.get("reconciled_s"), RECONCILED, 0, 86400)
        return resume_gates.positions_gate(self.reconciliation(names) if applies else None, rows, limit, self.now, applies)

    def reconciliation(self, names):
        """The newest reconciliation of the open incident, of the latch's, or of none. names: of the venues."""
        kept = dict(reconciliations.names(reconciliations.current_incident()))
        if text.valid_id(self.core["incident"]):
            kept.update(reconciliations.names(self.core["incident"]))
        if not kept:
            return None
        try:
            return resume_gates.reconciled(reconciliations.read(kept[max(kept)]), names)
        except reconciliations.NotKept as error:
            return text.clean(error, 160)

    # What comes out

    def data(self):
        return {
            "plan": self.lines,
            "digest": approvals.digest(self.core) if self.core else "",
            "incidents": [self.core["incident"]] if self.core else [],
            "refusals": self.reasons,
            "target": self.target,
            "gates": self.gates,
            "size": self.size,
            "approvals": {"needed": self.needed, "people": (self.approved or {}).get("people", []), "plan": self.plan["id"] if self.plan else ""},
        }

    def approval_words(self):
        if not self.needed:
            return []
        people = (self.approved or {}).get("people", [])
        signed = (self.approved or {}).get("signatures", [])
        head = "approvals %d/%d%s" % (len(people), self.needed, ": " + ", ".join(p for p, _ in people) if people else "")
        return [head] + ["  " + one for one in approvals.approval_lines(signed)]


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        facts = Facts(self, task_vars)
        facts.read()
        try:
            facts.judge()
        except ValueError as error:
            facts.reasons.append(text.clean(error, 300))
        if facts.reasons:
            return self.refused(facts)
        result = {
            "changed": False,
            "incident": facts.core["incident"],
            "digest": approvals.digest(facts.core),
            "run": this_run()["run_id"],
            "hosts": facts.core["hosts"],
            "size": facts.size,
            "gates": facts.gates,
            "needed": facts.needed,
            "approvals": facts.data()["approvals"],
            "file": str(facts.path or ""),
            "go": not facts.check and not facts.request,
        }
        if facts.request and not facts.check:
            return self.requested(facts, result)
        if facts.check:
            head = "would start on %s, in this order (canary host first):" % text.plural(len(facts.states), "host")
            then = ["andon resume"] if not facts.needed or facts.plan else ["andon resume --request   (%s required)" % text.plural(facts.needed, "approval")]
            summary = resume_gates.lines(facts.gates) + facts.approval_words()
            result["andon_report"] = report.make("resume", True, head, summary, facts.lines, facts.data(), then)
        return result

    @staticmethod
    def requested(facts, result):
        """Writes the plan for the people who are to approve it; starts nothing."""
        try:
            ttl = number(facts.args.get("ttl"), approvals.TTL, 0, 86400)
            plan = approvals.make(facts.core, now=facts.now, ttl=ttl)
            path = approvals.save(plan)
        except (OSError, ValueError) as error:
            facts.reasons.append("the plan cannot be written: %s" % text.clean(error, 200))
            return ActionModule.refused(facts)
        data = dict(facts.data(), file=str(path), id=plan["id"], text=approvals.text(plan))
        summary = ["plan    %s" % plan["id"], "file    %s" % path.with_suffix(".txt"), "expires %s" % plan["expires"]]
        summary += resume_gates.lines(facts.gates)
        detail = approvals.text(plan).splitlines() + ["", "By hand, on another machine:", "  " + approvals.by_hand(plan)]
        then = ["andon approve %s   (%s, not %s)" % (plan["id"], text.plural(max(facts.needed, 1), "person"), plan["requester"])]
        then.append("andon resume --plan %s" % plan["id"])
        result["andon_report"] = report.make("resume", True, "PLAN WRITTEN, NOTHING WAS STARTED", summary, detail, data, then)
        return result

    @staticmethod
    def refused(facts):
        summary = ["REFUSED  " + text.clean(one, 400) for one in facts.reasons]
        summary += resume_gates.lines(facts.gates)
        # A refusal must be read whole: it is wrapped, not cut.
        summary = [line[i : i + 80] for line in summary for i in range(0, len(line), 80)]
        register = facts.args["register"]
        details = ["%-14s %s" % (text.clean(h, 14), report.reason(facts.task_vars, register, h)) for h, s in facts.states.items() if s is None]
        then = ["andon status"]
        if any("not confirmed" in one for one in facts.reasons):
            then.append("andon resume   (asks for the target's name)")
        blocked = [one["gate"] for one in facts.gates if one["state"] in (resume_gates.FAILED, resume_gates.UNKNOWN) and not one["accepted"]]
        if blocked:
            then.append("andon resume %s   (past what failed, by name; it is recorded)" % " ".join("--accept " + one for one in blocked))
        return report.ending(report.make("resume", False, "NOTHING WAS STARTED", summary, summary[20:] + details, facts.data(), then))
