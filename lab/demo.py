#!/usr/bin/env python3
"""The demo: boots the lab, lets it trade, pulls the cord, proves it, starts again. What `./dev demo` runs last.

demo.py [--picture FILE]     --picture: also draws the stop's screen as SVG (README's picture is made so)
"""

from __future__ import annotations

import argparse
import os
import pty
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import lab

ANDON = [sys.executable, str(lab.ROOT / "cli.py"), "-i", str(lab.INVENTORY)]


def say(words: str) -> None:
    print(f"\n== {words}", flush=True)


LONG = {"symbol": "BTCUSDT", "side": "Buy", "size": "0.02", "avgPrice": "60000", "markPrice": "60100", "positionValue": "1200"}
STOP = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.02", "triggerPrice": "58000", "triggerDirection": 2, "reduceOnly": True}


def resting() -> str:
    """What rests at the venues by client order id, from their own channel: a witness that asks neither Andon nor ccxt."""
    found = {venue: [order["orderLinkId"] for order in lab.open_orders(url)] for venue, url in lab.venue_urls().items()}
    return "; ".join(f"{venue}: {', '.join(links) or 'nothing'}" for venue, links in found.items())


def runs_of(host: str, venue: str) -> set[str]:
    """The runs of a host's strategy that have an order at a venue: a client order id is its run's and a number."""
    links = [order["orderLinkId"] for order in lab.open_orders(venue)]
    return {link.rpartition("-")[0] for link in links if link.startswith(f"{lab.PREFIX}{host}-")}


def set_the_scene() -> None:
    """A position with its protective stop, and an order that a crash has left behind."""
    main = lab.venue_urls()["main"]
    lab.ask_venue(main, "positions", LONG)
    lab.ask_venue(main, "orders", {**STOP, "orderLinkId": lab.PREFIX + "protects"})
    lab.wait_for_orders()
    crash = ["/usr/bin/python3", "/app/trader.py", "--control", '{"do": "crash"}']
    lab.docker("exec", lab.container("host-b"), "docker", "exec", "momentum", *crash)
    end = time.monotonic() + 60
    while len(runs_of("host-b", main)) < 2 and time.monotonic() < end:
        time.sleep(0.1)


def andon(*words: str, env: dict[str, str]) -> tuple[int, str]:
    """Runs one verb on a terminal of its own, shows it as it comes; returns (exit code, what was on the screen)."""
    print(f"$ andon {' '.join(words)}", flush=True)
    seen = b""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.execve(ANDON[0], [*ANDON, *words], env)
        finally:
            os._exit(127)
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed: the verb has ended
            break
        if not part:
            break
        seen += part
        os.write(1, part)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode(errors="replace")


def draw(screen: str, target: Path, command: str) -> None:
    """The screen as SVG; no font is fetched from anywhere."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=100, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {command}", style="bold"))
        # The picture says nothing of the machine that it was made on.
        text = screen.replace("\r\n", "\n").replace(str(lab.ROOT), "~/andon").strip("\n")
        console.print(Text.from_ansi(text))
        begin, end = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.index(".{unique_id}-matrix")
        plain = CONSOLE_SVG_FORMAT[:begin] + CONSOLE_SVG_FORMAT[end:]
        plain = plain.replace(plain[plain.index("<!--") : plain.index("-->") + 3], "")
        target.write_text(console.export_svg(title="andon", code_format=plain))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    begun = time.monotonic()
    try:
        lab.up()
    except lab.LabError as error:
        print(f"demo: the lab did not boot: {error}", file=sys.stderr)
        return 1
    # The demo's proofs and incidents stay out of the person's own state.
    env = os.environ | {"ANDON_STATE": str(lab.STATE / "demo-state"), "ANDON_OPERATOR": os.environ.get("ANDON_OPERATOR", "demo")}
    env["ANDON_VENUES_LOOPBACK"] = "1"  # not one request of the demo leaves this machine
    set_the_scene()
    say(f"three hosts trade at two venues; one strategy has crashed, come back, and forgotten its order. Open orders, {resting()}")
    say("pull the cord")
    code, screen = andon("stop", "--yes", "--reason", "demo", env=env)
    if args.picture:
        draw(screen, args.picture, "andon stop --yes --reason demo")
    if code:
        print(f"demo: the stop ended with {code}, which it must not here", file=sys.stderr)
        return code
    say(f"the venues' own word: open orders, {resting()} (what protects a position stays)")
    say("start again, in order, canary host first")
    code, _ = andon("resume", "--yes", env=env)
    say(f"done in {time.monotonic() - begun:.0f} s. The lab stays up: ./dev lab ssh host-a, ./dev lab down. Try: .venv/bin/andon -i inventory/lab stop")
    return code


if __name__ == "__main__":
    sys.exit(main())
