"""The fleet's lock on one host: C(<andon_host_state>/lock.json) with owner, run id, reason, time and expiry.

The lock of the fleet is held by whoever holds it on every host. It is for rollback, resume, restart and limit_memory, never
for the stop. Whatever reads or writes the file holds a lock of the kernel on a second one, so taking it is atomic, and a
process that dies in between leaves nothing behind. Standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from .state import parse_utc, utc, write_atomic
from .text import clean, duration


class LockHeld(Exception):
    """Somebody else holds it; C(str()) says who, since when, why, and how to go on."""

    def __init__(self, holder, now):
        self.holder = holder
        super().__init__(words(holder, now))


class LockBroken(Exception):
    """The file is there and cannot be understood: it counts as held (gates fail closed)."""


def words(holder, now=None):
    """Who holds the lock, for a person."""
    now = time.time() if now is None else now
    left = (parse_utc(holder.get("expires")) or now) - now
    return clean(
        "the fleet's lock is held by %s (run %s, %s) since %s%s; it expires in %s"
        % (
            holder.get("owner") or "?",
            holder.get("run_id") or "?",
            holder.get("verb") or "?",
            holder.get("at") or "?",
            ": %s" % holder["reason"] if holder.get("reason") else "",
            duration(max(left, 0)),
        ),
        400,
    )


class Lock:
    """The lock on this host.

    Args:
        host_state: Andon's folder on the host.
        clock: Unix time in seconds; the expiry is on this host's clock, so that only one clock counts.
    """

    def __init__(self, host_state, clock=time.time):
        self.folder = host_state
        self.path = os.path.join(host_state, "lock.json")
        self.clock = clock

    @contextlib.contextmanager
    def _alone(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        handle = os.open(os.path.join(self.folder, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self):
        try:
            with open(self.path, encoding="utf-8") as source:
                holder = json.load(source)
            if not isinstance(holder, dict) or not holder.get("run_id") or parse_utc(holder.get("expires")) is None:
                raise ValueError("no run_id or expiry in it")
            return holder
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise LockBroken(
                "%s is there and cannot be read (%s); it counts as held. Look at it, then: andon lock release --force" % (self.path, error)
            ) from error

    def holder(self):
        """Who holds it now: the file's content with C(expired) (bool); None if nobody. A broken file: {"broken": why}."""
        try:
            holder = self._read()
        except LockBroken as error:
            return {"broken": str(error), "expired": False}
        if holder is not None:
            holder["expired"] = self._expired(holder)
        return holder

    def _expired(self, holder):
        return parse_utc(holder["expires"]) <= self.clock()

    def take(self, run_id, owner, verb, reason, ttl, where="", dead=(), check=False):
        """Takes or renews the lock.

        Args:
            run_id: this run; the same run may take it again, which renews the expiry.
            owner, verb, reason: words for whoever is refused. where: the bastion's boot and process namespace.
            ttl: seconds until it expires by itself.
            dead: run ids that the bastion knows to be dead; their lock is taken over.
            check: only ask.

        Returns:
            the holder that was replaced because it was dead or expired, or None.

        Raises:
            LockHeld, LockBroken, OSError.
        """
        with self._alone():
            holder = self._read()
            now = self.clock()
            replaced = None
            if holder is not None and holder["run_id"] != run_id:
                if not self._expired(holder) and holder["run_id"] not in dead:
                    raise LockHeld(holder, now)
                replaced = holder
            if not check:
                mine = {"owner": owner, "run_id": run_id, "verb": verb, "reason": reason, "where": where, "at": utc(now), "expires": utc(now + ttl)}
                if holder is not None and holder["run_id"] == run_id:
                    mine["at"] = holder.get("at", mine["at"])
                write_atomic(self.path, mine, 0o600)
            return replaced

    def release(self, run_id, force=False, check=False):
        """Gives the lock back; returns True if there was one.

        Raises:
            LockHeld: it is another run's and C(force) is not given.
            LockBroken: it cannot be read and C(force) is not given.
        """
        with self._alone():
            try:
                holder = self._read()
            except LockBroken:
                if not force:
                    raise
                holder = {}
            if holder is None:
                return False
            if holder.get("run_id") != run_id and not force:
                raise LockHeld(holder, self.clock())
            if not check:
                os.unlink(self.path)
            return True

    def held_by(self, run_id):
        """Fails unless this run holds the lock and it has not expired: asked right before a change.

        Raises:
            LockHeld: another run holds it. LockBroken: nobody does, it expired, or it cannot be read.
        """
        holder = self.holder()
        if holder is None or holder.get("broken"):
            raise LockBroken((holder or {}).get("broken") or "this run does not hold the fleet's lock on this host")
        if holder["run_id"] != run_id:
            raise LockHeld(holder, self.clock())
        if holder["expired"]:
            raise LockBroken("this run's lock expired at %s" % holder["expires"])
