"""Docker Compose as the engine's CLI plugin: resolve a project, pin it, create its containers.

Standard library only, Python 3.8: runs on the hosts.
"""

from __future__ import annotations

import copy
import json

from .engine import EngineError
from .releases import ReleaseError

MISSING = (
    "Docker Compose does not answer on this host (`%s compose version`), so its projects cannot be resolved. "
    "Install the Compose plugin: apt-get install docker-compose"
)


class Compose:
    """Compose on this host.

    Args:
        engine: an engine.Engine.
    """

    def __init__(self, engine):
        self.engine = engine

    def version(self):
        """Its version, "" when there is none."""
        code, out, _ = self.engine.run("compose", "version", "--short")
        return out.strip().lstrip("v") if code == 0 and out.strip()[:1] in "v0123456789" else ""

    def need(self):
        """Its version; raises ReleaseError when there is none."""
        found = self.version()
        if not found:
            raise ReleaseError(MISSING % self.engine.cli)
        return found

    def _args(self, name, project):
        args = ["compose", "-p", name, "--project-directory", project["working_dir"]]
        for path in project["config_files"]:
            args += ["-f", path]
        for path in project["environment_files"]:
            args += ["--env-file", path]
        return args

    def model(self, name, project):
        """The fully resolved model.

        Raises:
            ReleaseError: Compose cannot resolve it (files gone, a variable missing): its own words.
        """
        return self._json(self._args(name, project) + ["config", "--format", "json"], name)

    def env_files(self, name, project):
        """Paths of the environment files that the project's services name, and of the project's own .env."""
        raw = self._json(self._args(name, project) + ["config", "--no-interpolate", "--no-normalize", "--format", "json"], name)
        found = set(project["environment_files"])
        for service in (raw.get("services") or {}).values():
            for one in service.get("env_file") or ():
                path = one.get("path", "") if isinstance(one, dict) else str(one)
                if path and "$" not in path:
                    found.add(path if path.startswith("/") else project["working_dir"] + "/" + path)
        if not project["environment_files"]:
            found.add(project["working_dir"] + "/.env")
        return sorted(found)

    def _json(self, args, name):
        code, out, err = self.engine.run(*args)
        if code:
            raise ReleaseError("Compose cannot resolve project %s: %s" % (name, (err.strip() or out.strip()).splitlines()[-1:]))
        try:
            return json.loads(out)
        except ValueError:
            raise ReleaseError("Compose did not answer with JSON for project %s" % name) from None

    def create(self, name, working_dir, model_path, services):
        """Creates the services' containers anew from a pinned model, without starting anything and without touching others.

        Args:
            name: the project. working_dir: its folder. model_path: the pinned model. services: {service: count}.

        Raises:
            EngineError: Compose's own words.
        """
        args = ["compose", "-p", name, "--project-directory", working_dir, "-f", model_path]
        args += ["up", "--no-start", "--no-deps", "--force-recreate", "--no-build", "--pull", "never"]
        for service, count in sorted(services.items()):
            args += ["--scale", "%s=%d" % (service, count)]
        self.engine.must(*(args + sorted(services)), deadline=120.0)


def plain(value):
    """A value of a resolved model: Compose writes ``$`` as ``$$`` in its output."""
    return value.replace("$$", "$") if isinstance(value, str) else value


def mismatches(model, services):
    """Where a resolved model is not what runs: somebody changed a file, or deployed with other variables in the shell.

    Args:
        model: Compose's resolved model. services: {service: facts} of what runs.

    Returns:
        lines for a person; no value of a variable is in them.
    """
    found = []
    for name, one in sorted(services.items()):
        said = (model.get("services") or {}).get(name)
        if said is None:
            found.append("service %s runs and is not in the Compose files (docker compose up -d --remove-orphans)" % name)
            continue
        if said.get("image") and said["image"] not in (one["image"], one["image_id"]):
            found.append("service %s runs image %s, the Compose files say %s" % (name, one["image"], said["image"]))
        command = [plain(word) for word in said.get("command") or ()]
        if command and one["command"][-len(command) :] != command:
            found.append("service %s: its command is another than the files give" % name)
        if said.get("restart") and said["restart"] != one["policy"]:
            found.append("service %s: its restart policy is %s, the files say %s" % (name, one["policy"], said["restart"]))
        for key, value in sorted((said.get("environment") or {}).items()):
            if value is not None and one["environment"].get(key) != plain(value):
                found.append("service %s: variable %s runs with another value than the files give" % (name, key))
        for key, value in sorted((said.get("labels") or {}).items()):
            if one["labels"].get(key) != plain(value):
                found.append("service %s: label %s is another than the files give" % (name, key))
    return found


def pin(model, services):
    """A model in which nothing that can move decides what starts.

    Each covered service gets its image by id and exactly the environment it runs with; nothing is built. (A digest would need
    the registry's name; an id needs nothing. Digests are recorded beside it, to pull an image that is gone.)
    """
    pinned = copy.deepcopy(model)
    for name, one in services.items():
        said = pinned["services"][name]
        said["image"] = one["image_id"]
        said.pop("build", None)
        said.pop("pull_policy", None)
        said["environment"] = {k: v.replace("$", "$$") for k, v in one["environment"].items()}
    return pinned


def start_order(model, services, components):
    """Services in levels: a level is started when the one before it is healthy.

    What a service depends on comes before it; among the rest data comes first, then gateway and adapter, risk, strategy.

    Args:
        model: Compose's model. services: names to start. components: {service: component}.

    Returns:
        list of lists of names.

    Raises:
        ReleaseError: the dependencies are a circle.
    """
    tier = {"data": 0, "gateway": 1, "adapter": 1, "risk": 2}
    left = set(services)
    levels = []
    while left:
        ready = [s for s in left if not (set((model["services"].get(s) or {}).get("depends_on") or ()) & left)]
        if not ready:
            raise ReleaseError("the services depend on each other in a circle: %s" % ", ".join(sorted(left)))
        lowest = min(tier.get(components.get(s, ""), 3) for s in ready)
        level = sorted(s for s in ready if tier.get(components.get(s, ""), 3) == lowest)
        levels.append(level)
        left -= set(level)
    return levels


def engine_problem(error):
    """One line for either kind of error."""
    return str(error) if isinstance(error, (EngineError, ReleaseError, OSError)) else "%s: %s" % (type(error).__name__, error)
