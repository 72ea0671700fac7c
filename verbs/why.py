"""The verb that says what triggered the kill switch: why."""

from __future__ import annotations

import time
from typing import NoReturn

import click

from cli import Settings, fail, limit_option, run_playbook


@click.command("why")
@limit_option
@click.option("--strategy", metavar="ID", help="Only this strategy, and what is everybody's.")
@click.option("--since", default="30m", show_default=True, metavar="WHEN", help="How far back (30m, 2h, 1d) or a time in UTC (2026-11-22T03:00:00Z).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_obj
def why_command(settings: Settings, limit: str | None, strategy: str | None, since: str, as_json: bool) -> NoReturn:
    """The kill switch was triggered: drawdown, error rate or a person? With the recent trades. Read-only.

    Exit code 0: the cause is certain, or it is proven that nothing triggered.

    \b
    andon why
    andon why --since 2h --strategy momentum
    """
    from andon.text import clean, valid_id
    from andon.triage import parse_since

    if strategy is not None and not valid_id(strategy):
        fail(f"'{clean(strategy, 60)}' cannot be a strategy's id (letters, digits, dot, _ and -).", "Nothing was looked at.", "andon why", 2)
    try:
        parse_since(since, time.time())
    except ValueError as error:
        fail(str(error), "Nothing was looked at.", "andon why --since 30m", 2)
    settings.json = settings.json or as_json
    run_playbook(settings, "what_triggered", {"why_since": since, "why_strategy": strategy}, limit=limit)
