"""The cord: stop, kill-strategy, resume, status."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from cli import (
    Settings,
    capture_playbook,
    check_options,
    confirm_target,
    fail,
    interactive,
    limit_option,
    reason_option,
    run_playbook,
    yes_option,
)


@click.command("stop")
@click.option("--now", is_flag=True, help="Freeze, then kill: no application code runs after the freeze. Default: SIGTERM, 5 s, SIGKILL.")
@click.option("--until-proven", is_flag=True, help="Try hosts that are UNKNOWN again, by every route, until proven or Ctrl-C.")
@limit_option
@reason_option
@yes_option
@click.option("--check", is_flag=True, help="Show what would stop; change nothing.")
@click.pass_obj
def stop_command(settings: Settings, now: bool, until_proven: bool, limit: str | None, reason: str | None, yes: bool, check: bool) -> NoReturn:
    """Stop every trading container on every host at once, latch them, and prove it.

    Pulling the cord is always safe, and so is pulling it twice. One key is enough; --yes asks nothing.
    Open orders are cancelled at the venues in andon_venues; without any, and with --limit, the report says that they are not.

    \b
    andon stop
    andon stop --now --yes --reason "runaway orders"
    """
    if not yes and not check:
        if not interactive():
            fail("The stop needs a key press and there is no terminal.", "Nothing was stopped.", "andon stop --yes")
        click.echo("STOP ALL TRADING" + (f" on {limit}" if limit else " on every host") + "? Press Enter or y (any other key: no) ", err=True, nl=False)
        key = click.getchar(echo=False)
        click.echo("", err=True)
        if key not in ("\r", "\n", "y", "Y"):
            fail("Another key was pressed.", "Nothing was stopped.", "andon stop")
    # From here to the hosts there is nothing but Ansible's own start.
    extra = {
        "andon_pressed_at": time.time(),
        "andon_stop_mode": "now" if now else None,
        "andon_until_proven": True if until_proven else None,
        "andon_reason": reason,
    }
    run_playbook(settings, "emergency_stop", extra, limit=limit, check=check)


@click.command("kill-strategy")
@click.argument("strategy")
@click.option("--now", is_flag=True, help="Freeze, then kill: no application code runs after the freeze.")
@limit_option
@reason_option
@yes_option
@click.option("--check", is_flag=True, help="Show what would stop; change nothing.")
@click.pass_obj
def kill_strategy_command(settings: Settings, strategy: str, now: bool, limit: str | None, reason: str | None, yes: bool, check: bool) -> NoReturn:
    """Stop every container of one strategy on every host; prove it, and that nothing else was touched.

    \b
    andon kill-strategy momentum
    """
    require_strategy(strategy)
    if not check:
        confirm_target(strategy, yes, f"Strategy {strategy} will be stopped on {limit or 'every host'}.")
    extra = {
        "andon_pressed_at": time.time(),
        "andon_strategy": strategy,
        "confirm": strategy,
        "andon_stop_mode": "now" if now else None,
        "andon_reason": reason,
    }
    run_playbook(settings, "kill_strategy", extra, limit=limit, check=check)


def require_strategy(strategy: str) -> None:
    """Ends the command when this cannot be a strategy's id."""
    from andon.text import clean, valid_id

    if not valid_id(strategy):
        fail(f"'{clean(strategy, 60)}' cannot be a strategy's id (letters, digits, dot, _ and -).", "Nothing was done.", "andon status")


@click.command("resume")
@click.option("--strategy", metavar="ID", help="Only this strategy (undoes kill-strategy).")
@click.option("--incident", metavar="ID", help="Only if the latch belongs to this incident.")
@click.option("--size", type=click.FloatRange(0, 1, min_open=True), metavar="F", help="A part of the usual position size, for example 0.25.")
@click.option("--accept", multiple=True, metavar="GATE", help="Pass a gate that failed, by its name; it is recorded. Again for another one.")
@click.option("--request", is_flag=True, help="Write the plan for others to approve; start nothing.")
@click.option("--plan", "plan_file", metavar="PLAN", help="Carry out this written and approved plan, and nothing else.")
@limit_option
@yes_option
@check_options
@click.pass_obj
def resume_command(
    settings: Settings,
    strategy: str | None,
    incident: str | None,
    size: float | None,
    accept: tuple[str, ...],
    request: bool,
    plan_file: str | None,
    limit: str | None,
    yes: bool,
    check: bool,
    diff: bool,
) -> NoReturn:
    """Lift the latch and start again what was stopped, with the restart policies from before.

    Shows the plan and its gates, asks for the target's name, starts data, adapters, risk, strategies, with a health gate after
    each, one canary host first. A gate that fails halts everything again that was started.

    \b
    andon resume --check
    andon resume --size 0.25
    andon resume --request   (then somebody else: andon approve PLAN)
    andon resume --plan PLAN
    """
    if strategy:
        require_strategy(strategy)
    if request and plan_file:
        fail("--request writes a plan and --plan carries one out.", "Nothing was done.", "andon resume --request")
    extra: dict[str, Any] = {"andon_strategy": strategy, "incident": incident, "andon_resume_size": size, "andon_resume_accept": list(accept) or None}
    if plan_file:
        path, plan = open_plan(plan_file)
        if strategy is not None and strategy != plan["strategy"]:
            fail(f"The plan is for {plan['target']}.", "Nothing was done.", f"andon resume --plan {plan['id']}")
        extra |= {"andon_resume_plan": str(path), "andon_strategy": plan["strategy"] or None}
    target = extra["andon_strategy"] or "all"
    if request:
        run_playbook(settings, "resume", extra | {"andon_resume_request": True}, limit=limit, check=check)
    if check:
        run_playbook(settings, "resume", extra, limit=limit, check=True, diff=diff)
    code, report = capture_playbook(settings, "resume", extra, limit=limit, check=True)
    shown = report.get("data", {})
    if code or not shown.get("plan"):
        for line in [report.get("headline", "No plan could be made."), *report.get("summary", []), *report.get("detail", [])]:
            click.echo(line, err=True)
        for one in report.get("failures", []):
            click.echo(f"{one.get('host')}: {one.get('msg')}", err=True)
        for line in report.get("next", []):
            click.echo(f"Next: {line}", err=True)
        raise SystemExit(code or 2)
    needed = shown.get("approvals", {}).get("needed", 0)
    if needed and not plan_file:
        fail(f"Starting again needs {needed} signed approvals.", "Nothing was started.", "andon resume --request")
    click.echo("This will start, canary host first:", err=True)
    for line in [*shown["plan"], *report.get("summary", [])]:
        click.echo(line, err=True)
    factor = shown.get("size")
    confirm_target(target, yes, "TRADING STARTS AGAIN." if factor is None else f"TRADING STARTS AGAIN, at {factor:g} of its size.")
    # The digest makes the run refuse if the plan is another one by the time that it starts.
    run_playbook(settings, "resume", extra | {"confirm": target, "andon_plan": shown["digest"]}, limit=limit)


def open_plan(name: str) -> tuple[Path, dict[str, Any]]:
    """A written plan by its id or its path; ends the command in words when it cannot be used."""
    from andon import approvals

    try:
        path = approvals.find(name)
        return path, approvals.load(path)
    except approvals.PlanError as error:
        fail(str(error), "Nothing was done.", "andon resume --request")


@click.command("approve")
@click.argument("plan")
@click.option("--key", metavar="FILE", help="Your SSH key; a .pub file means the agent. Without it ANDON_SIGNING_KEY, else ~/.ssh/id_ed25519.")
@click.option("--show", is_flag=True, help="Show the plan and how to sign it by hand; sign nothing.")
@yes_option
def approve_command(plan: str, key: str | None, show: bool, yes: bool) -> None:
    """Sign a plan to resume with your own SSH key. It asks no host and starts nothing.

    The signature is over the text that is shown. The requester's own does not count.

    \b
    andon approve resume-20261122T030405Z-1a2b3c
    andon approve resume-20261122T030405Z-1a2b3c --key ~/.ssh/id_ed25519.pub
    """
    from andon import approvals

    path, document = open_plan(plan)
    click.echo(approvals.text(document), nl=False)
    click.echo(f"\nBy hand, on a machine that has {document['id']}.txt:\n  {approvals.by_hand(document)}", err=True)
    click.echo(f"Then put the .sig file into {path.parent}", err=True)
    late = approvals.expired(document, time.time())
    if late:
        fail(late, "A signature would be worth nothing.", "andon resume --request")
    if show:
        return
    chosen = Path(key or os.environ.get("ANDON_SIGNING_KEY") or Path.home() / ".ssh" / "id_ed25519").expanduser()
    if not chosen.is_file():
        fail(f"There is no key {chosen}.", "Nothing was signed.", f"andon approve {document['id']} --key FILE")
    if any(approvals.same_person(name, document["requester_names"]) for name in approvals.requester_names()):
        click.echo(f"WARNING: {document['requester']} asked for this plan, and the requester's own signature does not count.", err=True)
    confirm_target(document["target"], yes, "YOU APPROVE THAT TRADING STARTS AGAIN as written above.")
    try:
        signature = approvals.sign(path, document, str(chosen))
    except (approvals.PlanError, OSError) as error:
        fail(str(error), "Nothing was signed.", f"andon approve {document['id']} --show   (the command to sign by hand)")
    click.echo(f"SIGNED: {signature}")
    click.echo(f"Next: andon resume --plan {document['id']} --check   (who has approved)")


def show_incident() -> None:
    """The open incident on the screen, if there is one. Whatever is wrong with its files must not hide the fleet's state."""
    from andon import incidents

    try:
        name = incidents.current()
        lines = incidents.incident_screen(incidents.load(name), time.time(), incidents.severities()[0]) if name else []
    except Exception as error:  # noqa: BLE001 (a damaged journal has its own verb)
        lines = [f"WARNING: the open incident cannot be shown ({error}). Next: andon verify"]
    for line in lines:
        click.echo(line)


@click.command("status")
@limit_option
@click.pass_obj
def status_command(settings: Settings, limit: str | None) -> NoReturn:
    """What is halted, by whom and why, and what runs, per host; the open incident's clock above it. Read-only.

    \b
    andon status
    andon --json status
    """
    if not settings.json:
        show_incident()
    run_playbook(settings, "status", {}, limit=limit)
