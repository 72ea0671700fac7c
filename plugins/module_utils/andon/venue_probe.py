"""How far the bastion gets with a venue, layer by layer: name, TCP, TLS, state, public call, clock, private call. Bastion only.

Runs in venue_runner's process. It goes on after a layer that fails wherever the next one can still say something, and puts a name on
each trouble (KINDS): a wrong key, a wrong clock, a rate limit and a broken venue need four different answers.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from . import reach, venue_way
from .text import clean
from .venue_way import BROKEN, OK, SKIPPED
from .venues import SKEW, Clock, ConfigError, Desk, OutOfTime, Run, Venue, _leaves

LAYERS = ("DNS", "TCP", "TLS", "state", "public", "clock", "private")
STREAMS_MOST = 8  # each is one more name to look up
# A trouble's kind, and what it is in an operator's words.
KINDS = {
    "key": "the key is refused",
    "clock": "the clocks differ",
    "rate limit": "rate limit",
    "5xx": "the venue's own error",
    "maintenance": "maintenance at the venue",
    "no answer": "no answer",
    "connection": "the connection breaks",
    "answer": "an answer that is no answer",
}


def kind_of(error: BaseException) -> str:
    """The kind (see KINDS) of what ccxt raised.

    The order matters: InvalidNonce, RateLimitExceeded and DDoSProtection are NetworkErrors in ccxt, and RateLimitExceeded is no DDoSProtection.
    """
    import ccxt

    kinds = (
        (ccxt.InvalidNonce, "clock"),
        (ccxt.AuthenticationError, "key"),
        ((ccxt.RateLimitExceeded, ccxt.DDoSProtection), "rate limit"),
        (ccxt.OnMaintenance, "maintenance"),
        ((ccxt.RequestTimeout, OutOfTime), "no answer"),
    )
    for wanted, kind in kinds:
        if isinstance(error, wanted):
            return kind
    if isinstance(error, ccxt.ExchangeNotAvailable):
        # ccxt says this for a broken connection, too; only the venue's own answer has a status.
        return "5xx" if _status(error) else "connection"
    if isinstance(error, (ccxt.NetworkError, OSError)):
        return "5xx" if _status(error) else "connection"
    return "answer"


def _status(error: BaseException) -> bool:
    return any(" %d " % status in " %s " % error for status in range(500, 600))


class Captured(Exception):
    """Instead of a request: where it would have gone."""


def address_of(client: Any, method: str) -> tuple[str, str]:
    """Where a method of ccxt's client would send its first request. Nothing is sent.

    Returns:
        (HTTP method, URL); ("", "") if it does not get that far.
    """
    send = client.fetch

    def caught(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> None:
        raise Captured(method, url)

    client.fetch = caught
    try:
        getattr(client, method)()
    except Captured as found:
        return found.args
    except Exception:
        return "", ""  # not supported there, or it needs the markets first: the caller has another address
    finally:
        client.fetch = send
    return "", ""


def public_call(client: Any) -> tuple[str, bool]:
    """The address of a venue's cheapest public call, for those who have no ccxt.

    Returns:
        (URL, True), or (scheme and host, False) where the call is no plain GET.
    """
    for name, method in (("fetchTime", "fetch_time"), ("fetchStatus", "fetch_status")):
        if client.has.get(name) is True:
            verb, url = address_of(client, method)
            if verb == "GET":
                return url, True
            if url:
                parts = urlsplit(url)
                return "%s://%s/" % (parts.scheme, parts.netloc), False
    parts = urlsplit(client.implode_hostname(next(iter(_leaves(client.urls["api"])))))
    return "%s://%s/" % (parts.scheme, parts.netloc), False


def streams(venue: Venue) -> list[str]:
    """HOST:PORT of an exchange's streams as ccxt knows them: an adapter's lasting connections lead there, and not to the public call's host.

    None for a venue whose addresses were replaced (a simulator has no streams), and none where ccxt's part for streams is not there.
    """
    if venue.urls:
        return []
    try:
        import ccxt.pro

        client = getattr(ccxt.pro, venue.exchange)()
        found = [urlsplit(client.implode_hostname(url)) for url in _leaves(client.urls["api"].get("ws") or {})]
        return sorted({"%s:%d" % (one.hostname, one.port or (443 if one.scheme == "wss" else 80)) for one in found if one.hostname})[:STREAMS_MOST]
    except (ImportError, AttributeError, KeyError, ValueError):
        return []


class _System:
    """This machine's own name lookup, in the form of netns.Names."""

    @staticmethod
    def find(host: str, deadline: float) -> list[str]:
        return sorted({str(one[4][0]) for one in reach.resolve(host, 0, deadline)})


def blank(name: str, venue: Venue | None) -> dict[str, Any]:
    """A venue's facts before anything is known."""
    return {
        "name": name,
        "exchange": venue.exchange if venue else "",
        "url": "",
        "exact": False,
        "streams": [],
        "layers": [],
        "skew": None,
        "why": "nothing came back",
    }


class Probe:
    """One venue, once."""

    def __init__(self, desk: Desk, facts: dict[str, Any]) -> None:
        self.desk = desk
        self.facts = facts

    def say(self, layer: str, words: str, outcome: str = OK, kind: str = "") -> None:
        self.facts["layers"].append({"layer": layer, "outcome": outcome, "words": clean(words, 200), "kind": kind})

    def run(self) -> None:
        """Fills the facts as it goes, and never raises."""
        try:
            from .venues import connect

            self.desk.client = connect(self.desk.venue)
            self.facts["url"], self.facts["exact"] = public_call(self.desk.client)
            self.facts["why"] = ""
            self.facts["streams"] = streams(self.desk.venue)
            self._layers()
        except ConfigError as error:
            self.facts["why"] = clean(error, 200)
        except Exception as error:  # whatever a venue or ccxt does: the others' facts must stand
            self.facts["why"] = self.desk.words(error)

    def _layers(self) -> None:
        deadline = min(self.desk.venue.timeout_s, max(self.desk.clock.left(), 0.1))
        has = self.desk.client.has
        own_call = has.get("fetchTime") is True
        seen = venue_way.look(self.facts["url"], self.facts["exact"], _System(), deadline, ssl.create_default_context(), public=not own_call)
        for one in seen["layers"]:
            if one["outcome"] != SKIPPED:
                self.say(one["layer"], one["words"], one["outcome"], seen["kind"] if one["outcome"] == BROKEN else "")
        if any(one["outcome"] == BROKEN and one["layer"] != "public" for one in seen["layers"]):
            return
        if has.get("fetchStatus") is True:
            self._state()
        self._public() if own_call else self._clock(seen["skew"], 1.5)
        if not any(one["kind"] in ("rate limit", "no answer", "connection") for one in self.facts["layers"]):
            self._private()

    def _call(self, method: str) -> Any:
        """One read; asked again once only where a connection broke. Raises what ccxt raises."""
        try:
            return self.desk.ask(method)
        except Exception as error:
            if kind_of(error) != "connection":
                raise
        return self.desk.ask(method)

    def _failed(self, layer: str, error: BaseException) -> None:
        kind = kind_of(error)
        words = "no time was left for it" if isinstance(error, OutOfTime) else self.desk.words(error)
        self.say(layer, "%s (%s)" % (KINDS[kind], words), BROKEN, kind)

    def _state(self) -> None:
        try:
            state = clean(self._call("fetch_status").get("status"), 30)
        except Exception as error:
            self._failed("state", error)
            return
        self.say("state", "the venue says %s" % state, OK if state == "ok" else BROKEN, "" if state == "ok" else "maintenance")

    def _public(self) -> None:
        if any(one["kind"] in ("rate limit", "no answer") for one in self.facts["layers"]):
            return
        try:
            sent = time.time()
            theirs = self._call("fetch_time")
            # Half of the round trip lies before their clock was read.
            skew = theirs / 1000 - (sent + time.time()) / 2
        except Exception as error:
            self._failed("public", error)
            return
        self.say("public", "answers in %d ms" % (1000 * (time.time() - sent)))
        self._clock(round(skew, 3), SKEW)

    def _clock(self, skew: float | None, bound: float) -> None:
        self.facts["skew"] = skew
        if skew is None:
            return
        wrong = abs(skew) > bound
        words = "the venue's clock is %.1f s %s this bastion's" % (abs(skew), "ahead of" if skew > 0 else "behind")
        self.say("clock", words, BROKEN if wrong else OK, "clock" if wrong else "")

    def _private(self) -> None:
        try:
            self.desk.open()  # with the markets of an earlier run where they are young enough
            self._call("fetch_balance")
        except ConfigError as error:
            self.say("private", "not tried: %s" % error, BROKEN, "configuration")
            return
        except Exception as error:
            self._failed("private", error)
            return
        self.say("private", "a private read is answered: the key is good from this bastion's address")


def _finish(facts: dict[str, Any]) -> dict[str, Any]:
    """Adds the layers that were not tried, in order; one entry per layer, the first broken one of several."""
    best: dict[str, dict[str, Any]] = {}
    for one in facts["layers"]:
        if one["layer"] not in best or best[one["layer"]]["outcome"] != BROKEN:
            best[one["layer"]] = one
    plain = facts["url"].startswith("http://")
    order = [layer for layer in LAYERS if layer in best or (layer not in ("TLS", "state") or (layer == "TLS" and not plain and facts["url"]))]
    facts["layers"] = [best.get(layer) or {"layer": layer, "outcome": SKIPPED, "words": "", "kind": ""} for layer in order]
    return facts


def rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The facts of each venue: {name, exchange, url, exact, layers: [{layer, outcome, words, kind}], skew, why}.

    Args:
        job: config (andon_venues), only (one venue's name, or ""), budget (seconds for all together).

    Raises:
        ConfigError: as venues.Run.
    """
    run = Run(job["config"], environ=os.environ, only=job.get("only") or "")
    clock, found, threads = Clock(float(job["budget"])), {}, {}
    for name, one in run.entries:
        found[name] = blank(name, one if isinstance(one, Venue) else None)
        if isinstance(one, ConfigError):
            found[name]["why"] = clean(one, 200)
            continue
        desk = run.desks[name]
        desk.clock = clock
        threads[name] = threading.Thread(target=Probe(desk, found[name]).run, name=name, daemon=True)
        threads[name].start()
    for name, thread in threads.items():
        thread.join(max(clock.left(), 0))
        if thread.is_alive():
            late = {**found[name], "layers": list(found[name]["layers"])}
            late["why"] = "no answer within %g s" % float(job["budget"])
            found[name] = late
    return [_finish(facts) for facts in found.values()]
