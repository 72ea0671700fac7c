"""What Andon keeps on the bastion, and who is at the keyboard.

Files only: var/ in the checkout, or the folder that ANDON_STATE names. Standard library only.
"""

from __future__ import annotations

import datetime
import json
import os
import pwd
import socket
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def state_dir():
    """The bastion's state: $ANDON_STATE, else var/ in the checkout. It may not exist yet."""
    return Path(os.environ.get("ANDON_STATE") or ROOT / "var")


def utc_now():
    """The time now, in UTC, with milliseconds: 2026-11-22T03:04:05.678Z."""
    return utc(datetime.datetime.now(datetime.timezone.utc))


def utc(moment):
    """A datetime or a Unix time in seconds, in UTC, with milliseconds."""
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromtimestamp(float(moment), datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (moment.microsecond // 1000)


def parse_utc(text):
    """The Unix time in seconds of what C(utc) wrote, or of an engine's RFC 3339 time; None if it is neither.

    Engines write nanoseconds and "0001-01-01T00:00:00Z" for never, which is None here.
    """
    try:
        head, _, tail = str(text).partition(".")
        zone = "+00:00"
        if tail:
            digits = tail.rstrip("Zz")
            for sign in "+-":
                if sign in digits:
                    digits, _, offset = digits.partition(sign)
                    zone = sign + offset
            fraction = float("0." + (digits or "0"))
        else:
            fraction = 0.0
            if head.endswith(("Z", "z")):
                head = head[:-1]
            elif len(head) > 19 and head[-6] in "+-":
                head, zone = head[:-6], head[-6:]
        moment = datetime.datetime.fromisoformat(head + zone)
        if moment.year < 1971:
            return None
        return moment.timestamp() + fraction
    except (ValueError, IndexError, OverflowError):
        return None


def actor():
    """Who is at the keyboard: ANDON_OPERATOR, else the login behind sudo, else the login.

    Returns:
        dict: name, and where known ssh_client (the address) and bastion (this machine's name).
    """
    name = os.environ.get("ANDON_OPERATOR") or os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = "uid %d" % os.getuid()
    who = {"name": name, "bastion": socket.gethostname()}
    client = os.environ.get("SSH_CLIENT", "").split(" ")[0]
    if client:
        who["ssh_client"] = client
    return who


def write_atomic(path, content, mode=0o640):
    """Writes a file so that a reader sees the old one or the new one, never half of one.

    Args:
        path: where; its folder is made.
        content: str, bytes, or anything JSON can hold.
        mode: the new file's permissions.

    Raises:
        OSError: the disk is full, read-only, or the folder may not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    handle, name = tempfile.mkstemp(prefix=".%s." % path.name, dir=str(path.parent))
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, mode)
        os.replace(name, str(path))
    except BaseException:
        Path(name).unlink()
        raise
    folder = os.open(str(path.parent), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
