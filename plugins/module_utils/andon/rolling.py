"""The verdicts of a rolling verb: the plan over all hosts, the gate of each batch, the report.

Bastion only, Python 3.11. Pure: what the hosts said goes in, an ``andon.report/1`` comes out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from . import limits
from . import report as form
from .targets import ACT, LEAVE, REFUSE, SAME
from .text import clean, duration, nearest, plural, size

Results = Mapping[str, Mapping[str, Any] | None]
VERBS = {"restart": "restarted", "limit_memory": "limited"}
# A report is read by a tired person on an 80-column terminal.
WIDTH, SHOWN = form.WIDTH, 20


class Ask:
    """What was asked for: the verb and its values, for words and for the next command to type.

    Attributes:
        verb: the playbook's name; target; memory ("" for none), undo, check; confirm.
    """

    def __init__(self, verb: str, target: str, memory: str = "", undo: bool = False, check: bool = False, confirm: str = "") -> None:
        self.verb = verb
        self.target = clean(target, 60)
        self.memory = clean(memory, 20)
        self.undo = undo
        self.check = check
        self.confirmed = check or confirm == target
        self.done = VERBS[verb]

    def command(self, more: str = "") -> str:
        parts = ["andon restart", self.target]
        parts += ["--undo"] if self.undo else ["--memory " + self.memory] if self.memory else []
        return " ".join(parts + ([more] if more else []))


def ask_of(args: Mapping[str, Any], check: bool) -> Ask:
    """What was asked for, from a task's arguments (the same for plan, gate and report)."""
    return Ask(
        str(args["verb"]),
        str(args["target"]),
        memory=str(args.get("memory", "")),
        undo=args.get("undo") in (True, "true", "True", "yes"),
        check=check,
        confirm=str(args.get("confirm", "")),
    )


def report(ask: Ask, ok: bool, headline: str, summary: Iterable[str], detail: Iterable[str], data: dict[str, Any], then: Iterable[str]) -> dict[str, Any]:
    """An andon.report/1; too many lines are folded into a count, never dropped without a word."""
    lines = [part for line in summary for part in folded(line)]
    if len(lines) > SHOWN:
        lines = [*lines[: SHOWN - 1], f"... and {len(lines) - SHOWN + 1} more (in --json)"]
    return form.make(ask.verb, ok, headline, lines, detail, data, then)


def folded(line: str, most: int = 5) -> list[str]:
    """A line in lines of 80 columns, the rest under the first one's words; what is longer than ``most`` lines ends in "…"."""
    parts = textwrap.wrap(line, WIDTH, subsequent_indent=" " * 17) if len(line) > WIDTH else [line]
    return parts if len(parts) <= most else [*parts[: most - 1], clip(parts[most - 1][: WIDTH - 1] + " " * WIDTH)]


def clip(line: str, width: int = WIDTH) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def unknown(result: Mapping[str, Any] | None) -> str:
    """Why a host's answer is no answer, or ""."""
    if not result:
        return "no result"
    if result.get("unreachable"):
        return "unreachable: " + clean(result.get("msg", ""), 120)
    if result.get("skipped"):
        return "skipped"
    return ""


def host_line(host: str, words: str) -> str:
    return f"{clean(host, 30):<14} {words}"


# The plan


def judge_plan(ask: Ask, results: Results) -> dict[str, Any]:
    """The plan over all hosts. ``ok`` only if every host answered, the name means something, and nothing is refused.

    Returns:
        a report; data: {target, matches: {host: [match]}, acting: [hosts], same: [hosts], hosts: {host: {verdict}}}.
    """
    blind = {host: unknown(one) or clean(one.get("msg", ""), 300) for host, one in results.items() if unknown(one) or (one or {}).get("failed")}
    found = {host: list((one or {}).get("matches", [])) for host, one in results.items() if host not in blind}
    data: dict[str, Any] = {"target": ask.target, "matches": {h: m for h, m in found.items() if m}}
    # The journal keeps `hosts`: one verdict for each.
    data["hosts"] = {host: {"verdict": "UNKNOWN", "why": blind[host]} if host in blind else {"verdict": plan_verdict(found[host])} for host in results}
    data["acting"] = [host for host, matches in found.items() if any(one["verdict"] == ACT for one in matches)]
    data["same"] = [host for host, matches in found.items() if any(one["verdict"] == SAME for one in matches)]
    lines = [host_line(host, "UNKNOWN  " + words) for host, words in blind.items()]
    lines += [host_line(host, match_words(one)) for host, matches in found.items() for one in matches]
    detail = [f"{clean(host, 30)}: {line}" for host, matches in found.items() for one in matches for line in one["warnings"]]

    def no(headline: str, *then: str, more: Iterable[str] = ()) -> dict[str, Any]:
        return report(ask, False, headline, [*more, *lines, "Nothing was touched on any host."], detail, data, then)

    # What no host can do (no such size, no such name) is said once, not once a host.
    same = set(blind.values()) if len(blind) == len(results) and not any(unknown(one) for one in results.values()) else set()
    if len(same) == 1:
        return report(ask, False, "NOT DONE  " + clip(next(iter(same)), 60), [*wrapped(next(iter(same))), "Nothing was touched on any host."], [], data, [])
    if not ask.confirmed:
        return no(f"REFUSED  {ask.verb} needs a confirmation that names {ask.target}", f"-e confirm={ask.target}, or {ask.command()}")
    if blind:
        answered = [host for host in results if host not in blind]
        then = ask.command(f"--limit '{','.join(answered)}'   (leaves out what does not answer)") if answered else "andon status"
        return no(f"NOT DONE  {len(blind)} of {plural(len(results), 'host')} did not say whether they have {ask.target}", then)
    if not data["matches"]:
        return unknown_name(ask, results, no)
    refused = [(host, one) for host, matches in found.items() for one in matches if one["verdict"] == REFUSE]
    if refused:
        forced = [one for _, one in refused if "too little" in one["why"] or "cannot be read" in one["why"]]
        then = [ask.command(f"--force {ask.target}")] if len(forced) == len(refused) else []
        return no(f"REFUSED  {plural(len(refused), 'container')} cannot be {ask.done}", *then)
    if not data["acting"] and not data["same"]:
        stopped = any("--also-stopped" in one["why"] for matches in found.values() for one in matches)
        return no(f"NOT DONE  nothing that is called {ask.target} can be {ask.done}", *([ask.command("--also-stopped")] if stopped else []))
    count = sum(one["verdict"] == ACT for matches in found.values() for one in matches)
    left = sum(one["verdict"] == LEAVE for matches in found.values() for one in matches)
    head = f"PLAN  {plural(count, 'container')} on {plural(len(data['acting']), 'host')} to be {ask.done}"
    return report(ask, True, head + (f", {left} left alone" if left else ""), lines, detail, data, [])


def plan_verdict(matches: Iterable[Mapping[str, Any]]) -> str:
    verdicts = {one["verdict"] for one in matches}
    return next((word for verdict, word in ((REFUSE, "REFUSED"), (ACT, "PLANNED"), (SAME, "SAME"), (LEAVE, "LEFT ALONE")) if verdict in verdicts), "HAS NONE")


def unknown_name(ask: Ask, results: Results, no: Any) -> dict[str, Any]:
    """No host knows the name: the nearest names, and where a container of that name is that the cord does not cover."""
    known = sorted({str(word) for one in results.values() for word in (one or {}).get("known", [])})
    near = nearest(ask.target, known)
    elsewhere = [clean(host, 30) for host, one in results.items() if (one or {}).get("elsewhere")]
    more = ["Did you mean: " + ", ".join(clean(n, 60) for n in near) + "?" if near else "Known names: " + clean(", ".join(known) or "none", 300)]
    if elsewhere:
        more = wrapped(f"A container of that name is on {', '.join(elsewhere)}, but the cord does not cover it (andon_selectors, andon_components).")
    head = f"FAILED  no host of {len(results)} has a component called {ask.target}"
    return no(head, *[f"andon restart {clean(n, 60)}" for n in near[:1]], more=more)


def match_words(one: Mapping[str, Any]) -> str:
    """One container in the plan."""
    health = f" ({one['health']})" if one.get("health") else ""
    used = (one.get("usage") or {}).get("working_set")
    words = f"{one['name']} {one['status']}{health}"
    if used is not None:
        words += f", {size(used)}"
    if one["verdict"] == REFUSE:
        return f"REFUSED  {words}: {one['why']}"
    if one["verdict"] == LEAVE:
        return f"left alone  {words}: {one['why']}"
    if one["verdict"] == SAME:
        return f"same  {words}: {one['why']}"
    if "new_memory" in one:
        now, then = limits.words(one["memory"], one["memory_swap"]), limits.words(one["new_memory"], one["new_swap"])
        return f"{words}; limit {now} -> {then}"
    return f"{words} [{one['by']}]"


def wrapped(words: str, width: int = WIDTH - 4) -> list[str]:
    return ["    " + line for line in textwrap.wrap(words, width)]


# The gate of one batch, and the report


def failing(results: Results) -> dict[str, str]:
    """The hosts whose batch did not pass, with why. A host without a result is one of them."""
    bad = {}
    for host, one in results.items():
        words = unknown(one)
        if words:
            bad[host] = "UNKNOWN  " + words
        elif one is not None and one.get("failed"):
            bad[host] = "FAILED  " + clean(one.get("msg", "failed"), 600)
    return bad


def left_out(results: Results, plan: Mapping[str, Any]) -> dict[str, str]:
    """The hosts where a container of the plan was not acted on, with which: it ended, or vanished, after the plan."""
    bad = {}
    for host, one in results.items():
        wanted = {match["name"] for match in plan["matches"].get(host, []) if match["verdict"] == ACT}
        missing = sorted(wanted - {done["name"] for done in (one or {}).get("containers", [])})
        if missing:
            bad[host] = f"UNKNOWN  {', '.join(missing)} was in the plan and was left out: it changed in between"
    return bad


def judge_act(ask: Ask, batch: Results, everything: Results, plan: Mapping[str, Any], kept: str) -> dict[str, Any]:
    """The report over all hosts of the plan, after a batch failed or at the end.

    Args:
        ask: what was asked.
        batch: the hosts that must have passed by now.
        everything: all hosts that the plan wants to act on; None where it was not reached yet.
        plan: the plan's data.
        kept: where the evidence is, "" for none.
    """
    bad = failing(batch) if ask.check else {**left_out(batch, plan), **failing(batch)}
    acted = {host: list((one or {}).get("containers", [])) for host, one in everything.items()}
    good = [host for host, one in everything.items() if one is not None and host not in bad]
    untouched = [host for host, one in everything.items() if one is None and host not in bad]
    lines, detail = [], []
    for host in everything:
        if host in bad:
            lines.append(host_line(host, bad[host]))
            detail += failure_lines(host, bad[host], acted[host])
        elif host in untouched:
            lines.append(host_line(host, "NOT TOUCHED"))
        else:
            lines += [host_line(host, f"HEALTHY  {one['name']} in {duration(one['seconds'])}: {one['words']}") for one in acted[host]]
    # In check mode the plan is the result.
    planned = (ACT, LEAVE, SAME) if ask.check else (LEAVE, SAME)
    lines += [host_line(host, match_words(one)) for host, matches in plan["matches"].items() for one in matches if one["verdict"] in planned]
    if not bad:
        detail += [f"{clean(host, 30)}: {line}" for host, matches in plan["matches"].items() for one in matches for line in one["warnings"]]
    if kept:
        detail.append(f"Evidence from before: {kept}")
    verdicts = {host: act_verdict(ask, host, bad, untouched) for host in everything}
    data = dict(plan, results=acted, evidence=kept, hosts={**plan.get("hosts", {}), **verdicts})
    count = sum(one["ok"] for results in acted.values() for one in results)
    if bad:
        head = f"FAILED  {len(good)}/{len(everything)} hosts {ask.done}, {len(bad)} failed, {len(untouched)} not touched"
        then = [f"andon restart {ask.target} --limit {clean(host, 30)}   (after the cause is gone)" for host in list(bad)[:1]]
        return report(ask, False, head, lines, detail, data, then)
    if ask.check and plan["acting"]:
        return report(ask, True, f"OK  would be {ask.done}: {plan_count(plan)}; nothing was changed", lines, detail, data, [])
    if not count:
        return report(ask, True, "OK  nothing to do: every limit is as asked", lines, detail, data, [])
    head = f"HEALTHY  {len(good)}/{len(everything)} hosts: {plural(count, 'container')} {ask.done}"
    return report(ask, True, head, lines, detail, data, [])


def act_verdict(ask: Ask, host: str, bad: Mapping[str, str], untouched: Iterable[str]) -> dict[str, str]:
    if host in bad:
        verdict, _, why = bad[host].partition("  ")
        return {"verdict": verdict, "why": why}
    return {"verdict": "NOT TOUCHED" if ask.check or host in untouched else "HEALTHY"}


def plan_count(plan: Mapping[str, Any]) -> str:
    count = sum(one["verdict"] == ACT for matches in plan["matches"].values() for one in matches)
    return f"{plural(count, 'container')} on {plural(len(plan['acting']), 'host')}"


def failure_lines(host: str, words: str, containers: Iterable[Mapping[str, Any]]) -> list[str]:
    """The whole reason and the failing containers' own last log lines."""
    lines = [f"{clean(host, 30)}:", *wrapped(words)]
    for one in containers:
        if not one["ok"]:
            lines.append(f"  last log lines of {clean(one['name'], 60)} on {clean(host, 30)}:" if one["lines"] else f"  {one['name']} has no log lines")
            lines += ["    | " + clean(line, 200) for line in one["lines"]]
    return lines
