"""Runs one action of an adapter on a component: sends its steps, judges each answer, and looks again through another channel.

An acknowledgement proves nothing (docs/adapters.md has the traps): C(outcome) says what was answered, C(proven) says whether the
effect was seen elsewhere. What may have happened is C(unknown) and is never sent again. Runs on hosts, in the module
C(adapter) and inside the stop: standard library only, Python 3.8.
"""

from __future__ import annotations

import datetime
import re
import threading
import time

from . import adapter_steps as steps
from .adapter_values import READS, STATES, VERIFIES, ValueProblem, at, equals, fill, rows, select
from .text import clean

# The worst first: one step that may or may not have happened makes the whole action unknown.
OUTCOMES = ("unknown", "failed", "refused", "unsupported", "ok", "already")
GOOD = ("ok", "already")
STEP_TIMEOUT = 5.0
PROOF_TIMEOUT = 30.0
POLL = 0.25


class NotRead(Exception):
    """Something that the action must know first could not be read; nothing was sent for it."""

    def __init__(self, outcome, words):
        Exception.__init__(self, words)
        self.outcome = outcome


def kind_of(step, kinds=steps.STEPS):
    """The step's type: the one key that is a type's name."""
    return next((key for key in step if key in kinds or key in ("wait", "manual")), None)


def _match(rule, answer):
    """True if an answer fits a rule (status, rc, body_regex, json); all that the rule names must hold."""
    if not rule or set(rule) == {"read"}:
        return False
    codes = rule.get("status", rule.get("rc"))
    if codes is not None and answer.code not in codes and (answer.trouble or "-") not in codes:
        return False
    if "body_regex" in rule and not re.search(rule["body_regex"], answer.text[:200000]):
        return False
    return "json" not in rule or equals(answer.document, rule["json"])


def judge(kind, step, answer):
    """What one answer means: (outcome, words). The adapter's own rules come first, C(already) before all."""
    spec = step[kind]
    if answer.trouble == steps.NOT_SENT:
        return "failed", answer.words
    if _match(step.get("already"), answer):
        return "already", answer.words
    if answer.trouble or _match(step.get("unknown"), answer):
        return "unknown", answer.words
    default = {"status": range(200, 300)} if kind == "http" else {"rc": [0]}
    if _match(step.get("ok") or default, answer):
        return ("already" if kind in ("file", "redis") and answer.text == "already" else "ok"), answer.words
    if kind == "http" and answer.code >= 500 and steps.changes(kind, spec):
        return "unknown", answer.words
    if kind == "http" and answer.code in (401, 403):
        return "failed", "the credentials are not accepted (HTTP %d)" % answer.code
    return "failed", answer.words


def label(kind, spec):
    """A step's name for people: POST /pause, hbot stop, redis set."""
    if kind == "http":
        return "%s %s" % (spec.get("method", "GET"), spec.get("path", "").split("?")[0])
    if kind == "command":
        return " ".join(str(one) for one in spec.get("argv", [])[:2])
    if kind == "file":
        return "file %s" % next((one for one in ("touch", "write", "json", "remove", "read") if one in spec), "")
    if kind == "redis":
        return "redis %s" % spec.get("op", "get")
    if kind in ("signal", "container"):
        return "%s %s" % (kind, spec.get("name") or spec.get("op"))
    return kind


class Action:
    """One action on one component.

    Args:
        plan: {name, kind, strategy, venue, endpoint, values, definition}; definition: {act: ..., "state": ..., "reads": {...}}.
        act: the action's name. engine: engine.Engine. secrets: {key: value}. budget: seconds for everything.
        check: send nothing that changes. in_stop: only C(do), and what is marked C(in_stop) of C(verify).
    """

    def __init__(self, plan, act, engine, secrets, budget, check=False, in_stop=False):
        self.plan, self.act, self.check, self.in_stop = plan, act, check, in_stop
        self.definition = plan["definition"]
        self.began = time.time()
        self.from_ = time.monotonic()
        self.end = self.from_ + budget
        self.given = dict(plan.get("values") or {})
        self.place = steps.Place(plan["name"], engine, plan.get("endpoint"), secrets, self.given)
        self.state_before = None
        self.row = {
            "component": plan["name"],
            "kind": plan.get("kind", ""),
            "strategy": plan.get("strategy", ""),
            "venue": plan.get("venue", ""),
            "symbols": plan.get("symbols", []),
            "prefix": plan.get("prefix", ""),
            "act": act,
            "outcome": "unknown",
            "why": "no answer within %g s" % budget,
            "proven": False,
            "data": None,
            "state": "",
            "seconds": None,
            "steps": [],
            "needs": [],
        }

    def left(self):
        return self.end - time.monotonic()

    def run(self):
        """Does it and returns the row; whatever the software answers, nothing is raised."""
        action = self.definition.get(self.act)
        try:
            if action is None:
                self._ends("unsupported", "the adapter %s has no %s" % (self.row["kind"], self.act))
            elif self.act in READS:
                self._read_action(action)
            else:
                self._change(action)
        except NotRead as error:
            self._ends(error.outcome, str(error))
        except ValueProblem as error:
            self._ends("failed", "%s: %s" % (self.act, error))
        except Exception as error:  # one component must not take the others' result away; what was sent is in the steps
            self._ends("unknown" if self.row["steps"] else "failed", "the adapter broke: %s: %s" % (type(error).__name__, error))
        self.row["seconds"] = round(time.monotonic() - self.from_, 3)
        return self.row

    def _ends(self, outcome, why, proven=False):
        self.row.update(outcome=outcome, why=clean(self.place.hide(why), 200), proven=proven)

    def _note(self, name, outcome, words):
        self.row["steps"].append({"step": clean(name, 60), "outcome": outcome, "words": clean(self.place.hide(words), 200)})

    # -- reading ------------------------------------------------------------------------------------------------------

    def _ask(self, step):
        """Sends a reading step; returns (outcome, Answer)."""
        kind = kind_of(step)
        answer = steps.run(kind, step[kind], self.place, min(float(step.get("timeout_s", STEP_TIMEOUT)), self.left()))
        outcome, words = judge(kind, step, answer)
        answer.words = words
        return outcome, answer

    def _document(self, step):
        outcome, answer = self._ask(step)
        if outcome not in GOOD:
            kind = kind_of(step)
            raise NotRead("unknown" if outcome == "unknown" else "failed", "%s: %s" % (label(kind, step[kind]), answer.words))
        return answer.document

    def read(self, name):
        """The list that a reading action or one of the adapter's own C(reads) gives.

        Raises:
            NotRead: it gave none. ValueProblem: it has another form.
        """
        source = self.definition.get(name) or self.definition["reads"][name]
        step = source["do"][0] if "do" in source else source
        found = select(self._document(step), fill(source.get("data", ""), self.given))
        return rows(name, found, _utc()) if name in READS else found

    def state(self):
        """running | paused | stopped, or C("") when the component does not say."""
        step = self.definition.get("state")
        if not step:
            return ""
        try:
            found = select(self._document(step), step.get("data", ""))
        except (NotRead, ValueProblem):
            return ""
        return found if found in STATES else ""

    def _read_action(self, action):
        self.row["state"] = self.state()
        if self.act == "liveness":
            self.row["data"] = [self._fact(name, check) for name, check in action.items()]
            bad = [one["fact"] for one in self.row["data"] if not one["ok"]]
            self._ends("ok", "not good: %s" % ", ".join(bad) if bad else "", proven=not bad)
            return
        self.row["data"] = self.read(self.act)
        # A claim of the component itself: what the venue holds is the venue's to say.
        self._ends("ok", "", proven=False)

    def _fact(self, name, check):
        """One fact of C(liveness): {fact, ok, words}."""
        only = check.get("only_in_state")
        if only and self.row["state"] and self.row["state"] not in only:
            return {"fact": name, "ok": True, "words": "not asked while %s" % self.row["state"]}
        outcome, answer = self._ask(check)
        words, good = answer.words, outcome in GOOD
        try:
            if good and "equals" in check:
                good = equals(answer.document, fill(check["equals"], self.given))
                words = "as wanted" if good else "not %s" % clean(check["equals"], 80)
            elif good and "age" in check:
                good, words = self._age(answer.document, check["age"])
            elif good and "count" in check:
                good, words = self._count(answer.document, check["count"])
        except ValueProblem as error:
            good, words = False, str(error)
        return {"fact": name, "ok": good, "words": clean(self.place.hide(words or "answers"), 160)}

    @staticmethod
    def _age(document, how):
        found = at(document, how["path"])
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return False, "there is no time at '%s' yet" % how["path"]
        age = time.time() - found / (1000.0 if how.get("unit") == "ms" else 1.0)
        return age <= how["max_s"], "%.0f s old (at most %g)" % (age, how["max_s"])

    @staticmethod
    def _count(document, how):
        since = time.time() - how.get("within_s", 300)
        hits = [text for moment, text in _entries(document, how) if moment is None or moment >= since]
        return len(hits) <= how.get("max", 0), "%d such lines within %g s%s" % (len(hits), how.get("within_s", 300), ": " + hits[-1] if hits else "")

    # -- changing -----------------------------------------------------------------------------------------------------

    def _change(self, action):
        # In a stop each call counts, and a state that hangs must not take the time of a step that does not need it.
        if action.get("requires_state") or not self.in_stop:
            self._before()
        wanted = action.get("requires_state")
        if wanted and self.state_before not in wanted:
            words = "it is %s" % self.state_before if self.state_before else "its state could not be read"
            self._ends("refused" if self.state_before else "failed", "%s and %s needs %s; nothing was sent" % (words, self.act, " or ".join(wanted)))
            return
        outcomes = []
        for item in self._items(action):
            for step in action["do"]:
                outcome = self._step(step, item)
                outcomes.append(outcome)
                if outcome not in GOOD and (self.act == "resume" or action.get("on_failure") == "end"):
                    self._finish(outcomes, action, verify=False)
                    return
        self._finish(outcomes or ["already"], action, verify=not self.check)

    def _before(self):
        """The state from before anything that could change it was sent; asked once."""
        if self.state_before is None:
            self.state_before = self.row["state"] = self.state()
        return self.state_before

    def _items(self, holder):
        """What C(foreach) runs over: [{}] without it, else one {"item": value} for each row."""
        each = holder.get("foreach")
        if not each:
            return [{}]
        return [{"item": str(at(one, each["key"]))} for one in self.read(each["from"])]

    def _step(self, step, item):
        """Sends one step for all that its own C(foreach) names; returns the worst outcome."""
        kind = kind_of(step)
        spec = step[kind]
        name = step.get("name") or label(kind, spec if isinstance(spec, dict) else {})
        if any(self.given.get(one) is None for one in step.get("when", [])):
            return "already"
        if kind == "manual":
            self._note(name, "unknown", fill(spec, dict(self.given, **item)))
            return "unknown"
        for word, bad in (("requires_state", False), ("unless_state", True)):
            if step.get(word):
                if not self._before():
                    self._note(name, "failed", "not sent: its state could not be read")
                    return "failed"
                if (self.state_before in step[word]) is bad:
                    outcome = "already" if bad else "refused"
                    self._note(name, outcome, "not sent: it is %s" % self.state_before)
                    return outcome
        try:
            items = self._items(step) if step.get("foreach") else [{}]
            done = self._already_there(step)
        except NotRead as error:
            self._note(name, error.outcome, "not sent: %s" % error)
            return error.outcome
        if done or not items:
            self._note(name, "already", done or "nothing to do")
            return "already"
        return worst([self._send(kind, step, name, dict(item, **one)) for one in items])

    def _already_there(self, step):
        """Words if what C(already: {read: NAME}) names is there, so that pressing twice sends nothing twice."""
        source = (step.get("already") or {}).get("read")
        if not source or self.in_stop:
            return ""
        try:
            return "is there already" if self.read(source) else ""
        except (NotRead, ValueProblem):
            return ""  # to send it a second time is the safe side

    def _send(self, kind, step, name, item):
        name = " ".join([name] + [str(one) for one in item.values()])
        if self.check:
            self._note(name, "would", "check mode: not sent")
            return "ok"
        self.given.update(item)
        try:
            if kind == "wait":
                good, words = self._wait(step["wait"], float(step.get("timeout_s", PROOF_TIMEOUT)))
                outcome = "ok" if good else "failed"
            else:
                answer = steps.run(kind, step[kind], self.place, min(float(step.get("timeout_s", STEP_TIMEOUT)), self.left()))
                outcome, words = judge(kind, step, answer)
        finally:
            for one in item:
                self.given.pop(one, None)
        self._note(name, outcome, words)
        return outcome

    def _finish(self, outcomes, action, verify):
        outcome = worst(outcomes)
        bad = next((one for one in self.row["steps"] if one["outcome"] == outcome), None) if outcome not in GOOD else None
        why = "%s: %s" % (bad["step"], bad["words"]) if bad else ("check mode: nothing was sent" if self.check else "")
        proven, open_ = self._verify(action) if verify else (False, "")
        if self.in_stop and not proven:
            open_ = ""  # the stop's own second look is the proof there
        self._ends(outcome, "; ".join(part for part in (why, open_) if part), proven and outcome in GOOD)
        if not self.in_stop:
            self.row["state"] = self.state() or self.row["state"]

    # -- looking again ------------------------------------------------------------------------------------------------

    def _verify(self, action):
        """Looks through the other channels; returns (proven, what is open)."""
        proven, missing = bool(action.get("verify")), []
        for one in action.get("verify", []):
            if self.in_stop and not one.get("in_stop"):
                proven = False
                continue
            kind = next(key for key in one if key in VERIFIES)
            if kind == "venue":
                good, words = False, "needs the venue: %s" % ", ".join("%s %s" % pair for pair in sorted(one["venue"].items()))
                self.row["needs"].append(one["venue"])
            elif kind == "manual":
                good, words = False, fill(one["manual"], self.given)
            elif self._was_so(one) and not ("log" in one and one["log"].get("latest")):
                good, words = True, "it was %s before" % self.state_before
            elif kind == "wait":
                good, words = self._wait(one["wait"], float(one.get("timeout_s", PROOF_TIMEOUT)))
            else:
                good, words = self._look(kind, one[kind], float(one.get("timeout_s", PROOF_TIMEOUT)), self._was_so(one))
            self._note("verify %s" % kind, "ok" if good else "unknown", words)
            proven = proven and good
            if not good:
                missing.append("%s: %s" % (kind, words) if kind not in ("venue", "manual") else words)
        return proven, "; ".join(missing)

    def _was_so(self, one):
        return bool(self.state_before) and self.state_before in one.get("satisfied_if_state", ())

    def _poll(self, look, seconds):
        """Asks until C(look() -> (good, words)) is good or time is up."""
        end = time.monotonic() + min(seconds, self.left())
        while True:
            good, words = look()
            if good or time.monotonic() + POLL >= end:
                return good, words
            time.sleep(POLL)

    def _wait(self, wait, seconds):
        wanted = fill(wait["equals"], self.given)

        def look():
            outcome, answer = self._ask(wait)
            if outcome not in GOOD:
                return False, answer.words
            good = equals(answer.document, wanted)
            return good, "as wanted" if good else "not yet %s" % clean(wanted, 100)

        return self._poll(look, seconds)

    def _look(self, kind, how, seconds, was_so=False):
        """A line that came after the action began, in the software's log or the container's.

        Args:
            was_so: the component had said before that it is so already. Then its newest line of the kind C(latest) must say the
                same, whenever it came: what somebody asked for a moment ago is answered before it is done.
        """

        def look():
            if kind == "container_log":
                code, out, err = self.place.engine.run(
                    "logs", "--since", "%.3f" % self.began, "--tail", "2000", self.plan["name"], deadline=max(self.left(), 0.1)
                )
                texts = (out + err).splitlines()
            else:
                outcome, answer = self._ask(how)
                if outcome not in GOOD:
                    return False, answer.words
                if was_so:
                    newest = next((text for _, text in reversed(list(_entries(answer.document, dict(how, regex=how["latest"]))))), None)
                    if newest is None:
                        return False, "no line like %s is left in the log" % how["latest"]
                    return bool(re.search(how["regex"], newest)), newest
                # Milliseconds: the software's stamp may be cut off where ours is not.
                texts = [text for moment, text in _entries(answer.document, how) if moment is None or moment >= int(self.began * 1000) / 1000.0]
            hit = next((text for text in texts if re.search(how["regex"], text)), None)
            return hit is not None, hit if hit is not None else "no line like %s after the call" % how["regex"]

        return self._poll(look, seconds)


def _entries(document, how):
    """(Unix seconds or None, text) of each log entry that fits C(where) and C(regex)."""
    for one in select(document, {"each": how["each"], "where": how.get("where") or {}}):
        text = str(at(one, how.get("text", "")))
        if re.search(how["regex"], text):
            moment = at(one, how["at"]) if how.get("at") else None
            yield (float(moment) / (1000.0 if how.get("unit") == "ms" else 1.0) if moment is not None else None), text


def _utc():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def worst(outcomes):
    """The outcome of several steps together."""
    return min(outcomes, key=OUTCOMES.index)


def run_all(plans, act, engine, secrets, budget, check=False, in_stop=False, tell=None):
    """The action on all components at once; one that hangs delays no other.

    Args:
        plans: see Action. secrets: {key: value} of all of them. budget: seconds for all. tell: called with each row as it comes.

    Returns:
        list of rows, in the order of C(plans); after the budget what is not back is C(unknown), with the steps so far.
    """
    actions = [Action(plan, act, engine, {k: v for k, v in secrets.items() if k.startswith(plan["name"] + "/")}, budget, check, in_stop) for plan in plans]

    def work(action):
        row = action.run()
        if tell:
            tell(row)

    # Daemons: a thread that hangs in the system must not keep this program alive.
    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in actions]
    for thread in threads:
        thread.start()
    end = time.monotonic() + budget + 0.2
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
    return [dict(one.row, steps=list(one.row["steps"])) for one in actions]
