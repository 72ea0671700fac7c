"""Where events go that a person should hear of. Bastion only.

C(notify) is the one seam: whatever sends messages is called from here. The file C(alerts.jsonl) always gets the event, one JSON
object a line, so that an event is never lost with a message.
"""

from __future__ import annotations

import fcntl
import json
import os

from .state import state_dir, utc_now

SCHEMA = "andon.event/1"


def alerts_file():
    return state_dir() / "alerts.jsonl"


def notify(event):
    """Tells of one event.

    Args:
        event: dict; kind, level ("alarm" or "note") and words at least. C(at) is added when it is not there.

    Raises:
        OSError: it could not be written, so nobody was told.
    """
    line = json.dumps(dict({"schema": SCHEMA, "at": utc_now()}, **event), sort_keys=True, ensure_ascii=False)
    path = alerts_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        data = (line + "\n").encode("utf-8", "surrogateescape")
        if os.write(handle, data) != len(data):
            raise OSError("the disk took only a part of the event")
        os.fsync(handle)
    finally:
        os.close(handle)
    if event.get("level") == "alarm":
        from . import outbox  # templates and all: only where somebody must be told

        outbox.tell("alert", None, str(event.get("words", "")))
