#!/usr/bin/env python3
"""andon: names a playbook, asks, runs it and passes its exit code on.

Every verb is a playbook; this file only turns options into one argv with one JSON ``-e``. Nothing but click is imported
before the verb is known, so that ``--help`` answers at once and nothing stands in front of the stop.

Exit codes (docs/cli.md has the same table):
    0   everything asked for is proven
    1   an error in Andon or Ansible before anything was asked of a host
    2   something failed or is UNKNOWN on at least one host, or the command line is wrong
    3   a post-mortem's edited block was kept beside the new text
    4   a host could not be reached (Ansible's own code, from verbs that do not judge by themselves)
    99  Ctrl-C (Ansible's own code for an interrupted run)
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

ROOT = Path(__file__).resolve().parent
for _folder in (ROOT, ROOT / "plugins" / "module_utils"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
# `python cli.py` makes this module __main__; the verbs say `from cli import ...` and must get this one, not a second copy.
sys.modules.setdefault("cli", sys.modules[__name__])

VERSION = "0.1.0"

# name: (module in verbs/, one line of help). A module is imported when its command is asked for, not before.
# The command's object is called <name>_command there, with "-" as "_". Order is the order of --help.
COMMANDS: dict[str, tuple[str, str]] = {
    "stop": ("cord", "Pull the cord: stop every trading container on every host, with proof."),
    "status": ("cord", "What is halted, what runs, per host."),
    "health": ("eyes", "Is every host and every component healthy? Worst first."),
    "triage": ("eyes", "What changed, what broke first, where, and the next safe command."),
    "why": ("why", "What triggered the kill switch: drawdown, error rate or a person; recent trades."),
    "kill-strategy": ("cord", "Stop one strategy everywhere; nothing else."),
    "resume": ("cord", "Lift the latch and start again, in order, canary first."),
    "approve": ("cord", "Sign a plan to resume that somebody else asked for."),
    "rollback": ("releases", "Go back to the last good release, on all hosts as one set."),
    "release": ("releases", "Record what runs as a release; list, show, diff."),
    "skew": ("releases", "What differs between hosts."),
    "lock": ("releases", "Who holds the fleet's lock."),
    "cancel-orders": ("venues", "Cancel all open orders at the venues, with proof."),
    "venues": ("venues", "Venues: reachable, clock, credentials, open orders, positions."),
    "component": ("components", "Halt, flatten, resume or read trading software through its own interface."),
    "positions": ("positions", "What our software says it holds against what the venues show."),
    "close-orphans": ("positions", "Close what only the venue has: reduce-only, each confirmed, proven."),
    "venue": ("venues", "Connection lost: which layer, from where; the dead man's switch; capabilities."),
    "leaks": ("memory", "Find the container that leaks memory, and the process in it."),
    "watch": ("memory", "Watch the whole fleet; tell of what is new."),
    "open": ("record", "Open an incident: its clock and its journal start."),
    "ack": ("record", "Acknowledge the incident: somebody is on it."),
    "clock": ("record", "The incident on one screen: times, targets, what is overdue, what to type."),
    "note": ("record", "Write a line into the journal, with a file if you like."),
    "sev": ("record", "Change the severity."),
    "assign": ("record", "Say who does what."),
    "handoff": ("record", "What the next one must know."),
    "resolve": ("record", "Normal operations are back."),
    "close": ("record", "Close a resolved incident."),
    "incidents": ("record", "List incidents; choose the current one."),
    "show": ("record", "Everything that is recorded of an incident."),
    "verify": ("record", "Check the journal's hash chain."),
    "postmortem": ("record", "Write, draw and check the post-mortem."),
    "actions": ("record", "Open action items over all post-mortems, overdue first."),
    "update": ("people", "Write an update, with --public on the status page as well."),
    "notify": ("people", "Who is told, and whether it arrived."),
    "guide": ("guides", "Be led through a runbook, step by step."),
    "restart": ("hands", "Restart one component, or restart it with a memory limit (--memory, --undo)."),
    "logs": ("logs", "Collect all hosts' logs and state into one redacted bundle; verify, show."),
    "use": ("setup", "Choose the inventory that every verb uses."),
    "version": ("setup", "Versions of Andon, Ansible and Python."),
    "completion": ("setup", "Print the shell's completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands' modules are imported when needed; a typo is answered with the nearest names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module("verbs." + COMMANDS[cmd_name][0])
        return getattr(module, cmd_name.replace("-", "_") + "_command")

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from andon.text import clean, nearest

            near = nearest(args[0], COMMANDS)
            hint = "Did you mean: " + ", ".join(near) + "?" if near else "Type: andon --help"
            raise click.UsageError(f"There is no verb '{clean(args[0], 40)}', so nothing was done. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


class Settings:
    """What the options before the verb say; verbs get it with ``@click.pass_obj``."""

    def __init__(self, inventory: tuple[str, ...], verbose: int, as_json: bool) -> None:
        self.inventory = inventory
        self.verbose = verbose
        self.json = as_json


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-i", "--inventory", multiple=True, metavar="PATH", help="Inventory; without it the one set by `andon use`.")
@click.option("-v", "--verbose", count=True, help="Show Ansible's own output as well (-vvv: SSH too).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, for machines.")
@click.pass_context
def main(ctx: click.Context, inventory: tuple[str, ...], verbose: int, as_json: bool) -> None:
    """Andon: the cord for containerised trading systems.

    Trading is wrong right now? Type: andon stop
    """
    ctx.obj = Settings(inventory, verbose, as_json)


class Failure(click.ClickException):
    """An error in an operator's words: what happened, what it means, what to type next."""

    def __init__(self, what: str, means: str, then: str, code: int = 1) -> None:
        super().__init__(what)
        self.means = means
        self.then = then
        self.exit_code = code

    def show(self, file: Any = None) -> None:
        from andon.text import clean

        for line in (
            f"Error: {clean(self.message, 400)}",
            f"  It means: {clean(self.means, 400)}",
            f"  Next: {clean(self.then, 400)}",
        ):
            click.echo(line, err=True, file=file)


def fail(what: str, means: str, then: str, code: int = 1) -> NoReturn:
    """Ends the command with three lines: what happened, what it means, what to type next.

    Args:
        what, means, then: one line each.
        code: the exit code (the table at the top of this file).

    Raises:
        Failure: always.
    """
    raise Failure(what, means, then, code)


def unsafe(value: Any) -> Any:
    """A value for ``-e`` that Ansible never reads as a template: extra vars are trusted templates otherwise."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, Mapping):
        return {key: unsafe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [unsafe(item) for item in value]
    return value


def playbook_argv(
    verb: str,
    extra: Mapping[str, Any],
    *,
    inventory: Iterable[str] = (),
    limit: str | None = None,
    check: bool = False,
    diff: bool = False,
    verbose: int = 0,
) -> list[str]:
    """The one argv of one verb.

    Args:
        verb: the playbook's name without .yml (a shim in the root).
        extra: extra vars; strings are passed as untrusted data. Options that are None are left out.

    Returns:
        argv for subprocess or exec; nothing in it is secret.
    """
    argv = [ansible_playbook(), str(ROOT / f"{verb}.yml")]
    for path in inventory:
        argv += ["-i", path]
    values = {key: unsafe(value) for key, value in extra.items() if value is not None}
    if values:
        argv += ["-e", json.dumps(values, sort_keys=True)]
    if limit:
        argv += ["--limit", limit]
    if check:
        argv.append("--check")
    if diff:
        argv.append("--diff")
    if verbose:
        argv.append("-" + "v" * verbose)
    return argv


def ansible_playbook() -> str:
    """ansible-playbook beside this interpreter, else the one on PATH."""
    import shutil

    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if not found:
        fail("ansible-playbook is not installed beside this Python.", "No verb can run.", f"{ROOT}/dev setup")
    return found


def require_inventory(settings: Settings) -> tuple[str, ...]:
    """The inventories to use; fails in words when there is none (Ansible alone would exit 0)."""
    for path in settings.inventory:
        if "," not in path and not Path(path).exists():
            fail(
                f"The inventory {path} does not exist.",
                "Nothing was done on any host.",
                "andon use PATH, or give -i PATH",
            )
    if settings.inventory:
        return tuple(str(Path(p).resolve()) if "," not in p else p for p in settings.inventory)
    if os.environ.get("ANSIBLE_INVENTORY"):
        return ()
    current = ROOT / "inventory" / "current"
    if not current.exists():
        fail(
            "No inventory is chosen." if not current.is_symlink() else "The chosen inventory is gone (inventory/current leads nowhere).",
            "Andon does not know any host, so nothing was done.",
            "andon use PATH   (for the lab: ./dev lab up && andon use inventory/lab)",
        )
    return ()


def environment(settings: Settings) -> dict[str, str]:
    """The environment that ansible-playbook runs in: this checkout's configuration, wherever the person stands."""
    env = dict(os.environ)
    env["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    env["PATH"] = str(Path(sys.executable).parent) + os.pathsep + env.get("PATH", "")
    if settings.json:
        env["ANDON_JSON"] = "1"
    if os.environ.get("NO_COLOR"):
        env["ANSIBLE_NOCOLOR"] = "1"
    return env


def run_playbook(
    settings: Settings,
    verb: str,
    extra: Mapping[str, Any],
    *,
    limit: str | None = None,
    check: bool = False,
    diff: bool = False,
) -> NoReturn:
    """Runs one verb's playbook and ends with its exit code.

    The process is replaced (exec), so that Ctrl-C, signals and the terminal are Ansible's own.
    """
    argv = playbook_argv(
        verb,
        extra,
        inventory=require_inventory(settings),
        limit=limit,
        check=check,
        diff=diff,
        verbose=settings.verbose,
    )
    sys.stdout.flush()
    os.execve(argv[0], argv, environment(settings))


def capture_playbook(settings: Settings, verb: str, extra: Mapping[str, Any], *, limit: str | None = None, check: bool = False) -> tuple[int, dict[str, Any]]:
    """Runs one verb's playbook quietly, for its plan.

    Returns:
        (exit code, the JSON document it printed, {} when it printed none).
    """
    import subprocess

    argv = playbook_argv(verb, extra, inventory=require_inventory(settings), limit=limit, check=check)
    env = environment(settings) | {"ANDON_JSON": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
        if done.stderr or done.stdout:
            click.echo((done.stderr or done.stdout)[-2000:], err=True)
    return done.returncode, report


def interactive() -> bool:
    """True when a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm_target(target: str, yes: bool, what: str) -> str:
    """Asks the person to type the target's name; a gate, so it fails closed.

    Args:
        target: what must be typed, literally.
        yes: the person gave --yes.
        what: what will happen, one line.

    Returns:
        the target, to be passed on to the playbook as its confirmation.

    Raises:
        Failure: there is no terminal and no --yes, or the answer was another.
    """
    if yes:
        return target
    if not interactive():
        fail(f"{what} needs a confirmation and there is no terminal.", "Nothing was done.", "the same command with --yes")
    click.echo(what, err=True)
    answer = click.prompt(f"Type {target} to go on", default="", show_default=False, err=True)
    if answer.strip() != target:
        fail(f"'{answer.strip()}' is not '{target}'.", "Nothing was done.", "the same command again")
    return target


def limit_option(function: Any) -> Any:
    return click.option("-l", "--limit", metavar="HOSTS", help="Only these hosts (Ansible's pattern). The report says so.")(function)


def check_options(function: Any) -> Any:
    function = click.option("--diff", is_flag=True, help="Show current -> desired.")(function)
    return click.option("--check", is_flag=True, help="Show what would be done, on live state; change nothing.")(function)


def yes_option(function: Any) -> Any:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def reason_option(function: Any) -> Any:
    return click.option("-r", "--reason", metavar="TEXT", help="Why; kept in the latch, the proof and the journal.")(function)


if __name__ == "__main__":
    main(prog_name="andon")
