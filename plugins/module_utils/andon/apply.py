"""Putting one host on a recorded release, or back on what it had. Runs on the hosts: standard library only, Python 3.8.

Compose creates the containers from the release's pinned model without starting them; starting is done here, level by
level, each container only if no latch covers it, and each level only when the one before it is healthy.
"""

from __future__ import annotations

import json
import os
import shutil

from . import latch
from .compose import Compose, start_order
from .engine import COMPOSE_PROJECT, COMPOSE_SERVICE, EngineError
from .ledger import put_file
from .record import forget, images_of, record
from .releases import ReleaseError, differences, hash_file, images, observe, trouble, with_latch
from .state import write_atomic
from .text import clean_lines

# Copies of what was replaced without being recorded; so many are kept.
BEFORE_KEEP = 3


class NotApplied(Exception):
    """The release could not be put on this host; C(state) says what the host has now, for a person."""

    def __init__(self, why, state, words=()):
        super().__init__(why)
        self.state = state
        self.words = list(words)


class Unhealthy(ReleaseError):
    """A container did not become healthy; C(words) are its own last lines. They are shown, and kept nowhere: they may hold secrets."""

    def __init__(self, why, words):
        super().__init__(why)
        self.words = words


def key_of(container):
    return container.labels.get(COMPOSE_PROJECT, ""), container.labels.get(COMPOSE_SERVICE, "")


def fetch_images(engine, release, check=False):
    """Pulls by digest the images of a release that are not on this host.

    Returns:
        references that were pulled (or would be).

    Raises:
        ReleaseError: one is not here and cannot be pulled, or is another image than was recorded.
    """
    there = images(engine, set(images_of(release.services)))
    pulled = []
    for members in release.services.values():
        for name, one in sorted(members.items()):
            if one["image_id"] in there or any(d in pulled for d in one["digests"]):
                continue
            if not one["digests"]:
                raise ReleaseError(
                    "the image of service %s (%s, built locally) is not on this host any more and no registry has it" % (name, one["image_id"][:19])
                )
            if not check:
                engine.must("pull", one["digests"][0], deadline=600.0)
                if one["image_id"] not in images(engine, {one["image_id"]}):
                    raise ReleaseError("%s was pulled and is not the image that was recorded (%s)" % (one["digests"][0], one["image_id"][:19]))
            pulled.append(one["digests"][0])
    return pulled


def files_to_put(release):
    """Recorded files that are not on the disk as they were."""
    return [
        path
        for path, entry in sorted(release.document["files"].items())
        if (os.path.isfile(path) if entry.get("missing") else hash_file(path) != entry.get("sha256"))
    ]


def need_copies(release):
    """Fails if a file that must go back was too large for a copy.

    Raises:
        ReleaseError.
    """
    for path in files_to_put(release):
        if not release.document["files"][path].get("missing"):
            release.content(path)


class Host:
    """This host, as a rollback sees it.

    Args:
        engine: an engine.Engine. ledger: a ledger.Ledger. host_state: Andon's folder.
        find: () -> the containers that the cord covers. run, operator: for the marker and the audit line.
        wait, settle: seconds that a level may take to become healthy; that one without a health check must stay up.
    """

    def __init__(self, engine, ledger, host_state, find, run, operator, wait, settle):
        self.engine = engine
        self.ledger = ledger
        self.host_state = host_state
        self._find = find
        self.run = run
        self.operator = operator
        self.wait = wait
        self.settle = settle
        self.compose = Compose(engine)

    def containers(self):
        return with_latch(self._find(), latch.read(self.host_state))

    def look(self):
        return observe(self.engine, self.containers())

    # What is to do

    def todo(self, release, seen):
        """What differs from the release.

        Returns:
            (make {project: services to create anew}, remove [(project, service)], start [container names that are there and do not run]).
        """
        make, remove = {}, set()
        for one in differences(seen["services"], release.services):
            if one["service"] in release.services.get(one["project"], {}):
                make.setdefault(one["project"], set()).add(one["service"])
            else:
                remove.add((one["project"], one["service"]))
        start = []
        for container in self.containers():
            project, service = key_of(container)
            stays = service in release.services.get(project, {}) and service not in make.get(project, ())
            if stays and not container.running and not latch.refusal(container, self.host_state):
                start.append(container.name)
        return make, sorted(remove), sorted(start)

    def is_on(self, release, seen):
        return not any(self.todo(release, seen)) and not files_to_put(release)

    # Doing it

    def apply(self, release):
        """Puts this host on the release; on failure puts back what it had.

        Returns:
            (changed, words, notes).

        Raises:
            NotApplied: it failed; the exception says what the host has now.
            ReleaseError, EngineError, OSError: before anything was changed.
        """
        seen = self.look()
        if self.is_on(release, seen):
            problem = self.unfit(release)
            if problem:
                raise NotApplied("it is on %s already, and %s" % (release.id, problem), "unchanged")
            return False, "OK  already on %s" % release.id, []
        before, notes = self.keep_before(release, seen)
        old = {"%s/%s" % (p, s): one["image_id"] for p, members in seen["services"].items() for s, one in members.items()}
        self.keep_evidence()
        self.ledger.mark(run=self.run, operator=self.operator, to=release.id, begun_from=before.id if before else "", state="begun", why="")
        words = []
        try:
            self.switch(release)
            problem = self.unfit(release)
        except Exception as error:  # whatever it was: the host is half changed and must go back
            problem, words = str(error), getattr(error, "words", [])
        if problem:
            state = self.put_back(before)
            lost = self.remember(release, "failed", problem, old, (False, "a rollback to it failed: %s" % problem))
            if lost:
                state += "; " + lost
            raise NotApplied(problem, state, words)
        halted = bool(self.halted())
        lost = self.remember(release, "done", "", old, None if halted else (True, "healthy after a rollback"))
        if lost:
            notes = notes + ["WARNING: " + lost]
        else:
            self.tidy(before)
        return True, "%s  on %s%s" % ("HALTED" if halted else "HEALTHY", release.id, ", not started: a latch covers it" if halted else ""), notes

    def remember(self, release, state, why, old, proof):
        """Marker, audit line and proof of what was done. A disk that is full by now does not undo it, and is told.

        Returns:
            what could not be written, or "".
        """
        try:
            if proof:
                self.ledger.prove(release, *proof)
            self.finish(release, state, why, old)
            return ""
        except (OSError, ValueError) as error:
            return "the ledger could not be written: %s" % error

    def finish(self, release, state, why, old):
        self.ledger.mark(run=self.run, operator=self.operator, to=release.id, state=state, why=why)
        try:
            new = {"%s/%s" % (p, s): one["image_id"] for p, members in self.look()["services"].items() for s, one in members.items()}
        except (EngineError, ReleaseError) as error:
            new = {"unknown": str(error)}
        self.ledger.audit(verb="rollback", run=self.run, operator=self.operator, release=release.id, before=old, after=new, outcome=state, why=why)

    def keep_before(self, target, seen):
        """The release that this host has now; recorded on the spot, hidden, if it is none.

        Returns:
            (Release or None when it cannot be recorded, notes).
        """
        for one in self.ledger.all():
            if not one.problem and not differences(seen["services"], one.services):
                return one, []
        ident = "before-" + self.run[-40:].lstrip("-.")
        words = {"operator": self.operator, "run": self.run, "reason": "replaced by a rollback to " + target.id, "at": "", "hosts": [], "allowed": []}
        hidden = os.path.join(self.ledger.folder, "." + ident)
        if os.path.isdir(hidden):
            shutil.rmtree(hidden)
        try:
            return record(self.engine, self.ledger, ident, self.containers(), words, strict=False, hidden=True, more_files=target.document["files"])
        except (ReleaseError, EngineError) as error:
            return None, ["WARNING: what this host has now could not be recorded, so it could not be put back: %s" % error]

    def keep_evidence(self):
        """Inspect and last logs of every covered container, before they are replaced."""
        folder = os.path.join(self.host_state, "evidence", self.run)
        for container in self.containers():
            path = os.path.join(folder, container.name)
            write_atomic(path + ".json", json.dumps(container.raw, indent=1), 0o600)
            write_atomic(path + ".log", "\n".join(self.engine.tail(container.id, 1000)) + "\n", 0o600)
        for made in (os.path.dirname(folder), folder):
            os.chmod(made, 0o700)

    def tidy(self, before):
        """Removes the oldest hidden copies, with the tags that kept their images."""
        from .ledger import Release

        hidden = [os.path.join(self.ledger.folder, n) for n in os.listdir(self.ledger.folder) if n.startswith(".before-")]
        for path in sorted(hidden, key=os.path.getmtime, reverse=True)[BEFORE_KEEP:]:
            if before is None or path != before.path:
                forget(self.engine, self.ledger, Release(path))

    def switch(self, release):
        """Files, then containers: those that differ are made anew, those that are not in the release are removed, all are started in order."""
        seen = self.look()
        make, remove, start = self.todo(release, seen)
        changed_files = [path for path in files_to_put(release) if put_file(release, path)]
        # A running container keeps the old file behind a bind mount (the new file is another inode): whoever mounts it is made anew.
        for project, members in release.services.items():
            for service, one in members.items():
                if set(one["files"]) & set(changed_files):
                    make.setdefault(project, set()).add(service)
        old = self.containers()
        gone = [c for c in old if key_of(c) in set(remove)]
        if gone:
            self.engine.must("stop", *[c.id for c in gone], deadline=120.0)
            self.engine.must("rm", *[c.id for c in gone])
        for project, services in sorted(make.items()):
            counts = {s: release.services[project][s]["count"] for s in services}
            self.compose.create(project, release.document["projects"][project]["working_dir"], release.model_path(project), counts)
        made = [c for c in self._find() if key_of(c)[1] in make.get(key_of(c)[0], ())]
        for container in made:
            wanted = release.services[key_of(container)[0]][key_of(container)[1]]["image_id"]
            if container.image_id != wanted:
                raise ReleaseError("%s was made from %s, the release says %s" % (container.name, container.image_id[:19], wanted[:19]))
        renew_latches(self.host_state, old, made)
        self.hold(made)
        self.start(release, made, start)

    def hold(self, made):
        """A container that a latch covers must not come up by itself either: `always` starts it with the engine."""
        held = [c.id for c in made if latch.refusal(c, self.host_state)]
        if held:
            self.engine.must("update", "--restart=no", *held)

    def halted(self):
        """Names of covered containers that a latch keeps down."""
        return sorted(c.name for c in self.containers() if latch.refusal(c, self.host_state))

    def start(self, release, made, start):
        """Starts level by level; raises ReleaseError with the container's own last words when one does not become healthy."""
        todo = {c.id: c for c in made}
        todo.update({c.id: c for c in self.containers() if c.name in start})
        for project, model in sorted(models(release).items()):
            mine = {}
            for container in todo.values():
                if key_of(container)[0] == project:
                    mine.setdefault(key_of(container)[1], []).append(container)
            for level in start_order(model, mine, release.document.get("components", {}).get(project, {})):
                level = [c for service in level for c in mine[service] if not latch.refusal(c, self.host_state)]
                for container in level:
                    self.engine.must("start", container.id)
                for container in level:
                    healthy, last = self.engine.settle(container.id, self.wait, self.settle)
                    if not healthy:
                        why = trouble(last) or "did not stay up" if last else "gone"
                        lines = clean_lines("\n".join(self.engine.tail(container.id, 5)), 200, 5)
                        raise Unhealthy("%s did not become healthy in %g s (%s)" % (container.name, self.wait, why), lines)

    def unfit(self, release):
        """Reads the host again: why it is not on the release and fit, or ""."""
        seen = self.look()
        wrong = differences(seen["services"], release.services)
        if wrong:
            one = wrong[0]
            return "%s/%s differs from the release in its %s %s" % (one["project"], one["service"], one["kind"], one["name"])
        for container in self.containers():
            if latch.refusal(container, self.host_state):
                if container.running:
                    return "%s runs under a latch" % container.name
            elif trouble(container):
                return "%s is not healthy (%s)" % (container.name, trouble(container))
        return ""

    def put_back(self, before):
        """After a failure: back to what the host had.

        Returns:
            what the host has now, for a person.
        """
        if before is None:
            return self.stop_all("what it had was not recorded")
        try:
            self.switch(before)
            problem = self.look()
            wrong = differences(problem["services"], before.services)
            if not wrong:
                return "put back on %s%s" % (named(before), ", halted" if self.halted() else "")
            return self.stop_all("putting back left %s" % wrong[0]["service"])
        except Exception as error:  # as above: what is left is a stop
            # What it had may have been the unhealthy one: then it is back, as unhealthy as it was.
            try:
                if not differences(self.look()["services"], before.services):
                    return "put back on %s, NOT PROVEN healthy: %s" % (named(before), error)
            except (EngineError, ReleaseError, latch.LatchError, OSError) as unknown:
                error = "%s; %s" % (error, unknown)
            return self.stop_all(str(error))

    def stop_all(self, why):
        """Neither release is whole on this host: nothing of it may trade. A policy that cannot be set does not keep anything running."""
        problems = []
        try:
            running = [c.id for c in self.containers() if c.running]
        except (EngineError, latch.LatchError) as error:
            return "NOT PUT BACK and NOT STOPPED (%s): %s" % (error, why)
        for act in (("update", "--restart=no"), ("stop",)):
            try:
                if running:
                    self.engine.must(*(act + tuple(running)), deadline=120.0)
            except EngineError as error:
                problems.append((act[0], str(error)))
        if any(act == "stop" for act, _ in problems):
            return "NOT PUT BACK and NOT STOPPED (%s): %s" % (problems[-1][1], why)
        return "NOT PUT BACK, stopped%s: %s" % (", policies NOT set to no" if problems else "", why)


def named(release):
    """A release's name for a person; a hidden copy has none."""
    return "what it had before" if release.id.startswith(".") else release.id


def models(release):
    """{project: pinned model} of a release."""
    found = {}
    for project in release.services:
        with open(release.model_path(project), encoding="utf-8") as source:
            found[project] = json.load(source)
    return found


def renew_latches(host_state, old, made):
    """Latches name containers by id: those that were made anew take the place of the ones that they replace.

    The stop's script reads these files line by line, so its format is kept: header, one container a line, "]}".

    Args:
        host_state: Andon's folder. old: containers from before. made: the new ones (with the policy that they were made with).

    Raises:
        latch.LatchError, OSError.
    """
    there = {c.id for c in old} - {c.id for c in made}
    for one in latch.read(host_state):
        with open(one.path, encoding="utf-8") as source:
            data = json.load(source)
        replaced = {(c.labels.get(COMPOSE_PROJECT), c.labels.get(COMPOSE_SERVICE)) for c in old if c.id in {e.get("id") for e in one.containers}}
        new = [c for c in made if one.covers(c) or key_of(c) in replaced]
        if not new:
            continue
        renewed = {key_of(c) for c in new}
        stale = {c.id for c in old if key_of(c) in renewed and c.id in there}
        entries = [e for e in data["containers"] if e.get("id") not in stale | {c.id for c in new}] + [entry(c) for c in new]
        head = json.dumps({k: v for k, v in data.items() if k != "containers"}, ensure_ascii=False, separators=(",", ":"))
        lines = [json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries]
        shutil.copy2(one.path, "%s.before.%d" % (one.path, os.getpid()))
        write_atomic(one.path, '%s,"containers":[\n%s\n]}\n' % (head[:-1], ",\n".join(lines)), 0o600)


def entry(container):
    """A latch's line for one container; C(id) comes first, the stop's script looks for it there."""
    return {
        "id": container.id,
        "name": "/" + container.name,
        "image": container.image,
        "image_id": container.image_id,
        "component": container.component,
        "strategy": container.strategy,
        "service": container.service,
        "restart_policy": container.policy,
        "was_running": True,
    }
