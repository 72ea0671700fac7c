"""Samples the memory of all covered containers of one host, for a time, in one go. Standard library only, Python 3.8."""

from __future__ import annotations

import subprocess
import time

from .cgroup import Memory, NoAccounting, birth, host_memory
from .engine import EngineError
from .oom import from_events, from_kernel, merge, read_kernel

# Seconds between two looks at the engine: a container that was restarted, or that came, is found within this time.
LOOK_EVERY = 10.0
# ... and this soon when a sample could not be taken, because its main process has gone.
LOOK_AGAIN = 1.0
# More samples than this per container would only fill the wire; the interval is stretched instead.
MOST = 1200
FIGURES = ("held", "anon", "working", "usage", "firm")


class Track:
    """One container while it is sampled.

    Attributes:
        container: the last look at it (engine.Container).
        runs: how many starts have been seen; samples: lists [seconds, run, *FIGURES].
        error: why it cannot be sampled, or None.
    """

    def __init__(self, container):
        self.container = container
        self.memory = None
        self.birth = None
        self.pid = 0
        self.runs = 0
        self.samples = []
        self.error = None
        self.first = []

    def attach(self, container, proc):
        """Takes a fresh look; finds the memory group again when the main process is another."""
        self.container = container
        pid = container.pid if container.running and container.pid > 0 else 0
        born = birth(pid, proc) if pid else None
        if born is None:
            self.memory, self.pid, self.birth = None, 0, None
            return
        if (pid, born) == (self.pid, self.birth):
            return
        try:
            self.memory = Memory(pid, proc)
        except NoAccounting as error:
            self.memory, self.error = None, str(error)
            return
        except OSError:
            self.memory = None  # it ended between the engine's answer and this line; the next look tells
            return
        self.pid, self.birth, self.error = pid, born, None
        self.runs += 1
        self.first = self.memory.processes()

    def sample(self, at, proc):
        """One sample; False when the main process has gone (a group's path is the same after a restart, so the path says nothing)."""
        if self.memory is None:
            return False
        try:
            figures = self.memory.figures()
        except OSError:
            figures = None
        if figures is None or birth(self.pid, proc) != self.birth:
            self.memory = None
            return False
        self.samples.append([round(at, 3), self.runs] + [figures[key] for key in FIGURES])
        return True

    def holders(self):
        """The processes that hold the most, with what each has gained since this run was first seen."""
        if self.memory is None:
            return []
        before = {one["pid"]: one["held"] for one in self.first}
        now = self.memory.processes()
        for one in now:
            one["gained"] = one["held"] - before[one["pid"]] if one["pid"] in before else None
        return now[:5]


def stretched(duration, interval):
    """The interval that is really used, in seconds."""
    return max(interval, duration / MOST)


def run(command, deadline=15.0):
    """stdout of a program of this host, None when it fails, hangs or is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=deadline, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def kill_sources(engine, since, device="/dev/kmsg"):
    """What the engine and the kernel remember of kills.

    Args:
        engine: engine.Engine.
        since: Unix seconds.

    Returns:
        (events, kernel kills, list of words about sources that could not be read).
    """
    silent = []
    events = []
    # --until is a moment that has passed: with one to come the engine would wait for it.
    filters = ["--filter", "event=oom", "--filter", "event=die", "--format", "{{json .}}"]
    arguments = ["events", "--since", "%d" % since, "--until", "%.3f" % time.time()] + filters
    try:
        events = from_events(engine.must(*arguments))
    except EngineError as error:
        silent.append("the engine's events cannot be read: %s" % error)
    lines, why = read_kernel(device, run, since)
    if why:
        silent.append(why)
    return events, from_kernel(lines), silent


class Sampler:
    """Samples one host.

    Args:
        engine: engine.Engine.
        covered: a function that returns the containers to sample (a fresh look).
        proc: where /proc is; kmsg: the kernel's log; clock, sleep: as in time.
    """

    def __init__(self, engine, covered, proc="/proc", kmsg="/dev/kmsg", clock=time.monotonic, sleep=time.sleep):
        self.engine = engine
        self.covered = covered
        self.proc = proc
        self.kmsg = kmsg
        self.clock = clock
        self.sleep = sleep
        self.tracks = {}
        self.silent = []

    def look(self):
        """Asks the engine; containers that came are tracked from now on.

        Raises:
            EngineError: only from the first look; later ones are noted, and the sampling goes on.
        """
        for container in self.covered():
            if container.id not in self.tracks:
                self.tracks[container.id] = Track(container)
            self.tracks[container.id].attach(container, self.proc)

    def sample(self, duration, interval):
        """Samples for a time.

        Args:
            duration, interval: seconds.

        Returns:
            the interval that was used, in seconds.

        Raises:
            EngineError: the engine did not answer at the beginning.
        """
        interval = stretched(duration, interval)
        self.look()
        begun = looked = self.clock()
        turn = 0
        while True:
            at = self.clock() - begun
            lost = False
            for track in self.tracks.values():
                attached = track.memory is not None
                if not track.sample(at, self.proc) and attached:
                    lost = True
            wait = LOOK_AGAIN if lost or any(t.memory is None and t.error is None and t.runs for t in self.tracks.values()) else LOOK_EVERY
            if self.clock() - looked >= wait:
                try:
                    self.look()
                except EngineError as error:
                    self.silent.append("the engine did not answer during the sampling: %s" % error)
                looked = self.clock()
            turn += 1
            # Times are multiples of the interval from the beginning: a slow turn does not shift the ones after it.
            ahead = begun + turn * interval - self.clock()
            if turn * interval > duration + 1e-6:
                return interval
            if ahead > 0:
                self.sleep(ahead)

    def result(self, since):
        """Everything that was found, as JSON: host, containers, silent (sources that could not be read).

        Args:
            since: Unix seconds; kills before this are not looked for.
        """
        # Read before the engine is asked: the last look below may take a while, and processes come and go.
        holders = {key: track.holders() for key, track in self.tracks.items()}
        try:
            self.look()
        except EngineError as error:
            self.silent.append("the engine did not answer at the end: %s" % error)
        events, kernel, silent = kill_sources(self.engine, since, self.kmsg)
        return {
            "host": host_memory(self.proc),
            "containers": [describe(track, holders.get(key, []), events, kernel) for key, track in self.tracks.items()],
            "silent": sorted(set(self.silent + silent)),
        }


def describe(track, holders, events, kernel):
    """One container's part of the result."""
    container, memory = track.container, track.memory
    kills = merge(
        {
            "id": container.id,
            "started_at": container.started_at,
            "finished_at": container.finished_at,
            "running": container.running,
            "oom_killed": container.oom_killed,
        },
        events,
        kernel,
        memory.kills() if memory else None,
    )
    return {
        "id": container.id,
        "name": container.name,
        "component": container.component,
        "strategy": container.strategy,
        "status": container.status,
        "running": container.running,
        "started_at": container.started_at,
        "restarts": container.restarts,
        "runs": track.runs,
        "version": memory.version if memory else None,
        "limit": memory.limit() if memory else (container.memory or None),
        "hits": memory.hits() if memory else None,
        "pressure": memory.pressure() if memory else {},
        "error": track.error,
        "figures": list(FIGURES),
        "samples": track.samples,
        "holders": holders,
        "kills": kills,
    }
