"""andon guide: leads a person through a runbook, one key press per step."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence

import click

from andon import guides, incidents, journal
from andon.guides import Entry, Guide, GuideError, Progress, Step
from andon.text import clean, duration
from cli import COMMANDS, ROOT, Failure, Settings, fail

WIDTH = 80
_SAMPLES = {"id": "x", "name": "x", "memory": "512m", "share": "0.25", "text": "words", "money": "500"}  # one value per kind that a verb may get
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")
MARKS = {
    guides.DONE: "[x]",
    guides.BY_HAND: "[x]",
    guides.SKIPPED: "[-]",
    guides.FAILED: "[!]",
    guides.NO: "[!]",
    guides.UNKNOWN: "[?]",
    guides.STARTED: "[>]",
}
WORDS = {
    guides.DONE: "done",
    guides.BY_HAND: "done by hand",
    guides.SKIPPED: "skipped",
    guides.FAILED: "FAILED",
    guides.NO: "answered NO",
    guides.UNKNOWN: "UNKNOWN: it was started and its end was not seen",
    guides.STARTED: "is running",
}


@functools.cache
def available(step: Step) -> bool:
    """True when this version has the step's verb, and the verb takes the step's arguments.

    The arguments are only parsed: a guide at 3 a.m. must not be the place where an option turns out not to be there.
    """
    if step.verb not in COMMANDS:
        return False
    module = "verbs." + COMMANDS[step.verb][0]
    try:
        command = getattr(importlib.import_module(module), step.verb.replace("-", "_") + "_command")
        words = step.argv({ask.name: _SAMPLES[ask.kind] for ask in step.asks})[1:]
        with command.make_context(step.verb, list(words)) as context:
            if isinstance(command, click.Group) and words:
                # What the group made of the words: it may have put the name of a default command in front.
                name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
                if inner is not None:
                    inner.make_context(name, rest, parent=context).close()
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return False
    except click.UsageError:
        return False
    return True


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in guides.names() if name.startswith(incomplete)]


@click.command("guide")
@click.argument("name", required=False, shell_complete=_names)
@click.option("--print", "as_markdown", is_flag=True, help="The whole guide as Markdown; nothing is run.")
@click.option("--restart", is_flag=True, help="Begin anew; what was recorded is kept beside it.")
@click.option("--incident", metavar="ID", help="Another incident than the current one.")
@click.pass_obj
def guide_command(settings: Settings, name: str | None, as_markdown: bool, restart: bool, incident: str | None) -> None:
    """Be led through a runbook: each step says what it does and what it does not, and runs on a key press.

    Leave with q whenever you want; the same command goes on where you were. Without NAME: the list.

    \b
    Examples:
      andon guide
      andon guide kill-switch
      andon guide sev1 --print
    """
    try:
        if name is None:
            _list(settings)
        elif as_markdown or settings.json:
            _print(settings, guides.load(name))
        else:
            guide = guides.load(name)
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                fail("A guide asks at each step, and there is no terminal.", "Nothing was done.", f"andon guide {name} --print")
            Walk(settings, guide, Progress(guide, incidents.current(incident))).go(restart)
    except (GuideError, incidents.IncidentError, journal.JournalError) as error:
        raise Failure(str(error), error.means, error.then) from error
    except OSError as error:
        fail(f"{error.filename or guides.place(None)}: {error.strerror}.", "The guide cannot go on.", f"andon guide {name} --print")


def _list(settings: Settings) -> None:
    found = [guides.load(name) for name in guides.names()]
    if settings.json:
        click.echo(json.dumps([{"name": g.name, "title": g.title, "when": g.when, "severity": g.severity, "steps": len(g.steps)} for g in found]))
        return
    for guide in found:
        click.echo(f"{guide.name:18} SEV{guide.severity}  {guide.title}")
        click.echo(textwrap.fill(guide.when, WIDTH, initial_indent=" " * 24, subsequent_indent=" " * 24))
    click.echo("\nTo be led through one: andon guide NAME      To read it: andon guide NAME --print")


def _print(settings: Settings, guide: Guide) -> None:
    if settings.json:
        steps = [vars(step) | {"asks": [vars(ask) for ask in step.asks], "available": not step.verb or available(step)} for step in guide.steps]
        click.echo(json.dumps(vars(guide) | {"steps": steps}))
    else:
        click.echo(guides.markdown(guide, available), nl=False)


class Left(Exception):
    """The person pressed q."""


class Walk:
    """One person's way through a guide."""

    def __init__(self, settings: Settings, guide: Guide, progress: Progress) -> None:
        self.settings = settings
        self.guide = guide
        self.progress = progress

    def go(self, restart: bool) -> None:
        """Shows the whole guide and what is settled, then step after step until the last one, or until the person leaves."""
        if restart:
            kept = self.progress.restart()
            if kept:
                click.echo(f"Begun anew; the old record is {kept}")
        self.overview()
        try:
            while (step := self.progress.next_step()) is not None:
                self.one(step)
                self.follow_incident()
        except (Left, KeyboardInterrupt, EOFError, click.Abort):
            click.echo(f"\nLeft. To go on from here: andon guide {self.guide.name}")
            return
        click.echo(f"\nThe guide is through: {self.tally()}.")

    def overview(self) -> None:
        last = self.progress.outcomes()
        incident = f"incident {self.progress.incident}" if self.progress.incident else "no incident is open"
        click.echo(_bold(f"{self.guide.title} (SEV{self.guide.severity}), {incident}"))
        if last:
            when = min(entry.at for entry in self.progress.entries())
            click.echo(f"Begun {when}; goes on where it was left. To begin anew: andon guide {self.guide.name} --restart")
        phase = ""
        for number, step in enumerate(self.guide.steps, 1):
            if step.phase != phase:
                phase = step.phase
                click.echo(phase)
            entry = last.get(step.id)
            click.echo(_cut(f"  {MARKS[entry.outcome] if entry else '[ ]'} {number:2}. {_title(step)}{_outcome(entry)}"))

    def tally(self) -> str:
        last = self.progress.outcomes()
        outcomes = [last[step.id].outcome for step in self.guide.steps]
        counts = {word: outcomes.count(word) for word in (guides.DONE, guides.BY_HAND, guides.SKIPPED, guides.NO)}
        return ", ".join(f"{count} {WORDS[word]}" for word, count in counts.items() if count)

    def one(self, step: Step) -> None:
        """Shows a step and does what the person wants; whatever was not settled is shown again."""
        entry = self.progress.outcomes().get(step.id)
        self.show(step, entry)
        there = bool(step.verb) and available(step)
        keys = _keys(step, there, entry)
        key = _ask_key(keys)
        if key == "q":
            raise Left
        if key == "\r":
            self.run(step)
        elif self._still(step, entry):
            outcome = {"s": guides.SKIPPED, "y": guides.DONE, "n": guides.NO, "d": guides.BY_HAND if step.verb else guides.DONE}[key]
            self.note(step, self.progress.record(step, outcome))

    def _still(self, step: Step, shown: Entry | None) -> bool:
        """False when somebody else did something with the step while this person was reading."""
        now = self.progress.outcomes().get(step.id)
        if now == shown:
            return True
        if now:
            click.echo(f"Meanwhile {clean(now.actor, 40)} was here:{_outcome(now)}")
        return False

    def show(self, step: Step, entry: Entry | None) -> None:
        number = self.guide.steps.index(step) + 1
        click.echo("\n" + "-" * WIDTH)
        click.echo(_bold(_cut(f"{number}/{len(self.guide.steps)}  {_title(step)}")))
        if step.option:
            others = self.guide.options(step)
            last = self.progress.outcomes()
            taken = [other.option for other in others if other.id in last and last[other.id].outcome in (guides.DONE, guides.BY_HAND)]
            words = f"Option {', '.join(taken)} is done; s skips this one." if taken else "s skips to the next one."
            click.echo(f"One of the options {', '.join(other.option for other in others)} is enough. {words}")
        if step.check:
            _row("Check", step.check)
        if step.verb and available(step):
            _row("Runs", step.command())
            rows = [("Why", step.why), ("Does", step.does), ("Does not", step.does_not)]
            if entry and not step.settled(entry.outcome):
                rows.append(("By hand", step.by_hand))
        elif step.verb:
            _row("By hand", f"This version has no `{step.command()}`, so this one is yours: {step.by_hand}")
            rows = [("Why", step.why)]
        else:
            _row("You", step.instruction)
            rows = [("Why", step.why), ("Does", step.does), ("Does not", step.does_not)]
        for name, text in rows:
            _row(name, text)
        if step.verb == "open" and self.progress.incident:
            _row("Note", f"The incident {self.progress.incident} is open already. s skips this, unless it is another one.")
        if entry:
            _row("So far", f"{clean(entry.actor, 40)}, {entry.at}:{_outcome(entry)}")

    def run(self, step: Step) -> None:
        values = _ask_values(step)
        argv = [sys.executable, str(ROOT / "cli.py"), *_globals(self.settings), *step.argv(values)]
        environment = dict(os.environ)
        if self.progress.incident:  # another one may become the current one while this guide is walked
            environment["ANDON_INCIDENT"] = self.progress.incident
        click.echo(f"$ {step.command(values)}")
        began = time.monotonic()
        with self.progress.running(step, values):
            code = _run(argv, environment)
            seconds = round(time.monotonic() - began, 1)
            # 2 is a verb's "no"; any other code says that it could not find out (the table in cli.py).
            bad = guides.NO if step.check and code == 2 else guides.FAILED
            entry = self.progress.record(step, guides.DONE if code == 0 else bad, code=code, seconds=seconds, values=values)
        click.echo(f"Step {self.guide.steps.index(step) + 1}:{_outcome(entry)}{'' if step.settled(entry.outcome) else '; it is shown again'}")
        self.note(step, entry)

    def note(self, step: Step, entry: Entry) -> None:
        """Records the outcome in the incident's journal; what cannot be written is warned of and stops nobody."""
        if self.progress.trouble:
            click.echo(f"WARNING: how far you are is NOT KEPT beyond this session: {clean(self.progress.trouble, 200)}", err=True)
        if not self.progress.incident:
            return
        text = f"Guide {self.guide.name}, step {step.id} ({step.title}):{_outcome(entry)}"
        data = {
            "text": text,
            "guide": self.guide.name,
            "step": step.id,
            "outcome": entry.outcome,
            "exit": entry.exit,
            "command": step.command(entry.values) if step.verb else None,
        }
        try:
            journal.append(incidents.folder(self.progress.incident), "guide.step", "guide", data)
        except (journal.JournalError, incidents.IncidentError) as error:
            click.echo(f"WARNING: not in the journal: {clean(error, 200)} {clean(error.means, 200)}", err=True)

    def follow_incident(self) -> None:
        """A step may have opened an incident: the guide's state moves into it."""
        if self.progress.incident is None:
            found = incidents.current()
            if found:
                self.progress = self.progress.adopt(found)
                click.echo(f"The guide goes on within the incident {found}.")


def _run(argv: Sequence[str], environment: dict[str, str]) -> int:
    """Runs a verb on this terminal. Ctrl-C is the verb's: it says what is proven, and the guide waits for its end."""
    import signal

    child = subprocess.Popen(argv, env=environment)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _globals(settings: Settings) -> list[str]:
    words = [word for path in settings.inventory for word in ("-i", path)]
    return words + (["-" + "v" * settings.verbose] if settings.verbose else [])


def _keys(step: Step, there: bool, entry: Entry | None) -> dict[str, str]:
    """The keys that a step offers, with what they do."""
    keys: dict[str, str] = {}
    if there:
        again = entry is not None and not step.settled(entry.outcome)
        keys["\r"] = "run again" if again else "run"
        if again:
            keys |= {"y": "yes, it holds now", "n": "no"} if step.check else {"d": "done by hand"}
    elif step.check:
        keys |= {"y": "yes", "n": "no"}
    else:
        keys["d"] = "done by hand" if step.verb else "done"
    return keys | {"s": "skip", "q": "leave"}


def _ask_key(keys: dict[str, str]) -> str:
    """One key of those offered.

    What was typed before the question was shown answered another one, and what comes after the key must not answer the verb
    that runs next: both are thrown away.
    """
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSAFLUSH)
        click.echo("  ".join(f"[{'Enter' if key == chr(13) else key}] {word}" for key, word in keys.items()) + " ", nl=False)
        while True:
            typed = os.read(terminal, 1024).decode("ascii", "replace")
            if typed in ("\x04", ""):
                raise EOFError
            # An arrow key is an escape sequence whose last byte may be one of ours.
            for key in _SEQUENCE.sub("", typed).replace("\n", "\r").lower():
                if key in keys:
                    click.echo()
                    return key
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


def _ask_values(step: Step) -> dict[str, str]:
    values = {}
    for ask in step.asks:
        default = guides.fill_default(ask)
        while True:
            value = str(click.prompt(ask.prompt, default=default or None)).strip()
            fault = ask.fault(value)
            if not fault:
                break
            click.echo(f"That cannot be used: {fault}.")
        values[ask.name] = value
    return values


def _title(step: Step) -> str:
    return (f"Option {step.option}: " if step.option else "") + step.title


def _outcome(entry: Entry | None) -> str:
    if entry is None:
        return ""
    words = " " + WORDS[entry.outcome]
    if entry.exit:
        words += f" (exit code {entry.exit})"
    if entry.seconds is not None:
        words += f", took {duration(entry.seconds)}"
    return words


def _row(name: str, text: str) -> None:
    click.echo(textwrap.fill(clean(text, 700), WIDTH, initial_indent=f"  {name:9}", subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False))


def _cut(text: str) -> str:
    return incidents.fit(text, WIDTH)


def _bold(text: str) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, bold=True)
