"""Venues: what rests at an exchange account, cancelled with proof; positions and what protects them. Bastion only, Python 3.11.

ccxt is an extra (requirements-venues.lock) and is imported only where a venue is asked. Nothing here trusts what a venue says
that it did: the only proof is a list that the venue gives afterwards. What ccxt's answers are worth, and which exception means
what, was tried out against simulated venues (Binance's returned one order object full of None for a cancel of everything;
a cancel that was answered with 200 left the order resting).
"""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .state import state_dir, utc_now, write_atomic
from .text import clean, nearest, plural, valid_id
from .venue_words import BAD, CANCELLED, NO_POSITIONS, NOT_CANCELLED, OK, REFUSED, UNKNOWN, WOULD_CANCEL

BUDGET = 10.0  # seconds for all venues together
TIMEOUT = 4.0  # seconds for one request: two of them fit into the budget
MARKETS_AGE = 7 * 86400.0  # seconds: a venue's market list is used that long without asking for it again
SETTLE = 1.0  # seconds: a request that a killed strategy had sent may arrive that much later
SKEW = 1.0  # seconds: Binance refuses a clock that is 1 s ahead, bybit one that is 1 s ahead or 5 s behind
ROUNDS = 3  # how often orders that appeared in the meantime are gone after, within one pass
CHUNK = 10  # ids in one batch: bybit's and Binance's limit for futures

# Option in the inventory -> ccxt's name. Each may also be given as <name>_env: the name of an environment variable.
CREDENTIALS = {
    "api_key": "apiKey",
    "secret": "secret",
    "password": "password",
    "uid": "uid",
    "wallet_address": "walletAddress",
    "private_key": "privateKey",
}
KEYS = ("name", "ccxt", "account", "credentials", "symbols", "sections", "prefix", "options", "timeout_s", "urls", "keep_stops")
# How to turn the page of open orders: the field in an order's raw data, the parameter, the most pages. ccxt's own `paginate` is not used:
# in 4.5.90 it cuts what it gathered down to one page, and answers errors within by asking again. Elsewhere a full page is UNKNOWN.
CURSORS = {"bybit": ("nextPageCursor", "cursor")}
PAGES = 40
# There a cancel of everything ignores the symbol: all orders of the account go (read in ccxt 4.5.90).
BULK_IGNORES_SYMBOL = ("kraken",)


class ConfigError(ValueError):
    """andon_venues is wrong: what, in an operator's words. Nothing was sent to that venue."""


class OutOfTime(Exception):
    """The budget is used up."""


class Broken(Exception):
    """The way to the venue is broken; the message says at which layer."""


@dataclass(frozen=True)
class Venue:
    """One exchange account, checked.

    Attributes:
        exchange: ccxt's id. account: words for people. credentials: ccxt's names and values, never shown.
        symbols: ccxt's unified symbols; asked one by one. sections: ccxt params, one listing each.
        prefix: our client order ids begin with it; all others are foreign and never touched.
        timeout_s: seconds per request. urls: another base address (a simulator). keep_stops: leave reduce-only conditional orders.
    """

    name: str
    exchange: str
    account: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    symbols: tuple[str, ...] = ()
    sections: tuple[Mapping[str, Any], ...] = ({},)
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = TIMEOUT
    urls: str = ""
    keep_stops: bool = True


def _need(good: bool, words: str) -> None:
    if not good:
        raise ConfigError(words)


def _credentials(given: Any, environ: Mapping[str, str]) -> dict[str, str]:
    _need(isinstance(given, Mapping), "credentials must be a mapping (api_key_env: NAME, secret_env: NAME, ...)")
    found: dict[str, str] = {}
    for key, value in given.items():
        base = str(key).removesuffix("_env")
        near = nearest(base, CREDENTIALS)
        _need(base in CREDENTIALS, "credentials.%s is unknown%s" % (clean(key, 40), "; did you mean %s?" % near[0] if near else ""))
        _need(isinstance(value, str) and value != "", "credentials.%s is empty" % key)
        if str(key).endswith("_env"):
            _need(bool(environ.get(value)), "credentials.%s: the environment variable %s is not set" % (key, clean(value, 60)))
            value = environ[value]
        found[CREDENTIALS[base]] = str(value)
    return found


def parse(one: Any, environ: Mapping[str, str]) -> Venue:
    """One entry of andon_venues, checked.

    Args:
        one: the entry as Ansible gives it. environ: where <credential>_env is looked up.

    Raises:
        ConfigError: says what is wrong with which key.
    """
    _need(isinstance(one, Mapping), "an entry of andon_venues must be a mapping")
    for key in one:
        near = nearest(key, KEYS)
        _need(key in KEYS, "the key '%s' is unknown%s" % (clean(key, 40), "; did you mean %s?" % near[0] if near else ""))
    _need(valid_id(one.get("name")), "name is missing or has other characters than letters, digits, dot, _ and -")
    _need(valid_id(one.get("ccxt")), "ccxt is missing: the exchange's id in ccxt, for example bybit")
    symbols, sections = one.get("symbols") or [], one.get("sections") or []
    _need(isinstance(symbols, (list, tuple)) and all(isinstance(s, str) and s for s in symbols), "symbols must be a list of ccxt's symbols")
    _need(isinstance(sections, (list, tuple)) and all(isinstance(s, Mapping) for s in sections), "sections must be a list of mappings of ccxt's params")
    # Otherwise an empty list of futures would be taken for an account without spot orders.
    _need(bool(symbols) or bool(sections), "name what is to be looked at: symbols or sections (sections: [{type: swap}, {type: spot}])")
    timeout = one.get("timeout_s", TIMEOUT)
    _need(isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout <= 60, "timeout_s must be a number of seconds up to 60")
    options, urls, prefix, keep = one.get("options") or {}, one.get("urls") or "", one.get("prefix") or "", one.get("keep_stops", True)
    _need(isinstance(options, Mapping), "options must be a mapping of ccxt's options")
    _need(isinstance(urls, str) and (not urls or urlsplit(urls).scheme in ("http", "https")), "urls must be one address: http://HOST:PORT")
    _need(isinstance(prefix, str), "prefix must be text")
    _need(isinstance(keep, bool), "keep_stops must be true or false")
    return Venue(
        name=str(one["name"]),
        exchange=str(one["ccxt"]),
        account=clean(one.get("account") or "", 60),
        credentials=_credentials(one.get("credentials") or {}, environ),
        symbols=tuple(str(s) for s in symbols),
        sections=tuple(dict(s) for s in sections) or ({},),
        prefix=str(prefix),
        options=dict(options),
        timeout_s=float(timeout),
        urls=str(urls),
        keep_stops=keep,
    )


def parse_all(config: Any, environ: Mapping[str, str] = os.environ) -> list[tuple[str, Venue | ConfigError]]:
    """All entries with their names; a bad one does not take the others with it.

    Raises:
        ConfigError: it is not a list, or two entries have one name.
    """
    _need(isinstance(config, (list, tuple)), "andon_venues must be a list")
    found: list[tuple[str, Venue | ConfigError]] = []
    for number, one in enumerate(config, 1):
        name = one.get("name") if isinstance(one, Mapping) else None
        name = str(name) if valid_id(name) else "entry %d" % number
        _need(name not in [n for n, _ in found], "two entries of andon_venues are called %s" % name)
        try:
            found.append((name, parse(one, environ)))
        except ConfigError as error:
            found.append((name, error))
    return found


# The client


def _leaves(urls: Any) -> Iterable[str]:
    if isinstance(urls, Mapping):
        for value in urls.values():
            yield from _leaves(value)
    elif isinstance(urls, str):
        yield urls


def _rebase(urls: Any, base: str) -> Any:
    """The same addresses with another scheme and host; their paths stay (gate nests dicts, bybit and okx have {hostname})."""
    if isinstance(urls, Mapping):
        return {key: _rebase(value, base) for key, value in urls.items()}
    if isinstance(urls, str) and "://" in urls:
        return base.rstrip("/") + "/".join([""] + urls.split("://", 1)[1].split("/")[1:])
    return urls


def loopback(url: str) -> bool:
    """True if an address can only lead to this machine."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def _fence(client: Any) -> None:
    """Under ANDON_VENUES_LOOPBACK (set for all tests) no request can leave this machine: checked now, and at each request."""
    bad = [url for url in _leaves(client.urls["api"]) if not loopback(url)]
    _need(not bad, "ANDON_VENUES_LOOPBACK is set and this address is elsewhere: %s" % clean(bad[0] if bad else "", 80))
    send = client.session.request

    def request(method: str, url: str, **more: Any) -> Any:
        _need(loopback(url), "ANDON_VENUES_LOOPBACK is set and a request went to %s" % clean(urlsplit(url).hostname, 80))
        return send(method, url, allow_redirects=False, **more)

    client.session.request = request


def connect(venue: Venue) -> Any:
    """ccxt's client of a venue; nothing is sent yet.

    Raises:
        ConfigError: ccxt is not installed or does not know the exchange, a credential is missing, or an address is not allowed.
    """
    try:
        import ccxt
    except ImportError as error:
        raise ConfigError("ccxt is not installed on the bastion: pip install --require-hashes -r requirements-venues.lock") from error
    if venue.exchange not in ccxt.exchanges:
        near = ", ".join(nearest(venue.exchange, ccxt.exchanges))
        words = "ccxt %s has no exchange '%s'" % (ccxt.__version__, clean(venue.exchange, 40))
        raise ConfigError(words + ("; did you mean %s?" % near if near else ""))
    options = {"warnOnFetchOpenOrdersWithoutSymbol": False, **venue.options}
    client = getattr(ccxt, venue.exchange)({**venue.credentials, "enableRateLimit": True, "options": options})
    missing = [ours for ours, theirs in CREDENTIALS.items() if client.requiredCredentials.get(theirs) and not getattr(client, theirs, None)]
    _need(not missing, "credentials are missing: %s (each also as NAME_env)" % ", ".join(missing))
    if venue.urls:
        client.urls["api"] = _rebase(client.urls["api"], venue.urls)
        wrong = [url for url in _leaves(client.urls["api"]) if not url.startswith(venue.urls.rstrip("/"))]
        _need(not wrong, "urls: an address could not be replaced: %s" % clean(wrong[0] if wrong else "", 80))
    if os.environ.get("ANDON_VENUES_LOOPBACK"):
        _fence(client)
    # A private call on the way to the markets (bybit has one) would hide what is wrong with key or clock; orders need no currencies.
    if client.feature_value_by_type("spot", None, "fetchCurrencies", "private") is True:
        client.has["fetchCurrencies"] = False
    # ccxt's own pacing spares the venue; a simulator on this machine needs none.
    client.enableRateLimit = not all(loopback(url) for url in _leaves(client.urls["api"]))
    return client


class Clock:
    """A budget of seconds, for one pass."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds

    def left(self) -> float:
        return self.ends - time.monotonic()


def shown(order: Mapping[str, Any]) -> dict[str, Any]:
    """What Andon keeps and shows of an order, in ccxt's unified terms."""
    keys = ("symbol", "side", "type", "price", "amount", "remaining")
    return {
        "id": clean(order.get("id"), 80),
        "client_id": clean(order.get("clientOrderId") or "", 80),
        **{key: clean(order[key], 60) if isinstance(order.get(key), str) else order.get(key) for key in keys},
        "trigger": order.get("triggerPrice") or order.get("stopLossPrice") or order.get("takeProfitPrice"),
        "reduce_only": bool(order.get("reduceOnly")),
    }


@dataclass
class Listing:
    """All open orders of a venue at one moment: ours, ours that are kept, foreign ones; each by its id."""

    ours: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    foreign: dict[str, dict[str, Any]] = field(default_factory=dict)
    full: bool = False  # the venue cut the list off: what is behind it was not seen


class Desk:
    """One venue during one run: its client, and everything that was seen and tried. One thread at a time."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.client: Any = None
        self.seen: dict[str, dict[str, Any]] = {}
        self.tried: set[str] = set()
        self.attempts: list[dict[str, Any]] = []
        self.clock = Clock(BUDGET)

    # Calls

    def ask(self, method: str, *args: Any) -> Any:
        """One call, within what is left of the budget. Raises OutOfTime, or ccxt's exception."""
        left = self.clock.left()
        if left <= 0.05:
            raise OutOfTime
        self.client.timeout = int(1000 * min(self.venue.timeout_s, left))
        return getattr(self.client, method)(*args)

    def read(self, method: str, *args: Any) -> Any:
        """A call that changes nothing: asked again once when the network failed, and not when the venue refused.

        A wrong clock (InvalidNonce) and a rate limit are NetworkErrors in ccxt: asking again at once helps neither. RateLimitExceeded is
        no DDoSProtection there.
        """
        import ccxt

        try:
            return self.ask(method, *args)
        except (ccxt.InvalidNonce, ccxt.AuthenticationError):
            raise
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded):
            if self.clock.left() < 2:
                raise
            time.sleep(1)
        except (ccxt.NetworkError, ccxt.OperationFailed):
            time.sleep(min(0.1, max(self.clock.left(), 0)))
        return self.ask(method, *args)

    def open(self) -> None:
        """Makes the client and gives it the venue's markets, from the file of an earlier run where it is young enough."""
        if self.client is not None and self.client.markets:
            return
        self.client = self.client or connect(self.venue)
        # A simulator's markets must not be taken for the venue's; marketHelperProps: there the loading also fills tables that requests need.
        keep = not self.venue.urls and not self.client.options.get("marketHelperProps")
        if keep and self.cached_markets():
            if self.client.options.get("adjustForTimeDifference"):  # ccxt measures it only while it loads the markets
                self.read("load_time_difference")
            return
        markets = self.read("load_markets", True)
        unknown = [s for s in self.venue.symbols if s not in markets]
        if unknown:
            near = nearest(unknown[0], markets)
            words = "the venue has no symbol %s%s" % (clean(unknown[0], 40), "; did you mean %s?" % ", ".join(near) if near else "")
            self.client.markets = None
            raise ConfigError(words)
        if keep:
            self.keep_markets()

    def _markets_file(self) -> Path:
        return state_dir() / "venues" / ("%s-%s-markets.json" % (self.venue.name, self.venue.exchange))

    def keep_markets(self) -> None:
        """Keeps the market list, so that a stop needs not ask for it: an exchange in trouble may not give it."""
        with contextlib.suppress(OSError, TypeError):  # the next run asks the venue again, that is all
            write_atomic(self._markets_file(), json.dumps(list(self.client.markets.values()), default=str))

    def cached_markets(self) -> bool:
        """Takes the market list of an earlier run, if it is young enough and has our symbols."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            if 0 <= time.time() - self._markets_file().stat().st_mtime < MARKETS_AGE:
                self.client.set_markets(json.loads(self._markets_file().read_text(encoding="utf-8")))
                if self.client.markets and all(symbol in self.client.markets for symbol in self.venue.symbols):
                    return True
        self.client.markets = None
        return False

    # Listing

    def _trigger_list(self, symbol: str | None, params: Mapping[str, Any]) -> bool:
        """True if conditional orders are a list of their own, or if ccxt does not say that they are not."""
        if symbol:
            said = self.client.feature_value(symbol, "fetchOpenOrders", "trigger")
        else:
            kind = params.get("type") or self.client.options.get("defaultType") or "spot"
            said = self.client.feature_value_by_type(kind, None if kind == "spot" else params.get("subType") or "linear", "fetchOpenOrders", "trigger")
        return said is not False

    def _page(self, symbol: str | None, params: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """One list of open orders, and whether it is cut off."""
        limit = None
        if symbol:
            limit = self.client.feature_value(symbol, "fetchOpenOrders", "limit")
        else:
            kind = params.get("type") or self.client.options.get("defaultType") or "spot"
            limit = self.client.feature_value_by_type(kind, None if kind == "spot" else params.get("subType") or "linear", "fetchOpenOrders", "limit")
        received, sent = CURSORS.get(self.venue.exchange, ("", ""))
        orders: list[dict[str, Any]] = []
        for _ in range(PAGES):
            page = self.read("fetch_open_orders", symbol, None, limit, dict(params))
            orders += page
            if not limit or len(page) < limit:
                return orders, False
            # ccxt sorts the orders and leaves the cursor at one of them.
            cursor = next((o["info"][received] for o in page if received and o["info"].get(received)), None)
            if cursor is None:
                break
            params = {**params, sent: cursor}
        return orders, True

    def listing(self) -> Listing:
        """Every open order that the venue shows for our symbols and sections, conditional ones too."""
        found = Listing()
        for symbol in self.venue.symbols or (None,):
            for section in self.venue.sections:
                # Conditional orders first: one that is triggered between the two lists is in the second one, and not in neither.
                for params in ({"trigger": True}, {}) if self._trigger_list(symbol, section) else ({},):
                    orders, full = self._page(symbol, {**section, **params})
                    found.full = found.full or full
                    for order in orders:
                        self._sort(found, order, section, bool(params))
        self.seen.update(found.ours)
        return found

    def _sort(self, found: Listing, order: dict[str, Any], section: Mapping[str, Any], conditional: bool) -> None:
        name = str(order.get("id"))
        for some in (found.ours, found.kept, found.foreign):
            some.pop(name, None)  # some venues show conditional orders in both lists; what is in the ordinary one is cancelled like it
        one = {**shown(order), "_section": dict(section), "_conditional": conditional}
        if self.venue.prefix and not str(order.get("clientOrderId") or "").startswith(self.venue.prefix):
            found.foreign[name] = one
        elif self.venue.keep_stops and one["reduce_only"] and (conditional or one["trigger"]):
            found.kept[name] = one
        else:
            found.ours[name] = one

    # Cancelling

    def _try(self, what: str, ids: Iterable[str], method: str, *args: Any) -> str:
        """One call that cancels. Its outcome is noted and never believed; it is never sent twice.

        Returns:
            answered, gone, rejected, unsupported or unknown.
        """
        import ccxt

        words = ""
        try:
            self.ask(method, *args)
            outcome = "answered"
        except ccxt.OrderNotFound as error:
            outcome, words = "gone", self.words(error)
        except (ccxt.ArgumentsRequired, ccxt.NotSupported) as error:
            outcome, words = "unsupported", self.words(error)
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded, ccxt.InvalidNonce) as error:  # NetworkErrors in ccxt, but the venue did answer: it refused
            outcome, words = "rejected", self.words(error)
        except (ccxt.NetworkError, ccxt.OperationFailed) as error:
            outcome, words = "unknown", self.words(error)
        except ccxt.BaseError as error:
            outcome, words = "rejected", self.words(error)
        except (OutOfTime, ConfigError):
            raise
        except Exception as error:  # ccxt stumbled over the answer: what was asked may have happened
            outcome, words = "unknown", self.words(error)
        if outcome != "unsupported":
            self.tried.update(ids)
        if len(self.attempts) < 200:
            self.attempts.append({"at": utc_now(), "what": what, "ids": sorted(ids)[:50], "outcome": outcome, "words": words})
        return outcome

    def words(self, error: BaseException) -> str:
        """An exception in one line, without secrets: signed addresses lose their query, credentials their value."""
        text = re.sub(r"\?\S+", "?…", str(error))
        for secret in self.venue.credentials.values():
            text = text.replace(secret, "***")
        return clean("%s: %s" % (type(error).__name__, text), 200)

    def _may_bulk(self, found: Listing) -> bool:
        """A cancel of everything only where everything is ours to cancel.

        bybit's cancels conditional orders as well unless told otherwise, so it would take kept stops with it.
        """
        if self.client.has.get("cancelAllOrders") is not True or self.venue.prefix or found.kept or found.foreign or found.full:
            return False
        return not (self.venue.symbols and self.venue.exchange in BULK_IGNORES_SYMBOL)

    def _bulk(self, found: Listing) -> None:
        """Cancels in as few calls as the venue allows."""
        groups: dict[tuple[str, bool, str], list[str]] = {}
        for name, one in found.ours.items():
            groups.setdefault((json.dumps(one["_section"], sort_keys=True), one["_conditional"], one["symbol"]), []).append(name)
        everything = self._may_bulk(found)
        done: set[tuple[str, bool]] = set()
        for (section, conditional, symbol), ids in groups.items():
            params = {"trigger": True} if conditional else {}
            if everything and not self.venue.symbols:
                if (section, conditional) in done:
                    continue
                same = [n for (s, c, _), names in groups.items() if (s, c) == (section, conditional) for n in names]
                # Binance has it per symbol only, and says so before anything is sent.
                if self._try("cancel all", same, "cancel_all_orders", None, {**json.loads(section), **params}) != "unsupported":
                    done.add((section, conditional))
                    continue
            if everything and self._try("cancel all of %s" % symbol, ids, "cancel_all_orders", symbol, params) != "unsupported":
                continue
            if self.client.has.get("cancelOrders") is True and len(ids) > 1:
                for start in range(0, len(ids), CHUNK):
                    part = ids[start : start + CHUNK]
                    if self._try("cancel %d of %s" % (len(part), symbol), part, "cancel_orders", part, symbol, params) == "unsupported":
                        break

    def clear(self, found: Listing) -> Listing:
        """Cancels what is ours: in bulk, list, one by one what is left, list. Orders that appear meanwhile get the same.

        Returns:
            the last list from the venue, which is the proof.
        """
        alone: set[str] = set()
        if found.ours:
            self._bulk(found)
            found = self.listing()
        for _ in range(ROUNDS):
            left = [name for name in found.ours if name not in alone]
            if not left:
                break
            for name in left:
                alone.add(name)
                one = found.ours[name]
                params = {"trigger": True} if one["_conditional"] else {}
                self._try("cancel one of %s" % one["symbol"], [name], "cancel_order", name, one["symbol"], params)
            found = self.listing()
        return found

    # Positions

    def positions(self, found: Listing) -> list[dict[str, Any]]:
        """Open positions in ccxt's terms, each with how far a stop protects it: full, part or none."""
        rows = {}
        for symbol in self.venue.symbols or (None,):
            if symbol and self.client.market(symbol)["spot"]:
                continue
            for section in self.venue.sections:
                if not symbol and section.get("type") == "spot":
                    continue
                # bybit takes one symbol at most, others a list: one by one suits both.
                for one in self.read("fetch_positions", [symbol] if symbol else None, dict(section)):
                    if one.get("contracts"):
                        rows[(one.get("symbol"), one.get("side"))] = one
        orders = [*found.ours.values(), *found.kept.values(), *found.foreign.values()]
        return [self._position(one, orders) for one in rows.values()]

    @staticmethod
    def _position(one: Mapping[str, Any], orders: list[dict[str, Any]]) -> dict[str, Any]:
        size, side = float(one["contracts"]), one.get("side")
        price = one.get("markPrice") or one.get("entryPrice")
        covered = 0.0
        for order in orders:
            if order["symbol"] != one.get("symbol") or not order["reduce_only"] or not order["trigger"]:
                continue
            if order["side"] != ("sell" if side == "long" else "buy") or not price:
                continue
            # On the other side of the price it takes profit; it does not protect.
            if (float(order["trigger"]) < float(price)) == (side == "long"):
                covered += float(order["remaining"] or order["amount"] or 0) or size  # 0 means the whole position (closeOnTrigger)
        full = bool(one.get("stopLossPrice")) or covered >= size
        keys = ("entryPrice", "markPrice", "unrealizedPnl", "liquidationPrice", "notional", "contractSize")
        return {
            "symbol": clean(one.get("symbol"), 60),
            "side": clean(side, 10),
            "contracts": size,
            **{key: one.get(key) for key in keys},
            "protected": "full" if full else "part" if covered else "none",
        }

    # A pass

    def pass_once(self, row: dict[str, Any], cancel: bool, status: bool = False) -> None:
        """Lists, cancels if asked, lists, reads positions; fills `row` as it goes, and never raises."""
        began = time.monotonic()
        try:
            row["stage"] = "connecting"
            if status:
                self.client = self.client or connect(self.venue)
                row["status"] = {"layers": [], "venue": None, "skew": None, "credentials": None, "why": ""}
                self.layers(row["status"])
            self.open()
            row["stage"] = "asking for its state"
            if status:
                self.health(row["status"])
            row["stage"] = "listing"
            found = self.listing()
            row["listed"] = len(found.ours)
            self._show(row, found)  # should the rest not come in time, this is what is known
            row["stage"] = "cancelling"
            if cancel:
                found = self.clear(found)
            self._verdict(row, found, cancel, status)
            row["stage"] = "reading positions"
            self._add_positions(row, found)
            row["stage"] = "done"
        except OutOfTime:
            self.failed(row, UNKNOWN, "no answer in time while %s" % row["stage"])
        except Broken as error:
            self.failed(row, BAD, clean(error, 200))
        except ConfigError as error:
            self.failed(row, REFUSED, clean(error, 200))
        except Exception as error:  # whatever a venue or ccxt does: one venue must not take the others' verdict away
            self.failed(row, UNKNOWN, "%s: %s" % (row["stage"], self.words(error)))
        row["attempts"] = list(self.attempts)
        row["seconds"] = round(time.monotonic() - began, 2)
        row["at"] = utc_now()

    @staticmethod
    def failed(row: dict[str, Any], verdict: str, why: str) -> None:
        """A row whose pass ended badly: the verdict of the orders stands if only the positions were missing."""
        facts = row["status"]
        if facts and facts["why"] and facts["why"] not in why:  # what was found before says more than where it ended
            why = "%s; %s" % (facts["why"], why)
        if row["stage"] == "reading positions":
            row["positions_why"] = why
        else:
            row["verdict"], row["why"] = verdict, why

    def _show(self, row: dict[str, Any], found: Listing) -> None:
        row["remaining"] = [_public(o) for o in found.ours.values()]
        row["kept"] = [_public(o) for o in found.kept.values()]
        row["foreign"] = len(found.foreign)
        row["gone"] = sorted(n for n in self.seen if n not in found.ours)

    def _verdict(self, row: dict[str, Any], found: Listing, cancel: bool, status: bool) -> None:
        self._show(row, found)
        if found.full:
            row["verdict"], row["why"] = UNKNOWN, "the venue cut its list off: what is behind it was not seen"
        elif status:
            row["verdict"], row["why"] = (BAD, row["status"]["why"]) if row["status"]["why"] else (OK, "")
        elif not cancel:
            row["verdict"], row["why"] = WOULD_CANCEL, ""
        elif not found.ours:
            row["verdict"], row["why"] = CANCELLED, ""
        else:
            said = {a["outcome"] for a in self.attempts if set(a["ids"]) & set(found.ours)}
            words = {"answered": "the venue said that it cancelled", "rejected": "the venue refused", "unknown": "no answer to the cancel"}
            why = " / ".join(words.get(s, s) for s in sorted(said))
            new = [n for n in found.ours if n not in self.tried]
            row["verdict"] = NOT_CANCELLED
            row["why"] = "still open: %s%s%s" % (plural(len(found.ours), "order"), " (%s)" % why if why else "", ", %d of them new" % len(new) if new else "")

    def _add_positions(self, row: dict[str, Any], found: Listing) -> None:
        if self.client.has.get("fetchPositions") not in (True, "emulated"):
            row["positions_why"] = NO_POSITIONS
            return
        row["positions"] = self.positions(found)
        row["unprotected"] = sorted({p["symbol"] for p in row["positions"] if p["protected"] != "full"})

    def layers(self, facts: dict[str, Any]) -> None:
        """Name, TCP, TLS, one after the other, so that what is broken has a name. Raises Broken at the first that fails."""
        urls = list(_leaves(self.client.urls["api"]))
        parts = urlsplit(self.client.implode_hostname(urls[0]))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        where, step = "%s:%d" % (parts.hostname, port), "DNS"
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            facts["layers"].append("DNS OK  %s" % ", ".join(sorted({one[4][0] for one in found})[:4]))
            step, began = "TCP", time.monotonic()
            with socket.create_connection((parts.hostname, port), timeout=min(self.venue.timeout_s, max(self.clock.left(), 0.1))) as plain:
                facts["layers"].append("TCP OK  %s, %d ms" % (where, 1000 * (time.monotonic() - began)))
                if parts.scheme == "https":
                    step = "TLS"
                    with ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as secure:
                        facts["layers"].append("TLS OK  %s" % secure.version())
        except OSError as error:  # socket.gaierror, TimeoutError and ssl.SSLError are OSErrors
            words = "%s to %s: %s" % (step, where, clean(error, 120))
            facts["layers"].append("%s FAILED  %s" % (step, words))
            raise Broken(words) from error

    def health(self, facts: dict[str, Any]) -> None:
        """Public call, clock, and a private read: only that shows that a key is good (check_required_credentials is local)."""
        bad = []
        if self.client.has.get("fetchStatus") is True:
            facts["venue"] = clean(self.read("fetch_status").get("status"), 30)
            if facts["venue"] != "ok":
                bad.append("the venue says %s" % facts["venue"])
        if self.client.has.get("fetchTime") is True:
            sent = time.time()
            theirs = self.read("fetch_time")
            facts["skew"] = round(theirs / 1000 - (sent + time.time()) / 2, 3)  # half of the round trip lies before their clock was read
            if abs(facts["skew"]) > SKEW:
                bad.append("the clocks differ by %.1f s" % facts["skew"])
        facts["credentials"] = self._credentials()
        if facts["credentials"] != OK:
            bad.append("credentials %s" % facts["credentials"])
        facts["why"] = "; ".join(bad)

    def _credentials(self) -> str:
        import ccxt

        try:
            self.read("fetch_balance")
        except (ccxt.AuthenticationError, ccxt.InvalidNonce) as error:
            return "REJECTED: " + self.words(error)
        return OK


def _public(order: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in order.items() if not key.startswith("_")}


def blank(name: str, venue: Venue | None = None) -> dict[str, Any]:
    """A venue's row before anything is known: UNKNOWN."""
    where: list[str] = []
    if venue:
        where = list(venue.symbols) or [json.dumps(dict(s), sort_keys=True) if s else "ccxt's default section" for s in venue.sections]
    return {
        "name": name,
        "exchange": venue.exchange if venue else None,
        "account": venue.account if venue else "",
        "verdict": UNKNOWN,
        "why": "nothing came back",
        "stage": "beginning",
        "looked_at": where,
        "prefix": venue.prefix if venue else "",
        "listed": None,
        "gone": [],
        "remaining": None,
        "kept": [],
        "foreign": 0,
        "attempts": [],
        "positions": None,
        "positions_why": "",
        "unprotected": [],
        "status": None,
        "seconds": None,
        "at": None,
    }


class Run:
    """All venues, each in a thread of its own; a pass ends after its budget, whoever has not answered.

    Args:
        config: andon_venues. environ: for credentials. only: the name of the one venue to ask, or empty.

    Raises:
        ConfigError: andon_venues is not a list of differently named entries, or `only` is not among them.
    """

    def __init__(self, config: Any, *, environ: Mapping[str, str] = os.environ, only: str = "") -> None:
        entries = parse_all(config, environ)
        if only:
            near = nearest(only, [name for name, _ in entries])
            words = "there is no venue '%s' in andon_venues%s" % (clean(only, 60), "; did you mean %s?" % near[0] if near else "")
            _need(only in [name for name, _ in entries], words)
            entries = [(name, one) for name, one in entries if name == only]
        self.entries = entries
        self.desks = {name: Desk(one) for name, one in entries if isinstance(one, Venue)}

    def once(self, *, cancel: bool, status: bool = False, budget: float = BUDGET) -> list[dict[str, Any]]:
        """One pass over all venues; for one call only, since a request that hangs may outlive it.

        Args:
            cancel: cancel what is ours; without it nothing is changed. status: also ask for state, clock, credentials.
            budget: seconds for all venues together.

        Returns:
            one row per venue (see `blank`), in the inventory's order.
        """
        clock = Clock(budget)
        rows = {name: blank(name, one if isinstance(one, Venue) else None) for name, one in self.entries}
        for name, one in self.entries:
            if isinstance(one, ConfigError):
                rows[name].update(verdict=REFUSED, why=clean(one, 200))
        threads = {}
        for name, desk in self.desks.items():
            desk.clock = clock
            threads[name] = threading.Thread(target=desk.pass_once, args=(rows[name], cancel, status), name=name, daemon=True)
            threads[name].start()
        for name, thread in threads.items():
            thread.join(max(clock.left(), 0))
            if thread.is_alive():
                rows[name] = _snapshot(rows[name])
                Desk.failed(rows[name], UNKNOWN, "no proof within %g s (%s)" % (budget, rows[name]["stage"]))
        return list(rows.values())

    def follow(self, released: threading.Event, *, cancel: bool, budget: float = BUDGET, again: float = 2.0, settle: float = SETTLE) -> list[dict[str, Any]]:
        """Passes over all venues until `released` is set and then two more, which are the proof: they begin after that moment.

        Each venue goes on by itself, so that one which hangs does not keep the others from their last pass.

        Args:
            cancel: as in `once`. budget: seconds for a pass, and for the last one from the release on. again: seconds between passes.
            settle: seconds between the two last passes; the second catches what was on its way when the hosts stopped.

        Returns:
            one row per venue; UNKNOWN where the last pass did not end in time.
        """
        last = {name: blank(name, one if isinstance(one, Venue) else None) for name, one in self.entries}
        final: dict[str, dict[str, Any]] = {}
        ending: dict[str, bool] = {}
        end = Clock(float("inf"))

        def work(name: str, desk: Desk) -> None:
            while True:
                ends = released.is_set()
                row = blank(name, desk.venue)
                last[name], ending[name] = row, ends
                desk.clock = Clock(min(budget, end.left()))
                desk.pass_once(row, cancel)
                if not ends:
                    released.wait(again)
                    continue
                done = name in final or not cancel or row["verdict"] != CANCELLED
                final[name] = row
                if done:
                    return
                time.sleep(max(min(settle, end.left()), 0))

        threads = {name: threading.Thread(target=work, args=(name, desk), name=name, daemon=True) for name, desk in self.desks.items()}
        for thread in threads.values():
            thread.start()
        released.wait()
        end = Clock(budget)
        for thread in threads.values():
            thread.join(max(end.left(), 0))
        rows = []
        for name, one in self.entries:
            row = final.get(name) or _snapshot(last[name])
            if isinstance(one, ConfigError):
                row.update(verdict=REFUSED, why=clean(one, 200))
            elif name not in final:
                words = "no proof within %g s after the hosts (%s)" % (budget, row["stage"])
                if not ending.get(name):  # a pass from before the hosts' end proves nothing, however far it got
                    row["stage"] = "waiting"
                Desk.failed(row, UNKNOWN, words)
            rows.append(row)
        return rows


def _snapshot(row: dict[str, Any]) -> dict[str, Any]:
    """A copy of a row that its thread may still be filling."""
    for _ in range(10):
        with contextlib.suppress(RuntimeError):  # it changed size while it was copied
            return copy.deepcopy(row)
    return blank(row["name"])
