"""Which layer to a venue is broken, and from where: the bastion's look and every component's, compared. Pure; Python 3.11.

A place is the bastion, or a component as HOST/NAME. Each place stops at its first broken layer; places that stop at the same layer are
one finding. What the host itself gets through, and its container does not, is the container's own trouble.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import report as form
from .text import clean, plural
from .venue_words import BAD, OK, UNKNOWN

SHARED = ("DNS", "TCP", "TLS", "public")
COLUMNS = (*SHARED, "clock", "private")
SKEW = 1.0  # seconds, as venues.SKEW (which imports what a report need not load)
DATE = 1.0  # seconds: an answer's Date has no fractions, and was written some time before it came
THEIRS = ("5xx", "maintenance")
WHAT = {
    "5xx": "the venue's own error",
    "maintenance": "maintenance at the venue",
    "rate limit": "rate limit: asked too often",
    "refused": "it refuses this address",
    "certificate": "the certificate is refused",
    "no answer": "no answer in time",
    "key": "the key is refused",
}


def stops_at(layers: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first broken layer of a look; the bastion's state call counts as the public one, unless that works."""
    broken = {one["layer"]: one for one in layers if one["outcome"] == "broken"}
    fine = {one["layer"] for one in layers if one["outcome"] == "ok"}
    if "state" in broken and "public" not in fine and "public" not in broken:
        broken["public"] = {**broken["state"], "layer": "public"}
    return next((broken[layer] for layer in SHARED if layer in broken), None)


class Judge:
    """One venue's findings.

    Args:
        facts: the bastion's (venue_probe.rows has the form).
        hosts: {host: what the module venue_reach returned, or why there is nothing (str)}; there may be `liveness` beside it,
            {component: what its adapter says of itself}, whose `data` is [{fact, ok, words}].
    """

    def __init__(self, facts: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any] | str]) -> None:
        self.facts = facts
        self.name = str(facts["name"])
        self.hosts = hosts
        self.rows: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for host, one in hosts.items():
            for row in [] if isinstance(one, str) else one["components"]:
                if row["venue"] == self.name:
                    self.rows["%s/%s" % (clean(host, 30), clean(row["name"], 40))] = (host, row)
        self.findings: list[dict[str, Any]] = []

    def add(self, verdict: str, line: str, *, layer: str = "", kind: str = "", where: Iterable[str] = (), then: Iterable[str] = ()) -> None:
        self.findings.append({"verdict": verdict, "line": line, "layer": layer, "kind": kind, "where": list(where), "next": list(then)})

    def again(self, more: str = "") -> str:
        return "andon venue check --venue %s%s" % (self.name, more)

    def look(self) -> None:
        """Fills the findings, the most telling first."""
        self._layers()
        self._components_down()
        self._own_words()
        self._clock()
        self._bastion_only()
        self._unknown()

    # The layers that all places have

    def _layers(self) -> None:
        at: dict[str, dict[str, Mapping[str, Any]]] = {}
        bastion = stops_at(self.facts["layers"])
        if bastion:
            at.setdefault(bastion["layer"], {})["bastion"] = bastion
        looked = {place: row for place, (_, row) in self.rows.items() if row["layers"]}
        for place, row in looked.items():
            broken = stops_at(row["layers"])
            if broken:
                at.setdefault(broken["layer"], {})[place] = {**broken, "kind": row["kind"]}
        for layer in SHARED:
            if layer in at:
                self._broken(layer, at[layer], looked)

    def _broken(self, layer: str, at: Mapping[str, Mapping[str, Any]], looked: Mapping[str, Any]) -> None:
        inside = [place for place in at if place != "bastion"]
        kind = next((one["kind"] for one in at.values() if one.get("kind")), "")
        what = "%s broken" % layer + (" (%s)" % WHAT[kind] if kind in WHAT else "")
        seen = bool(self.facts["layers"])
        if "bastion" in at and len(inside) == len(looked):
            if not looked:
                line, then = "%s from the bastion; from the components it is not known" % what, ["andon health   (is it the network?)"]
            else:
                line = "%s from everywhere: the bastion and %d/%s" % (what, len(inside), plural(len(looked), "component"))
                then = self._theirs(kind)
            self.add(BAD, line, layer=layer, kind=kind, where=at, then=then)
            return
        if "bastion" in at:
            line = "%s only from the bastion; %d/%s get through" % (what, len(looked) - len(inside), plural(len(looked), "component"))
            if inside:
                line = "%s from the bastion and inside %s" % (what, ", ".join(inside))
            self.add(
                BAD, line, layer=layer, kind=kind, where=at, then=self._theirs(kind) if kind else ["the bastion's own way out; trading is not touched by it"]
            )
            return
        if len(inside) == len(looked) and len(inside) > 1:
            beside = "not from the bastion" if seen else "the bastion did not look"
            line = "%s inside every component (%d/%d), %s" % (what, len(inside), len(looked), beside)
            self.add(BAD, line, layer=layer, kind=kind, where=inside, then=self._way_out(layer, kind))
            return
        for host in dict.fromkeys(self.rows[place][0] for place in inside):
            self._on_host(host, layer, what, kind, [place for place in inside if self.rows[place][0] == host])

    def _on_host(self, host: str, layer: str, what: str, kind: str, places: list[str]) -> None:
        one = self.hosts[host]
        own = {} if isinstance(one, str) else one["host"].get(self.name) or {}
        broken = stops_at(own.get("layers") or [])
        if broken and broken["layer"] == layer:
            line = "%s on %s as a whole, and so in %s" % (what, clean(host, 30), ", ".join(places))
            self.add(BAD, line, layer=layer, kind=kind, where=places, then=self._way_out(layer, kind, host))
            return
        passes = "; %s itself gets through" % clean(host, 30) if own.get("layers") and not broken else ""
        line = "%s only inside %s%s" % (what, ", ".join(places), passes)
        then = [self.again(" --restart-adapter")] if layer in ("DNS", "TCP") else ["look at the container's own certificates and clock"]
        if kind:
            then = self._theirs(kind)
        self.add(BAD, line, layer=layer, kind=kind, where=places, then=then)

    def _theirs(self, kind: str) -> list[str]:
        if kind in THEIRS:
            return ["the exchange's status page; a restart does not help", self.again()]
        if kind == "rate limit":
            return ["wait a minute, and look what asks so often: andon logs", self.again()]
        if kind == "refused":
            return ["the key's list of allowed addresses, and the exchange's rules for this region"]
        return ["the exchange's status page, then your own way out: andon health", self.again()]

    def _way_out(self, layer: str, kind: str, host: str = "") -> list[str]:
        if kind in (*THEIRS, "rate limit", "refused"):
            return self._theirs(kind)
        where = host or "HOST"
        tool = {"DNS": "cat /etc/resolv.conf", "TCP": "ip route; sudo iptables -S FORWARD", "TLS": "date; openssl version", "public": "date"}[layer]
        return ["ssh %s '%s'   (the name servers, the route, the firewall)" % (clean(where, 60), tool), self.again()]

    # What only some places have

    def _components_down(self) -> None:
        for place, (_, row) in self.rows.items():
            if row["status"] != "running":
                then = [self.again(" --restart-adapter")] if row["component"] == "adapter" else ["andon restart %s" % clean(row["name"], 60)]
                self.add(BAD, "%s does not run (%s)" % (place, clean(row["status"], 20)), layer="process", kind="down", where=[place], then=then)
            elif row.get("reconnected") is False:
                self.add(BAD, "%s did not reconnect in time" % place, layer="connection", kind="down", where=[place], then=["andon logs"])

    def liveness(self, place: str) -> list[Mapping[str, Any]]:
        """What a component says of itself; only through its adapter its own private calls are seen."""
        host, row = self.rows[place]
        one = self.hosts[host]
        said = {} if isinstance(one, str) else (one.get("liveness") or {}).get(row["name"]) or {}
        return [fact for fact in said.get("data") or [] if isinstance(fact, dict)]

    def _own_words(self) -> None:
        for place in self.rows:
            for fact in self.liveness(place):
                if fact.get("ok") is False:
                    line = "%s says of itself: %s: %s" % (place, clean(fact.get("fact"), 30), clean(fact.get("words"), 120))
                    self.add(BAD, line, layer="private", kind="liveness", where=[place], then=["andon logs", self.again(" --restart-adapter")])

    def skew(self, host: str, row: Mapping[str, Any]) -> tuple[float | None, float]:
        """The venue's clock less a component's (which is its host's), and how far it may be wrong, in seconds.

        Through the bastion where both ways were measured; else by the answer's Date.
        """
        one = self.hosts[host]
        clock = {} if isinstance(one, str) else one.get("clock") or {}
        if self.facts["skew"] is not None and clock:
            return self.facts["skew"] - clock["offset"], clock["uncertainty"]
        return row["skew"], DATE

    def _clock(self) -> None:
        wrong: dict[str, float] = {}
        known = 0
        for place, (host, row) in self.rows.items():
            skew, uncertain = self.skew(host, row)
            known += skew is not None
            if skew is not None and abs(skew) - uncertain > SKEW:
                wrong[place] = skew
        off = any(one["layer"] == "clock" and one["outcome"] == "broken" for one in self.facts["layers"])
        if off:
            wrong = {"bastion": self.facts["skew"], **wrong}
        if not wrong:
            return
        # The bastion is one place; the components' clocks are their hosts'.
        every = off and known > 0 and len(wrong) == 1 + known
        place, skew = next(iter(wrong.items()))
        line = "clock: the venue is %.1f s %s %s" % (
            abs(skew or 0),
            "ahead of" if (skew or 0) > 0 else "behind",
            "everywhere here: it is the venue's clock" if every else ", ".join(wrong),
        )
        then = ["the time service of %s: chronyc tracking" % ", ".join(sorted({one.split("/")[0] for one in wrong}))]
        self.add(BAD, line, layer="clock", kind="clock", where=wrong, then=["the exchange's status page"] if every else then)

    def _bastion_only(self) -> None:
        by = {one["layer"]: one for one in self.facts["layers"] if one["outcome"] == "broken"}
        kinds = {one["kind"] for one in self.findings}
        state, private = by.get("state"), by.get("private")
        if state and not any(one["layer"] == "public" for one in self.findings):
            self.add(BAD, "state: %s" % clean(state["words"], 120), layer="state", kind=state["kind"], where=["bastion"], then=self._theirs(state["kind"]))
        if private and private["kind"] not in kinds:
            what = WHAT.get(private["kind"], clean(private["words"], 120))
            then = ["andon guide exchange-lost   (its step on credentials)"] if private["kind"] == "key" else self._theirs(private["kind"])
            self.add(BAD, "private call broken from the bastion: %s" % what, layer="private", kind=private["kind"], where=["bastion"], then=then)

    def _unknown(self) -> None:
        if self.facts["why"]:
            then = self.again() if self.facts["url"] else "correct andon_venues (docs/venues.md)"
            self.add(UNKNOWN, "the bastion: %s" % clean(self.facts["why"], 200), where=["bastion"], then=[then])
        elif not self.findings and any(one["outcome"] != "ok" for one in self.facts["layers"]):
            left = [one["layer"] for one in self.facts["layers"] if one["outcome"] != "ok"]
            self.add(UNKNOWN, "the bastion did not get to: %s" % ", ".join(left), where=["bastion"], then=[self.again()])
        for host, one in self.hosts.items():
            if isinstance(one, str):
                self.add(UNKNOWN, "%s: %s" % (clean(host, 30), clean(one, 160)), where=[host], then=["andon status"])
        for place, (_, row) in self.rows.items():
            if row["status"] == "running" and row["why"]:
                self.add(UNKNOWN, "%s: %s" % (place, clean(row["why"], 160)), where=[place], then=[self.again()])
            elif row.get("reconnected", True) is None:
                line = "%s: its way is open, and no connection of its own was seen" % place
                self.add(UNKNOWN, line, layer="connection", where=[place], then=["andon logs   (does it say that it is connected?)"])
        if not self.rows and self.facts["url"] and not any(isinstance(one, str) for one in self.hosts.values()):
            words = "no component belongs to it (label andon.venue=%s, or venue in andon_components)" % self.name
            self.add(UNKNOWN, words, where=[], then=["label the adapter, then: %s" % self.again()])


def judge(facts: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any] | str]) -> dict[str, Any]:
    """The verdict on one venue.

    Returns:
        {name, verdict (OK, NOT OK, UNKNOWN), line (what is broken, and from where), next: [commands], findings, adapters: [names]}.
    """
    one = Judge(facts, hosts)
    one.look()
    one.findings.sort(key=lambda finding: finding["verdict"] != BAD)
    places = "the bastion and %s" % plural(len(one.rows), "component")
    verdict = one.findings[0]["verdict"] if one.findings else OK
    line = one.findings[0]["line"] if one.findings else "every layer is open from %s" % places
    if len(one.findings) > 1:
        line += " (+%d more)" % (len(one.findings) - 1)
    then = list(dict.fromkeys(word for finding in one.findings for word in finding["next"]))
    adapters = sorted({row["name"] for _, row in one.rows.values() if row["component"] == "adapter"})
    return {"name": one.name, "verdict": verdict, "line": line, "next": then, "findings": one.findings, "adapters": adapters}


# The report


def mark(layers: Iterable[Mapping[str, Any]], layer: str) -> str:
    return next(({"ok": "ok", "broken": "BROKEN"}.get(one["outcome"], "-") for one in layers if one["layer"] == layer), "-")


def table_line(place: str, layers: list[Mapping[str, Any]], columns: Iterable[str] = COLUMNS) -> str:
    return "%-22s %s" % (clean(place, 22), "  ".join("%s %s" % (layer, mark(layers, layer)) for layer in columns))


def report(all_facts: list[dict[str, Any]], hosts: Mapping[str, Mapping[str, Any] | str], done: Iterable[str] = (), left: Iterable[str] = ()) -> dict[str, Any]:
    """The andon_report over all venues. done: lines on what was restarted. left: hosts that --limit left out."""
    verdicts = [judge(facts, hosts) for facts in all_facts]
    good = [one for one in verdicts if one["verdict"] == OK]
    if len(verdicts) == 1:
        head = "%s  %s: %s" % (verdicts[0]["verdict"], verdicts[0]["name"], verdicts[0]["line"])
    else:
        head = "%d/%s OK" % (len(good), plural(len(verdicts), "venue"))
        head += "".join(", %s %s: %s" % (one["name"], one["verdict"], one["line"]) for one in verdicts if one not in good)
    summary, detail = list(done), ["--limit left out: %s" % clean(", ".join(left), 200)] if list(left) else []
    for facts, one in zip(all_facts, verdicts, strict=True):
        looks = Judge(facts, hosts)
        summary += ["%-8s %s: %s" % (finding["verdict"], one["name"], finding["line"]) for finding in one["findings"]]
        summary.append(table_line("%s bastion" % one["name"], facts["layers"]))
        summary += [table_line(place, row["layers"], SHARED) for place, (_, row) in looks.rows.items()]
        detail += details(looks)
    then = list(dict.fromkeys(word for one in verdicts for word in one["next"]))[:6]
    data = {"venues": [{**one, "bastion": facts} for facts, one in zip(all_facts, verdicts, strict=True)], "hosts": host_verdicts(hosts)}
    return form.make("check_venue", bool(verdicts) and len(good) == len(verdicts), head, folded(summary), detail, data, then)


def folded(lines: list[str]) -> list[str]:
    from .rolling import folded as fold

    found = [part for line in lines for part in fold(line)]
    return found if len(found) <= 20 else [*found[:19], "... and %d more lines (in --json)" % (len(found) - 19)]


def details(judge_: Judge) -> list[str]:
    """What each layer said, and what was not shown."""
    facts, rows = judge_.facts, judge_.rows
    name = clean(facts["name"], 20)
    lines = ["%s: public call %s" % (name, clean(facts["url"], 120) or "not known")]
    lines += ["%-22s %-8s %-9s %s" % ("bastion", one["layer"], one["outcome"], clean(one["words"], 160)) for one in facts["layers"]]
    for place, (host, row) in rows.items():
        lines += ["%-22s %-8s %-9s %s" % (clean(place, 40), one["layer"], one["outcome"], clean(one["words"], 160)) for one in row["layers"]]
        health = ", health check: %s" % clean(row["health"], 20) if row["health"] else ""
        lines.append("%-22s %s%s; %s; clock %s" % (clean(place, 40), clean(row["status"], 20), health, held(row), skew_words(*judge_.skew(host, row))))
        if row["network"] == "host":
            lines.append("%-22s it has the host's network" % clean(place, 40))
        if row["proxy"]:
            lines.append("%-22s its environment names a proxy: the way through it was not tried" % clean(place, 40))
    for place in rows:
        lines += ["%-22s says %s: %s" % (clean(place, 40), clean(one.get("fact"), 30), clean(one.get("words"), 120)) for one in judge_.liveness(place)]
    if any(not judge_.liveness(place) for place in rows):
        lines.append("%s: the private call was made from the bastion only; from the components it is not shown (the keys are theirs)" % name)
    return lines


def held(row: Mapping[str, Any]) -> str:
    return "its open connections to the venue: %s" % ("?" if row["connections"] is None else row["connections"])


def skew_words(skew: float | None, uncertain: float) -> str:
    return "not known" if skew is None else "%+.1f s (known to %.1f s)" % (skew, uncertain)


def host_verdicts(hosts: Mapping[str, Mapping[str, Any] | str]) -> dict[str, dict[str, str]]:
    """For the journal: one verdict per host."""
    found = {}
    for host, one in hosts.items():
        if isinstance(one, str):
            found[host] = {"verdict": UNKNOWN, "why": clean(one, 200)}
        else:
            bad = [row for row in one["components"] if row["status"] != "running" or stops_at(row["layers"]) or row["why"]]
            found[host] = {"verdict": BAD if bad else OK}
    return found
