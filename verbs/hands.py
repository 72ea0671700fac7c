"""andon restart: one component, with or without another memory limit."""

from __future__ import annotations

from typing import Any

import click

from cli import Settings, capture_playbook, check_options, confirm_target, fail, interactive, limit_option, reason_option, run_playbook, yes_option


@click.command("restart")
@click.argument("name")
@click.option("-m", "--memory", metavar="SIZE", help="Restart with this memory limit (512m, 1g), in force before the process starts.")
@click.option("--undo", is_flag=True, help="Give it back the limit from before the first --memory.")
@click.option("--force", metavar="NAME", help="The name again: a protected container, or a limit below what it uses.")
@click.option("--also-stopped", is_flag=True, help="Start matching containers that are stopped or paused as well.")
@limit_option
@check_options
@reason_option
@yes_option
@click.pass_obj
def restart_command(
    settings: Settings,
    name: str,
    memory: str | None,
    undo: bool,
    force: str | None,
    also_stopped: bool,
    limit: str | None,
    check: bool,
    diff: bool,
    reason: str | None,
    yes: bool,
) -> None:
    """Restart a component: a container's NAME, a Compose service, or a label's value.

    Shows which hosts have it, asks you to type the name, then rolls: the canary host first, each batch proven healthy.

    \b
    andon restart adapter
    andon restart adapter --memory 512m
    andon restart adapter --undo
    """
    from andon.text import clean, valid_name

    if memory and undo:
        raise click.UsageError("--memory sets a limit and --undo takes it back: give one of them.")
    if not valid_name(name):
        fail(
            f"'{clean(name, 60)}' cannot be the name of a component (letters, digits, '_', '.', '-').",
            "Nothing was touched.",
            "andon status   (shows the names)",
        )
    if memory:
        check_size(memory)
    verb = "limit_memory" if memory or undo else "restart"
    # The reason is for the journal: no host needs it.
    extra: dict[str, Any] = {
        "service": name,
        "memory": memory,
        "force": force,
        "also_stopped": also_stopped or None,
        "undo": undo or None,
        "andon_reason": reason,
    }
    if check:
        run_playbook(settings, verb, extra, limit=limit, check=True, diff=diff)
    if not yes and interactive():
        show_plan(settings, verb, extra, limit)
    extra["confirm"] = confirm_target(name, yes, what_words(name, memory, undo))
    run_playbook(settings, verb, extra, limit=limit, diff=diff)


def what_words(name: str, memory: str | None, undo: bool) -> str:
    if undo:
        return f"Restart {name} with the memory limit from before"
    return f"Restart {name} with a memory limit of {memory}" if memory else f"Restart {name}"


def check_size(memory: str) -> None:
    """Fails before any host is asked when the size is none."""
    from andon.limits import LimitError, parse_size

    try:
        parse_size(memory)
    except LimitError as error:
        fail(f"{error}.", "Nothing was touched.", "the same command with --memory 512m, for example")


def show_plan(settings: Settings, verb: str, extra: dict[str, Any], limit: str | None) -> None:
    """Shows which hosts have it and what would be done; ends the command when that is refused."""
    code, plan = capture_playbook(settings, verb, extra, limit=limit, check=True)
    if not plan:
        fail("There is no plan: ansible-playbook gave no report.", "Nothing was touched.", "the same command with -v --check", code=code or 1)
    from andon.text import clean

    for line in [plan.get("headline", ""), *plan.get("summary", []), *plan.get("detail", [])]:
        click.echo("".join(c for c in str(line) if c.isprintable()), err=True)
    for one in [] if plan.get("summary") else plan.get("failures", []):
        click.echo(f"{clean(one.get('host', ''), 30)}  {clean(one.get('msg', ''), 300)}", err=True)
    for line in plan.get("next", []) if code else []:
        click.echo("Next: " + clean(line, 300), err=True)
    if code or not plan.get("ok"):
        raise click.exceptions.Exit(code or 2)
