"""Guided runbooks: steps as data (runbooks/*.yml), how far each incident is in them, and the same steps as Markdown.

A step is one of three things: a verb of ours with its arguments, a check (a question, answered by a verb's exit code or by a
person), or an instruction for a person. Where the verb is not there, the step is an instruction, and says so.

Bastion only. PyYAML comes with ansible-core; it is imported when a guide is read, not before.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import journal, state
from .locks import lock_file
from .text import clean, nearest, plural, valid_id, valid_name

SCHEMA = "andon.guide/1"
FOLDER = state.ROOT / "runbooks"

# How a step can end. The first three let the guide go on; the others keep the step in front (but see Step.settled).
DONE, BY_HAND, SKIPPED, FAILED, NO, UNKNOWN, STARTED = "done", "by-hand", "skipped", "failed", "no", "unknown", "started"
SETTLED = frozenset({DONE, BY_HAND, SKIPPED})
OUTCOMES = frozenset({DONE, BY_HAND, SKIPPED, FAILED, NO, STARTED})

_HOLE = re.compile(r"\{([a-z_]+)\}")
_MEMORY = re.compile(r"[1-9][0-9]{0,9}[kmgKMG]?\Z")
_MONEY = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2})?\Z")
_SHARE = re.compile(r"(?:0?\.[0-9]{1,4}|0|1(?:\.0{1,4})?)\Z")


class GuideError(Exception):
    """A guide cannot be used.

    Attributes:
        means: what that means for the person, one line.
        then: what to type next, one line.
    """

    def __init__(self, what: str, means: str, then: str) -> None:
        super().__init__(what)
        self.means = means
        self.then = then


@dataclass(frozen=True)
class Ask:
    """Something a person must name before a verb can run."""

    name: str
    prompt: str
    kind: str
    default: str = ""

    def fault(self, value: str) -> str:
        """Why a value cannot be used; "" when it can. What is refused could have become an option of the verb."""
        if self.kind == "id":
            return "" if valid_id(value) else "letters, digits, '.', '_' and '-' only, at most 64, a letter or digit first"
        if self.kind == "name":
            return "" if valid_name(value) else "letters, digits, '.', '_' and '-' only, at most 128, a letter or digit first"
        if self.kind == "memory":
            return "" if _MEMORY.match(value) else "a number of bytes with k, m or g, e.g. 512m"
        if self.kind == "share":
            return "" if _SHARE.match(value) and float(value) > 0 else "a number above 0 and at most 1, e.g. 0.25"
        if self.kind == "money":
            return "" if _MONEY.match(value) and float(value) > 0 else "a number above 0, e.g. 500"
        if not value.strip() or len(value) > 500:
            return "between 1 and 500 characters"
        return "it must not begin with '-'" if value.startswith("-") else ""


KINDS = frozenset({"id", "name", "memory", "share", "money", "text"})


@dataclass(frozen=True)
class Step:
    id: str
    title: str
    why: str
    does: str
    does_not: str
    phase: str = ""
    option: str = ""
    verb: str = ""
    args: tuple[str, ...] = ()
    check: str = ""
    instruction: str = ""
    by_hand: str = ""
    asks: tuple[Ask, ...] = ()
    covers: tuple[str, ...] = ()
    either: bool = False

    def settled(self, outcome: str) -> bool:
        """True when the guide goes on after this outcome. A check that only wants to know goes on after a no, too."""
        return outcome in SETTLED or (outcome == NO and self.either)

    def command(self, values: dict[str, str] | None = None) -> str:
        """The command as a person would type it; holes without a value stay as <NAME>."""
        import shlex

        words = []
        for word in self.args:
            filled = _HOLE.sub(lambda m: (values or {}).get(m[1], "<%s>" % m[1].upper()), word)
            words.append(filled if filled.startswith("<") else shlex.quote(filled))
        return " ".join(["andon", self.verb, *words])

    def argv(self, values: dict[str, str]) -> list[str]:
        """The verb and its arguments, with every hole filled.

        Raises:
            KeyError: a value is missing.
        """
        return [self.verb] + [_HOLE.sub(lambda m: values[m[1]], word) for word in self.args]


@dataclass(frozen=True)
class Guide:
    name: str
    title: str
    when: str
    severity: int
    steps: tuple[Step, ...]

    def step(self, wanted: str) -> Step:
        return next(step for step in self.steps if step.id == wanted)

    def options(self, step: Step) -> list[Step]:
        """The steps of which one is enough, when the step is one of them."""
        return [other for other in self.steps if step.option and other.option and other.phase == step.phase]


# Reading a guide


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all guides."""
    return sorted(path.stem for path in folder.glob("*.yml"))


def load(name: str, folder: Path = FOLDER) -> Guide:
    """Reads one guide.

    Raises:
        GuideError: there is none of that name, or its file is wrong; the message names the file, the step and the field.
    """
    known = names(folder)
    if name not in known:
        near = nearest(name, known) or known
        raise GuideError("There is no guide '%s'." % clean(name, 40), "Nothing was done.", "andon guide %s" % " | ".join(near or ["NAME"]))
    path = folder / (name + ".yml")
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _broken(path, "it cannot be read: %s" % clean(error, 160)) from error
    guide = parse(data, path)
    if guide.name != name:
        raise _broken(path, "its name is '%s'; it must be the file's name" % clean(guide.name, 40))
    return guide


_GUIDE_FIELDS = {"name": str, "title": str, "when": str, "severity": int, "steps": list}
_STEP_TEXTS = ("id", "title", "why", "does", "does_not", "phase", "option", "verb", "check", "instruction", "by_hand")
_STEP_FIELDS = {**dict.fromkeys(_STEP_TEXTS, str), "args": list, "asks": dict, "covers": list, "either": bool}
_STEP_NEEDED = ("id", "title", "why", "does", "does_not")


def parse(data: Any, source: Path | str) -> Guide:
    """Checks a guide's data and makes it a guide.

    Args:
        data: what YAML read.
        source: the file's name, for messages.

    Raises:
        GuideError: something is missing, unknown, of another type, or contradicts itself.
    """
    _fields(data, _GUIDE_FIELDS, tuple(_GUIDE_FIELDS), source, "the guide")
    if not valid_id(data["name"]):
        raise _broken(source, "the guide's name '%s' is no id" % clean(data["name"], 40))
    if data["severity"] not in (1, 2, 3):
        raise _broken(source, "severity is %s; it must be 1, 2 or 3" % clean(data["severity"], 20))
    if not data["steps"]:
        raise _broken(source, "it has no steps")
    steps: list[Step] = []
    for number, item in enumerate(data["steps"], 1):
        step = _step(item, number, source)
        if step.id in {other.id for other in steps}:
            raise _broken(source, "two steps have the id '%s'" % step.id)
        steps.append(step)
    return Guide(data["name"], clean(data["title"], 70), clean(data["when"], 300), data["severity"], tuple(steps))


def _step(item: Any, number: int, source: Path | str) -> Step:
    where = "step %d" % number
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        where += " (%s)" % clean(item["id"], 40)
    _fields(item, _STEP_FIELDS, _STEP_NEEDED, source, where)
    if not valid_id(item["id"]):
        raise _broken(source, "%s: its id is no id" % where)
    kinds = [kind for kind in ("verb", "check", "instruction") if item.get(kind)]
    if kinds not in (["verb"], ["check"], ["verb", "check"], ["instruction"]):
        raise _broken(source, "%s: it needs a verb, a check (with a verb or without one) or an instruction; it has %s" % (where, kinds or "none"))
    if "verb" in kinds and not item.get("by_hand"):
        raise _broken(source, "%s: a step with a verb needs by_hand, for when the verb is not there" % where)
    if "verb" not in kinds and (item.get("args") or item.get("asks") or item.get("by_hand")):
        raise _broken(source, "%s: args, asks and by_hand belong to a step with a verb" % where)
    if "either" in item and "check" not in kinds:
        raise _broken(source, "%s: either belongs to a check" % where)
    for listed in ("args", "covers"):
        if not all(isinstance(word, str) for word in item.get(listed, [])):
            raise _broken(source, "%s: %s must be a list of texts (quote numbers)" % (where, listed))
    asks = tuple(_ask(name, ask, source, where) for name, ask in item.get("asks", {}).items())
    holes = {hole for word in item.get("args", []) for hole in _HOLE.findall(word)}
    if holes != {ask.name for ask in asks}:
        raise _broken(source, "%s: args need %s and asks name %s" % (where, sorted(holes), sorted(ask.name for ask in asks)))
    texts = {key: clean(item[key], 600) for key in _STEP_TEXTS if key in item}
    return Step(**texts, args=tuple(item.get("args", [])), asks=asks, covers=tuple(item.get("covers", [])), either=item.get("either", False))


def _ask(name: Any, item: Any, source: Path | str, where: str) -> Ask:
    where = "%s: asks: %s" % (where, clean(name, 40))
    _fields(item, {"prompt": str, "kind": str, "default": str}, ("prompt", "kind"), source, where)
    if item["kind"] not in KINDS:
        raise _broken(source, "%s: kind '%s' is not one of %s" % (where, clean(item["kind"], 20), ", ".join(sorted(KINDS))))
    return Ask(name, clean(item["prompt"], 100), item["kind"], item.get("default", ""))


def _fields(data: Any, known: dict[str, type], needed: tuple[str, ...], source: Path | str, where: str) -> None:
    if not isinstance(data, dict):
        raise _broken(source, "%s must be a table of fields" % where)
    for key in data:
        if key not in known:
            near = nearest(str(key), known, 1)
            raise _broken(source, "%s has the unknown field '%s'%s" % (where, clean(key, 40), ", did you mean '%s'?" % near[0] if near else ""))
    for key in needed:
        if key not in data or data[key] == "":
            raise _broken(source, "%s has no field '%s'" % (where, key))
    for key, value in data.items():
        if type(value) is not known[key]:
            words = {str: "a text (quote it)", int: "a number", list: "a list", dict: "a table", bool: "true or false"}
            raise _broken(source, "%s: '%s' must be %s" % (where, key, words[known[key]]))


def _broken(source: Path | str, what: str) -> GuideError:
    return GuideError("The guide %s is wrong: %s." % (source, what), "It was not shown; nothing was done.", "mend the file, or take docs/runbooks/")


def fill_default(ask: Ask, now: datetime.datetime | None = None) -> str:
    """An ask's default, with {date} as the UTC date (20261122)."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return ask.default.replace("{date}", now.strftime("%Y%m%d"))


# How far somebody is


@dataclass(frozen=True)
class Entry:
    """One thing that happened to one step."""

    at: str
    step: str
    outcome: str
    actor: str
    exit: int | None = None
    seconds: float | None = None
    values: dict[str, str] = field(default_factory=dict)


class Progress:
    """How far a guide is, in one file per guide and incident. Several people may work through it at once.

    Every change is made under a lock and written atomically; nothing in the list of entries is ever changed. Who runs a
    step holds a lock on a file of its own while it runs: the kernel gives that back when the process dies, whatever killed it.
    """

    def __init__(self, guide: Guide, incident: str | None) -> None:
        self.guide = guide
        self.incident = incident
        self.folder = place(incident)
        self.path = self.folder / (guide.name + ".json")
        self.unsaved: list[Entry] = []
        self.trouble = ""  # why the last entry could not be written

    def entries(self) -> list[Entry]:
        """What happened so far, oldest first.

        Raises:
            GuideError: the file is there and cannot be understood.
        """
        return self._saved() + self.unsaved

    def _saved(self) -> list[Entry]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise ValueError("schema %s" % data["schema"])
            return [_entry(item) for item in data["entries"]]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise GuideError(
                "The state of the guide, %s, cannot be read: %s." % (self.path, clean(error, 100)),
                "How far it was is not known; nothing was done.",
                "andon guide %s --restart   (it keeps the old file)" % self.guide.name,
            ) from error

    def outcomes(self) -> dict[str, Entry]:
        """The last entry of each step; a step whose process died while it ran is C(unknown), never done."""
        last = {entry.step: entry for entry in self.entries()}
        for step, entry in last.items():
            if entry.outcome == STARTED and not self._running(step):
                last[step] = Entry(entry.at, step, UNKNOWN, entry.actor, values=entry.values)
        return last

    def next_step(self) -> Step | None:
        """The first step that is not settled; None: the guide is through."""
        last = self.outcomes()
        return next((step for step in self.guide.steps if step.id not in last or not step.settled(last[step.id].outcome)), None)

    def record(self, step: Step, outcome: str, *, code: int | None = None, seconds: float | None = None, values: dict[str, str] | None = None) -> Entry:
        """Adds an entry. One that cannot be written (a full disk) is kept in memory, and C(trouble) says so: a guide goes on."""
        if outcome not in OUTCOMES:
            raise ValueError("outcome %s" % outcome)
        entry = Entry(state.utc_now(), step.id, outcome, state.actor()["name"], code, seconds, values or {})
        try:
            with self._lock():
                self._write([*self.entries(), entry])
            self.unsaved, self.trouble = [], ""
        except OSError as error:
            self.unsaved.append(entry)
            self.trouble = "%s: %s" % (self.path, error.strerror)
        return entry

    @contextlib.contextmanager
    def running(self, step: Step, values: dict[str, str] | None = None) -> Iterator[None]:
        """Marks a step as started, and keeps others from starting it until the block ends.

        Raises:
            GuideError: somebody runs it now.
        """
        try:
            handle = self._claim(step.id)
        except OSError as error:  # a stop must not wait for a disk: without the lock two people may run it, which is safe there
            self.trouble = "%s: %s" % (self.folder, error.strerror)
            self.record(step, STARTED, values=values)
            yield
            return
        for _ in range(20):  # somebody who only looks holds it for a moment
            if handle is not None:
                break
            time.sleep(0.005)
            handle = self._claim(step.id)
        if handle is None:
            last = self.outcomes().get(step.id)
            who = "%s started it at %s" % (clean(last.actor, 40), last.at) if last else "somebody has just started it"
            raise GuideError("Step %s is running: %s." % (step.id, who), "It was not run a second time.", "andon guide %s, when it has ended" % self.guide.name)
        try:
            self.record(step, STARTED, values=values)
            yield
        finally:
            os.close(handle)

    def restart(self) -> Path | None:
        """Begins anew; what was recorded is kept beside it.

        Returns:
            where it is kept; None when there was nothing.

        Raises:
            GuideError: a step is running.
        """
        with self._lock():
            try:
                busy = [entry for entry in self.outcomes().values() if entry.outcome == STARTED]
            except GuideError:  # a file that cannot be read is what this is for
                busy = []
            if busy:
                what = "%s is running step %s." % (clean(busy[0].actor, 40), clean(busy[0].step, 64))
                raise GuideError(what, "The guide was not begun anew.", "the same command, when it has ended")
            if not self.path.exists():
                return None
            number = 1
            while (kept := self.folder / ("%s.%d.json" % (self.guide.name, number))).exists():
                number += 1
            os.rename(self.path, kept)
            return kept

    def adopt(self, incident: str) -> Progress:
        """The same progress within an incident that was opened meanwhile; what the incident has already is left alone."""
        other = Progress(self.guide, incident)
        other.unsaved = self.unsaved
        if self.incident is None and self.path.exists():
            with self._lock(), other._lock():
                if not other.path.exists():
                    other._write(self._saved())
                    self.path.unlink()
        return other

    def _write(self, entries: list[Entry]) -> None:
        data = {"schema": SCHEMA, "guide": self.guide.name, "incident": self.incident, "entries": [vars(entry) for entry in entries]}
        state.write_atomic(self.path, data, journal.file_mode(self.folder))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        handle = lock_file(self.folder / (".%s.lock" % self.guide.name))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _claim(self, step: str) -> int | None:
        handle = lock_file(self.folder / (".%s.%s.running" % (self.guide.name, step)))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return handle

    def _running(self, step: str) -> bool:
        try:
            handle = self._claim(step)
        except OSError:
            return False
        if handle is None:
            return True
        os.close(handle)
        return False


def _entry(item: dict[str, Any]) -> Entry:
    if item["outcome"] not in OUTCOMES:
        raise ValueError("outcome %s" % item["outcome"])
    return Entry(str(item["at"]), str(item["step"]), item["outcome"], str(item["actor"]), item.get("exit"), item.get("seconds"), dict(item.get("values") or {}))


def place(incident: str | None) -> Path:
    """The folder of the guides' states: the incident's, or the one for when no incident is open."""
    base = state.state_dir()
    return base / "incidents" / incident / "guides" if incident else base / "guides"


# As Markdown


def markdown(guide: Guide, available: Callable[[Step], bool]) -> str:
    """The whole guide as a page.

    Args:
        guide: what C(load) gave.
        available: whether this version has a step's command; a step without it is written as an instruction.
    """
    lines = [
        "# Runbook: %s" % _md(guide.title),
        "",
        _md(guide.when),
        "",
        "SEV%d, %s. To be led through it: `andon guide %s`." % (guide.severity, plural(len(guide.steps), "step"), guide.name),
        "",
    ]
    phase = ""
    for number, step in enumerate(guide.steps, 1):
        if step.phase != phase:
            phase = step.phase
            lines += ["## %s" % _md(phase), ""]
        lines += _step_markdown(guide, step, number, available)
    return "\n".join(lines).rstrip("\n") + "\n"


def _step_markdown(guide: Guide, step: Step, number: int, available: Callable[[Step], bool]) -> list[str]:
    option = "Option %s: " % step.option if step.option else ""
    lines = ["### %d. %s%s" % (number, option, _md(step.title)), ""]
    if step.option:
        letters = ", ".join(other.option for other in guide.options(step))
        lines += ["One of %s is enough." % letters, ""]
    if step.check:
        lines += ["**Check:** %s%s" % (_md(step.check), "" if step.either else " Go on only when it holds."), ""]
    if step.verb and available(step):
        lines += ["```console", step.command(), "```", ""]
        rows = [("Why", step.why), ("Does", step.does), ("Does not", step.does_not), ("By hand", step.by_hand)]
    elif step.verb:
        lines += ["**By hand** (this version has no `%s`): %s" % (step.command(), _md(step.by_hand)), ""]
        rows = [("Why", step.why)]
    else:
        if step.instruction:
            lines += [_md(step.instruction), ""]
        rows = [("Why", step.why), ("Does", step.does), ("Does not", step.does_not)]
    return [*lines, *["- %s: %s" % (name, _md(text)) for name, text in rows], ""]


def _md(text: str) -> str:
    """Text that Markdown shows as it is: the data speaks of *.yml and <words>."""
    return re.sub(r"([\\`*<])", r"\\\1", text)
