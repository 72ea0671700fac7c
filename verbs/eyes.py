"""The verbs that look and change nothing: health, triage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import click

from cli import Settings, environment, fail, limit_option, playbook_argv, require_inventory, run_playbook


@click.command("health")
@limit_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output (with --watch: one line per look).")
@click.option("--watch", is_flag=False, flag_value="10", type=click.IntRange(1, 3600), metavar="[SECONDS]", help="Look again and again, until Ctrl-C.")
@click.pass_obj
def health_command(settings: Settings, limit: str | None, as_json: bool, watch: int | None) -> None:
    """Is every host and every component healthy? Worst first.

    Exit code 0: everything is healthy (with --watch: at the last look). Example: andon health --limit host-a
    """
    settings.json = settings.json or as_json
    if watch is None:
        run_playbook(settings, "health_check", {}, limit=limit)
    argv = playbook_argv("health_check", {}, inventory=require_inventory(settings), limit=limit, verbose=settings.verbose)
    env = environment(settings)
    if sys.stdout.isatty() and "NO_COLOR" not in env:
        env["ANSIBLE_FORCE_COLOR"] = "1"  # it writes into a pipe here, and would leave the colours out

    def look() -> tuple[int, str]:
        done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
        return done.returncode, done.stdout

    sys.exit(look_again(look, watch, as_json=settings.json, screen=sys.stdout.isatty()))


@click.command("triage")
@limit_option
@click.option("--since", default="30m", show_default=True, metavar="WHEN", help="How far back (30m, 2h, 1d) or a time in UTC (2026-11-22T03:00:00Z).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_obj
def triage_command(settings: Settings, limit: str | None, since: str, as_json: bool) -> None:
    """What changed, what broke first, where, and the next safe command.

    Exit code 0: everything could be looked at. Example: andon triage --since 2h
    """
    from andon.triage import parse_since

    try:
        parse_since(since, time.time())
    except ValueError as error:
        fail(str(error), "Nothing was looked at.", "andon triage --since 30m", 2)
    settings.json = settings.json or as_json
    run_playbook(settings, "triage", {"eyes_since": since}, limit=limit)


def look_again(look: Callable[[], tuple[int, str]], every: int, *, as_json: bool, screen: bool, sleep: Callable[[float], None] = time.sleep) -> int:
    """Shows one look after the other until Ctrl-C.

    Args:
        look: looks once; returns (exit code, what to show).
        every: seconds between the end of one look and the start of the next.
        as_json: one compact JSON document per line.
        screen: True on a terminal, which is cleared when the next look is ready, never before (no flicker).
        sleep: how to wait.

    Returns:
        the exit code of the last look that was finished; 1 when there was none.
    """
    code = 1
    try:
        while True:
            now, text = look()
            if now in (99, -2):  # Ctrl-C reached ansible-playbook first
                return code
            code = now
            if as_json:
                try:
                    text = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
                except ValueError:
                    text = json.dumps({"ok": False, "headline": "no report", "data": {}})
            elif screen:
                text = "\x1b[H\x1b[2J" + text
            click.echo(text.rstrip("\n") if as_json else text + time.strftime("Looked at %Y-%m-%d %H:%M:%S UTC, exit code ", time.gmtime()) + str(code))
            sleep(every)
    except KeyboardInterrupt:
        return code
