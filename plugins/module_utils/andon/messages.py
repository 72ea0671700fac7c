"""Words for messages: templates/messages/EVENT.j2, whose first line is the subject and whose rest is the body.

An organisation's own templates (ANDON_MESSAGES, a folder) win over these, file by file. What people and hosts wrote is a value
in them, cleaned before, and never read as a template. A template that fails costs its style, not the message.

Bastion only, in the courier's process: Jinja comes with ansible-core.
"""

from __future__ import annotations

import functools
import os
import re
import time
from typing import Any

from . import state
from .text import clean, clean_lines, duration

FOLDER = state.ROOT / "templates" / "messages"
_LATE = 120.0  # seconds; from here on a message says that it comes late
# Chat services ring everybody for these, whoever wrote them: a title must not.
_CALLS = re.compile(r"@(?=(?:everyone|here|channel|all|room)\b)|<(?=[!@#])", re.IGNORECASE)


def render(message: dict[str, Any], now: float | None = None, *, repeat: bool = False) -> tuple[str, str]:
    """A message's subject (one line) and body.

    Args:
        message: what C(outbox.compose) made.
        now: Unix time in seconds; None: the clock's.
        repeat: an earlier attempt ended without an answer, so it may have arrived already.
    """
    values = _values(message, time.time() if now is None else now, repeat)
    try:
        text = _template(message["event"]).render(values)
    except Exception as error:  # a typo in a template must not keep people from being told
        text = _plain(values) + "\n(The template %s.j2 failed: %s)" % (message["event"], clean(error, 160))
    subject, _, body = text.strip().partition("\n")
    return clean(_quiet(subject), 140), _quiet("\n".join(clean_lines(body.strip("\n"), 500, 120)))


def _template(event: str) -> Any:
    own = os.environ.get("ANDON_MESSAGES")
    return _environment((own,) if own else ()).get_template(event + ".j2")


@functools.lru_cache(maxsize=4)
def _environment(own: tuple[str, ...]) -> Any:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    # No escaping: the result is plain text, and C(_values) has taken out what is not.
    return SandboxedEnvironment(
        loader=jinja2.FileSystemLoader([*own, FOLDER]), autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _values(message: dict[str, Any], now: float, repeat: bool) -> dict[str, Any]:
    written = state.parse_utc(message["at"]) or now
    late = now - written
    incident = message["incident"]
    values = {
        "event": message["event"],
        "id": message["id"],
        "at": message["at"][:19].replace("T", " ") + " UTC",
        "who": clean(message["actor"].get("name", "?"), 40),
        "bastion": clean(message["actor"].get("bastion", "?"), 60),
        "text": "\n".join(clean_lines(message["text"], 500, 40)),
        "public": bool(message["public"]),
        "late": duration(late) if late > _LATE else "",
        "repeat": repeat,
        "facts": {clean(key, 40): value if isinstance(value, (int, float, bool)) else clean(value, 300) for key, value in message["facts"].items()},
        "incident": None,
    }
    if incident:
        values["incident"] = {key: _clean(value) for key, value in incident.items()}
        values["since"] = _since(incident, written)
    return values


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [clean(item, 200) for item in value[:20]]
    return value if isinstance(value, (int, float, bool)) or value is None else clean(value, 200)


def _since(incident: dict[str, Any], written: float) -> dict[str, str]:
    """For each moment of the incident, how long after the detection it was."""
    start = state.parse_utc(incident.get("detected") or "")
    result = {}
    for name in ("acknowledged", "mitigated", "resolved"):
        at = state.parse_utc(incident.get(name) or "")
        result[name] = duration(max(at - start, 0.0)) if at is not None and start is not None else ""
    result["detected"] = duration(max(written - start, 0.0)) if start is not None else "?"
    return result


def _plain(values: dict[str, Any]) -> str:
    incident = values["incident"] or {}
    head = "SEV%s %s: %s" % (incident.get("severity"), values["event"], incident.get("title")) if incident else "Andon: %s" % values["event"]
    return "\n".join([head, values["text"], "%s, %s" % (values["who"], values["at"]), incident.get("id", "")])


def _quiet(text: str) -> str:
    """Without what makes a chat service ring a whole room."""
    return _CALLS.sub(lambda found: found[0] + " ", text)
