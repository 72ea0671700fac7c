"""The one client to a host's container engine: its CLI, with JSON.

Used by modules on the hosts, so standard library only, Python 3.8. C(container_cli) is C(docker) by default; C(podman)
works where its CLI agrees. Every call has a deadline, because an engine that hangs must not hang an operator.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

PROTECT = "andon.protect"
COMPONENT = "andon.component"
STRATEGY = "andon.strategy"
VENUE = "andon.venue"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_PROJECT = "com.docker.compose.project"
SWARM_SERVICE = "com.docker.swarm.service.name"

# The order in which tiers start (data first) and a person reads them.
TIERS = ("data", "gateway", "adapter", "risk", "strategy")


class EngineError(Exception):
    """The engine refused, is not there, or did not answer in time. C(str()) is one line for a person."""


class EngineHung(EngineError):
    """No answer before the deadline."""


class EngineDown(EngineError):
    """There is no engine, or nothing answers at its socket."""


class Container:
    """What the engine says of one container.

    Attributes:
        id, name, image (as written at creation), image_id (digest), labels (dict), policy (dict Name, MaximumRetryCount),
        status (created|running|paused|restarting|exited|dead), running, pid, exit_code, health ("" when it has no check),
        started_at, finished_at (RFC 3339 as the engine writes them), restarts, memory, memory_swap (bytes, 0: unlimited).
    """

    def __init__(self, raw):
        config, host, state = raw.get("Config") or {}, raw.get("HostConfig") or {}, raw.get("State") or {}
        self.raw = raw
        self.id = raw.get("Id", "")
        self.name = str(raw.get("Name", "")).lstrip("/")
        self.image = config.get("Image", "")
        self.image_id = raw.get("Image", "")
        self.labels = config.get("Labels") or {}
        self.policy = host.get("RestartPolicy") or {"Name": "no", "MaximumRetryCount": 0}
        self.status = state.get("Status", "")
        self.running = bool(state.get("Running"))
        self.pid = int(state.get("Pid") or 0)
        self.exit_code = state.get("ExitCode")
        self.oom_killed = bool(state.get("OOMKilled"))
        self.health = (state.get("Health") or {}).get("Status", "")
        self.started_at = state.get("StartedAt", "")
        self.finished_at = state.get("FinishedAt", "")
        self.restarts = int(raw.get("RestartCount") or 0)
        self.memory = int(host.get("Memory") or 0)
        self.memory_swap = int(host.get("MemorySwap") or 0)

    @property
    def component(self):
        return self.labels.get(COMPONENT, "")

    @property
    def strategy(self):
        return self.labels.get(STRATEGY, "")

    @property
    def service(self):
        return self.labels.get(COMPOSE_SERVICE, "")

    @property
    def protected(self):
        return self.labels.get(PROTECT, "").lower() == "true"

    @property
    def policy_text(self):
        """The restart policy as `docker update --restart` takes it: no, always, unless-stopped, on-failure:3."""
        name = self.policy.get("Name") or "no"
        count = int(self.policy.get("MaximumRetryCount") or 0)
        return "%s:%d" % (name, count) if name == "on-failure" and count else name


class Engine:
    """The engine of this host.

    Args:
        cli: the container CLI's name or path.
        deadline: seconds for one call, unless the call says otherwise.
    """

    def __init__(self, cli="docker", deadline=20.0):
        self.cli = cli
        self.deadline = deadline

    def run(self, *args, **kw):
        """Runs `cli args`; returns (exit code, stdout, stderr) as text.

        Keyword args: deadline (seconds), data (bytes for standard input).

        Raises:
            EngineHung: no answer before the deadline (its whole process group is killed).
            EngineDown: the CLI is not installed or nothing answers at the engine's socket.
        """
        deadline = kw.get("deadline") or self.deadline
        try:
            process = subprocess.Popen(
                [self.cli] + list(args),
                stdin=subprocess.PIPE if kw.get("data") is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=dict(os.environ, LC_ALL="C"),
            )
        except OSError as error:
            raise EngineDown("%s cannot be run on this host: %s" % (self.cli, error.strerror)) from error
        try:
            out, err = process.communicate(kw.get("data"), timeout=deadline)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise EngineHung("%s %s gave no answer within %g s" % (self.cli, args[0], deadline)) from None
        out, err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        if process.returncode and ("Cannot connect to the" in err or "Is the docker daemon running" in err):
            raise EngineDown("the container engine does not answer: %s" % err.strip().splitlines()[-1])
        return process.returncode, out, err

    def must(self, *args, **kw):
        """Like C(run), returns stdout; a non-zero exit code raises EngineError with the engine's own words."""
        code, out, err = self.run(*args, **kw)
        if code:
            words = (err.strip() or out.strip() or "exit code %d" % code).splitlines()
            raise EngineError("%s %s: %s" % (self.cli, args[0], words[-1]))
        return out

    def ids(self, filters, every=True):
        """Full ids of the containers that match one filter of C(filters) (a union), in the engine's order.

        Args:
            filters: engine filters such as "label=andon.component".
            every: also those that do not run.
        """
        found = []
        for one in filters:
            args = ["ps", "-q", "--no-trunc", "--filter", one]
            for line in self.must(*(args + (["-a"] if every else []))).split():
                if line not in found:
                    found.append(line)
        return found

    def inspect(self, ids):
        """The containers with these ids or names; one that has vanished in between is left out.

        Raises:
            EngineError: the engine's answer is no JSON.
        """
        ids = list(ids)
        if not ids:
            return []
        code, out, err = self.run("inspect", "--type", "container", *ids)
        try:
            raw = json.loads(out or "[]")
        except ValueError:
            raise EngineError("%s inspect did not answer with JSON: %s" % (self.cli, err.strip()[:200])) from None
        return [Container(one) for one in raw]

    def covered(self, selectors, inventory_components=(), protected=()):
        """The containers that the cord covers on this host: C(components) less the protected ones."""
        return [one for one in self.components(selectors, inventory_components, protected) if not one.protected]

    def components(self, selectors, inventory_components=(), protected=()):
        """All components of this host, running or not; the protected ones say so (C(Container.protected)).

        Args:
            selectors: engine filters (andon_selectors).
            inventory_components: dicts {name, component, strategy, venue, protect} for containers without labels; they win.
            protected: names that are never touched, whatever their labels say.
        """
        named = {one["name"]: one for one in inventory_components}
        filters = list(selectors) + ["name=^/?%s$" % name.replace(".", "\\.") for name in named]
        result = []
        for container in self.inspect(self.ids(filters)):
            one = named.get(container.name, {})
            for label, key in ((COMPONENT, "component"), (STRATEGY, "strategy"), (VENUE, "venue")):
                if one.get(key):
                    container.labels[label] = str(one[key])
            if "protect" in one:
                container.labels[PROTECT] = "true" if one["protect"] else "false"
            if container.name in protected:
                container.labels[PROTECT] = "true"
            result.append(container)
        return result

    def settle(self, container_id, wait, settle=2.0, poll=0.25, clock=time.monotonic, sleep=time.sleep):
        """Waits until a started container is healthy; without a health check: running and not restarting for a settle time.

        Args:
            container_id: id or name.
            wait: greatest wait in seconds.
            settle: seconds that a container without a health check must stay up.

        Returns:
            (True, Container) when it is, else (False, Container or None): unhealthy, exited, or out of time.
        """
        end = clock() + wait
        up_since, restarts, last = None, None, None
        while True:
            found = self.inspect([container_id])
            last = found[0] if found else None
            if last is None:
                return False, None
            if last.health:
                if last.health == "healthy" and last.status == "running":
                    return True, last
            elif last.status == "running":
                if up_since is None or restarts != last.restarts:
                    up_since, restarts = clock(), last.restarts
                if clock() - up_since >= settle:
                    return True, last
            else:
                up_since = None
            if last.status in ("exited", "dead") and last.policy_text == "no":
                return False, last
            if clock() >= end:
                return False, last
            sleep(poll)

    def tail(self, container_id, lines=20):
        """The container's own last log lines (both streams), as the engine keeps them; [] when it keeps none."""
        code, out, err = self.run("logs", "--tail", str(lines), container_id, deadline=5.0)
        return (out + err).splitlines()[-lines:]
