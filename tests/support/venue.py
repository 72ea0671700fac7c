"""The lab's venue in a thread of the test, and its entry in andon_venues."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from lab.bybit_sim import Account, Server

KEY, SECRET = "KEY-1", "SECRET-1"


@contextlib.contextmanager
def serving(account: Account | None = None, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A running venue; `server.account` is what is behind it.

    Args:
        account: another one than a fresh Account with KEY and SECRET. context: it speaks TLS.
    """
    server = Server(("127.0.0.1", 0), account or Account(KEY, SECRET))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def entry(server: Server, types: tuple[str, ...] = ("linear", "spot"), **more: Any) -> dict[str, Any]:
    """The venue's entry in andon_venues.

    Args:
        types: markets that are asked for; by itself ccxt makes eleven requests for all of them. more: keys that are added or replaced.
    """
    return {
        "name": "main",
        "ccxt": "bybit",
        "credentials": {"api_key": KEY, "secret": SECRET},
        "sections": [{"type": "swap"}],
        "urls": server.url,
        "options": {"fetchMarkets": {"types": list(types)}},
        **more,
    }
