"""The acts on one container: restart it, and restart it with another memory limit. Each ends in proof or in words.

Used on the hosts, so standard library only, Python 3.8.
"""

from __future__ import annotations

import time

from . import latch, limits
from .engine import EngineError
from .text import clean, duration, size

# A container that dies in the very moment it is stopped, or whose policy starts it again in that moment, makes the engine
# refuse with one of these although the next try works.
PASSING = ("is not running", "is restarting, wait until", "has already been stopped", "No such process")
TAIL = 20


class Failed(Exception):
    """An act that did not end as asked. C(str()) is one line for a person."""


class Hands:
    """Acts on containers of one host.

    Args:
        engine: engine.Engine.
        host_state: Andon's folder on this host (the latches).
        grace: seconds between SIGTERM and SIGKILL.
        wait: greatest wait in seconds for the health gate.
        settle: seconds that a container without a health check must stay up.
        host_root: where the host's /proc and /sys are.
        total: the host's memory in bytes (put back where an engine cannot go back to unlimited).
        tries: how often a passing refusal of the engine is asked again, 0.2 s apart.
    """

    def __init__(self, engine, host_state, grace=10, wait=60.0, settle=5.0, host_root="/", total=0, tries=25, sleep=time.sleep):
        self.engine = engine
        self.host_state = host_state
        self.grace = grace
        self.wait = wait
        self.settle = settle
        self.host_root = host_root
        self.total = total
        self.tries = tries
        self.sleep = sleep

    # Restart

    def restart(self, one):
        """Restarts one container (a view of targets.survey) and waits until it is healthy.

        Returns:
            dict name, id, ok, words, seconds, lines (its own last log lines when it failed), status, health.
        """
        return self._told(one, self._restart)

    def _restart(self, one):
        self._must_not_be_latched(one)
        if one["status"] in ("exited", "created"):
            self._engine("start", one["id"])
        elif one["status"] == "paused":
            # Thawed with SIGTERM, its handler would run on a state of the world that is gone. Killed, nothing of it runs.
            self._engine("kill", one["id"])
            self._engine("start", one["id"])
        else:
            self._engine("restart", "-t", str(self.grace), one["id"])
        self._stop_if_latched(one)
        return self._gate(one)

    # Restart with a limit

    def limit(self, one):
        """Stops one container, changes its limit, starts it, and proves the limit in the engine and in the kernel.

        When a step fails, the old limit is put back and the container is started as it was; the result still is a failure.

        Args:
            one: a view of targets.survey with new_memory and new_swap.

        Returns:
            as C(restart), and memory, memory_swap in force.
        """
        return self._told(one, self._limit)

    def _limit(self, one):
        self._must_not_be_latched(one)
        wanted = (one["new_memory"], one["new_swap"] or limits.UNLIMITED_SWAP)
        try:
            self._stop(one["id"])
            self._update(one["id"], wanted)
            self._must_not_be_latched(one, "It was stopped for the change and is down; its limit is changed")
            self._engine("start", one["id"])
            self._stop_if_latched(one)
            self._read_back(one, wanted)
            return self._gate(one)
        except Latched:
            # Whatever starts here would be against the latch: it stays down.
            raise
        except (Failed, EngineError) as error:
            # The log first: putting it back writes new lines.
            lines = self._tail(one["id"])
            failure = Failed("%s. %s" % (error, self._put_back(one)))
            failure.lines = lines
            raise failure from error

    def _stop(self, ident):
        self._engine("stop", "-t", str(self.grace), ident, done=("exited", "created"))
        now = self._now(ident)
        if now.status not in ("exited", "created"):
            raise Failed("it did not stop: it is %s" % now.status)

    def _update(self, ident, wanted):
        # Always both: the engine refuses a memory above the stored swap, and 0/0 counts as a stored swap of 0.
        self.engine.must("update", "--memory", str(wanted[0]), "--memory-swap", str(wanted[1]), ident)
        now = self._now(ident)
        # An engine without swap accounting answers -1 or 0 whatever was asked; the kernel's file decides then.
        if now.memory != wanted[0] or (now.memory_swap != wanted[1] and now.memory_swap > 0):
            raise Failed("the engine took %s and says %s" % (limits.words(*wanted), limits.words(now.memory, now.memory_swap)))

    def _read_back(self, one, wanted):
        now = self._now(one["id"])
        if not now.pid:
            raise Failed("it exited at once (exit code %s%s)" % (now.exit_code, ", out of memory" if now.oom_killed else ""))
        try:
            found = limits.Cgroup(now.pid, now.id, self.host_root).limit()
        except LookupError as error:
            again = self._now(one["id"])
            if again.pid != now.pid:
                raise Failed("it exited at once (exit code %s%s)" % (again.exit_code, ", out of memory" if again.oom_killed else "")) from error
            raise Failed("the limit cannot be read back: %s" % error) from error
        wrong = limits.differs(wanted, found)
        if wrong:
            raise Failed("the kernel does not enforce the limit: %s" % "; ".join(wrong))
        one["in_force"] = list(found)

    def _put_back(self, one):
        """Undoes a limit that failed. Returns words that say what is true now; raises nothing."""
        old = (one["memory"], one["memory_swap"] or limits.UNLIMITED_SWAP)
        words = "Its old limit (%s) is back" % limits.words(*old)
        try:
            now = self._now(one["id"])
            if (now.memory, now.memory_swap) != (one["memory"], one["memory_swap"]):
                self._stop(one["id"])
                if not old[0]:
                    if not self.total:
                        raise Failed("an engine cannot go back to unlimited, and the host's memory is not known")
                    old = (self.total, limits.UNLIMITED_SWAP)
                    words = "It was unlimited, which an engine cannot go back to: it has the host's whole memory (%s) now" % size(self.total)
                self._update(one["id"], old)
            if one["status"] not in ("running", "restarting"):
                return "%s, and it is down as before" % words
            self._must_not_be_latched(one, "It is down")
            if self._now(one["id"]).status not in ("running", "restarting"):
                self._engine("start", one["id"])
            self._stop_if_latched(one)
            return "%s: %s" % (words, self._gate(one))
        except Unhealthy as error:
            return "%s, and %s" % (words, error)
        except (Failed, EngineError) as error:
            return "PUTTING IT BACK FAILED: %s" % error

    # What both share

    def _told(self, one, act):
        begun = time.monotonic()
        result = {"id": one["id"], "name": one["name"], "ok": False, "lines": []}
        try:
            result.update(ok=True, words=act(one))
        except (Failed, EngineError) as error:
            lines = getattr(error, "lines", None)
            result.update(words=clean(error, 600), lines=self._tail(one["id"]) if lines is None else lines)
        result["seconds"] = round(time.monotonic() - begun, 2)
        try:
            now = self._now(one["id"])
            result.update(status=now.status, health=now.health, memory=now.memory, memory_swap=now.memory_swap)
        except (Failed, EngineError) as error:
            result.update(ok=False, status="unknown", health="", words=clean(error, 600))
        return result

    def _now(self, ident):
        found = self.engine.inspect([ident])
        if not found:
            raise Failed("it is gone: the engine does not know it any more")
        return found[0]

    def _engine(self, verb, *args, **kw):
        """One command; a refusal that passes by itself is asked again.

        Keyword args: done: states of the container that count as success although the engine refused.
        """
        ident = args[-1]
        for left in range(self.tries, -1, -1):
            try:
                return self.engine.must(verb, *args, deadline=self.grace + 30.0)
            except EngineError as error:
                if not any(words in str(error) for words in PASSING):
                    raise
                if self._now(ident).status in kw.get("done", ()):
                    return ""
                if not left:
                    raise
                self.sleep(0.2)
                if verb == "restart" and self._now(ident).status == "exited":
                    # It died by itself in between: what a restart still has to do is the start.
                    verb, args = "start", (ident,)
        return ""

    def _gate(self, one):
        """The health gate; returns words, raises Failed."""
        ok, now = self.engine.settle(one["id"], self.wait, self.settle)
        if now is None:
            raise Failed("it is gone: the engine does not know it any more")
        if now.started_at == one["started_at"]:
            raise Failed("it was not restarted: it still runs since %s" % clean(now.started_at, 40))
        if not ok:
            state = "%s%s" % (now.status, ", health check: %s" % now.health if now.health else "")
            if now.status != "running":
                state += " (exit code %s%s)" % (now.exit_code, ", out of memory" if now.oom_killed else "")
            if now.restarts:
                # The engine counts from zero at each start by hand: these are all since ours.
                state += ", it ended and was started again %d times" % now.restarts
            raise Unhealthy("it is not healthy within %s: %s" % (duration(self.wait), state))
        return "healthy" if now.health else "up for %s (no health check)" % duration(self.settle)

    def _refusal(self, one):
        found = self.engine.inspect([one["id"]])
        return latch.refusal(found[0], self.host_state) if found else None

    def _must_not_be_latched(self, one, else_words=""):
        words = self._refusal(one)
        if words:
            raise Latched("%s%s" % (words, ". " + else_words if else_words else ""))

    def _stop_if_latched(self, one):
        """The cord may be pulled while a container restarts: the start would undo it. Then it is stopped again, at once."""
        words = self._refusal(one)
        if words:
            try:
                self.engine.must("kill", one["id"])
            except EngineError:
                # A looping container has no process to kill in this moment; a stop ends the loop.
                self._engine("stop", "-t", "0", one["id"], done=("exited", "created"))
            raise Latched("the cord was pulled meanwhile (%s). It was stopped again" % words)

    def _tail(self, ident):
        try:
            return [clean(line, 200) for line in self.engine.tail(ident, TAIL)]
        except EngineError as error:
            return ["(the engine did not give the log: %s)" % clean(error)]


class Unhealthy(Failed):
    """The health gate did not open in time."""


class Latched(Failed):
    """A latch covers the container: nothing may start it."""
