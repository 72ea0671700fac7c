"""Releases on one host: what runs, what was recorded, and where the two differ.

Pure where it can be: the engine's answers come in as objects, files are read, nothing is started here. Used by modules
on the hosts, so standard library only, Python 3.8.

A I(set of services) is C({project: {service: facts}}). The facts are those that decide what code runs with which
settings: image_id, digests, environment, files (path: SHA-256), labels, command, policy, count.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import time

from .engine import COMPOSE_PROJECT, COMPOSE_SERVICE, EngineError
from .state import parse_utc
from .text import valid_name

WORKING_DIR = "com.docker.compose.project.working_dir"
CONFIG_FILES = "com.docker.compose.project.config_files"
ENVIRONMENT_FILES = "com.docker.compose.project.environment_file"

# Names whose values are never shown. Too many is right here: a masked value still shows that it differs.
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|cred|auth|private|dsn|mnemonic|seed|cookie|salt|sign|webhook|cert", re.I)
# Values that are secrets under any name: a URL with a password, a PEM block, a JWT.
_SECRET_VALUE = re.compile(r"://[^/\s@]*:[^/\s@]+@|-----BEGIN |\beyJ[\w-]{8,}\.")

# Mounted from the system, not the release's own: never recorded, so never put back.
SYSTEM_PATHS = (
    "/etc/localtime", "/etc/timezone", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group", "/etc/shadow",
    "/etc/machine-id", "/etc/ssl", "/etc/pki", "/etc/docker", "/usr", "/lib", "/bin", "/sbin",
    "/boot", "/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker", "/var/lib/containers",
)  # fmt: skip
# A copy is kept of files up to FILE_LIMIT bytes; larger ones, up to HASH_LIMIT, are compared by their hash. What is larger still, or is in a
# folder with more files, is data that happens to be mounted read-only: named, and not compared.
FILE_LIMIT = 5 * 1024 * 1024
HASH_LIMIT = 64 * 1024 * 1024
FILES_LIMIT = 1000
NOT_RECORDED = "not recorded: "


class ReleaseError(Exception):
    """What was asked for cannot be done; C(str()) is one line for a person."""


def is_secret(name, value):
    """True if this variable's value must not be shown."""
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(str(value)))


def fingerprint(value, key):
    """Twelve hex digits that are equal for equal values, and useless without the fleet's key (HMAC-SHA-256)."""
    if not isinstance(value, str):
        value = canonical(value)
    return hmac.new(key.encode(), value.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]


def canonical(value):
    """JSON with one spelling: what hashes are made over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# What is on the host


def own_file(path):
    """True if C(path) may be a release's configuration, by its place."""
    return not any(path == one or path.startswith(one + "/") for one in SYSTEM_PATHS)


def config_files(mounts):
    """The configuration files that a container mounts from the host.

    A regular file always counts (Compose mounts them writable unless told otherwise); a folder only when it is mounted
    read-only, because a writable folder is data.

    Args:
        mounts: the engine's list (Type, Source, RW).

    Returns:
        {path: SHA-256 of its content, or why there is none}.
    """
    found = {}
    for mount in mounts or ():
        source = mount.get("Source") or ""
        if mount.get("Type") != "bind" or not own_file(source):
            continue
        if os.path.isfile(source):
            found[source] = hash_file(source)
        elif os.path.isdir(source) and not mount.get("RW", True):
            paths = below(source, FILES_LIMIT)
            if paths is None:
                found[source] = NOT_RECORDED + "more than %d files" % FILES_LIMIT
            else:
                found.update((path, hash_file(path)) for path in paths)
    return found


def below(folder, limit):
    """The regular files below a folder, or None if there are more than C(limit)."""
    paths = []
    for where, _, names in os.walk(folder):
        paths += [os.path.join(where, name) for name in names if os.path.isfile(os.path.join(where, name))]
        if len(paths) > limit:
            return None
    return sorted(paths)


def hash_file(path):
    """SHA-256 of a file's content, or why there is none ("missing", "unreadable: …", "not recorded: …")."""
    try:
        if os.path.getsize(path) > HASH_LIMIT:
            return NOT_RECORDED + "larger than %d MiB" % (HASH_LIMIT // 2**20)
        digest = hashlib.sha256()
        with open(path, "rb") as source:
            for block in iter(lambda: source.read(2**20), b""):
                digest.update(block)
        return digest.hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return "unreadable: %s" % error.strerror


def git_commit(folder):
    """The commit that is checked out in C(folder) or a folder above it, or "".

    Git's files are read, git is not run: it would run what the repository's own configuration names, as root.
    """
    while folder and folder != "/":
        git = os.path.join(folder, ".git")
        try:
            if os.path.isfile(git):  # a worktree or a submodule
                with open(git, encoding="utf-8", errors="replace") as source:
                    git = os.path.join(folder, source.read().partition("gitdir:")[2].strip())
            with open(os.path.join(git, "HEAD"), encoding="utf-8", errors="replace") as source:
                head = source.read().strip()
        except OSError:
            folder = os.path.dirname(folder)
            continue
        if not head.startswith("ref: "):
            return head[:40]
        ref = head[len("ref: ") :]
        common = git
        try:
            with open(os.path.join(git, "commondir"), encoding="utf-8", errors="replace") as source:
                common = os.path.join(git, source.read().strip())
        except OSError:
            pass
        for base in (git, common):
            try:
                with open(os.path.join(base, ref), encoding="utf-8", errors="replace") as source:
                    return source.read().strip()[:40]
            except OSError:
                pass
            try:
                with open(os.path.join(base, "packed-refs"), encoding="utf-8", errors="replace") as source:
                    for line in source:
                        if line.strip().endswith(" " + ref):
                            return line.split(" ")[0][:40]
            except OSError:
                pass
        return ""
    return ""


def trouble(container, now=None, young=5.0):
    """Why a container does not count as healthy, or "".

    Args:
        container: an engine.Container.
        now: Unix time in seconds of this host.
        young: seconds that one without a health check must be up after it was restarted by the engine.
    """
    if container.status != "running":
        return container.status or "no state"
    if container.health and container.health != "healthy":
        return "health check: " + container.health
    begun = parse_utc(container.started_at)
    up = (time.time() if now is None else now) - begun if begun else None
    if not container.health and container.restarts and (up is None or up < young):
        return "restarted %d times, up %.0f s" % (container.restarts, up or 0)
    return ""


def facts(container, known):
    """What decides which code runs with which settings, of one container."""
    config = container.raw.get("Config") or {}
    environment = {}
    for line in config.get("Env") or ():
        name, _, value = line.partition("=")
        environment[name] = value
    return {
        "image": container.image,
        "image_id": container.image_id,
        "digests": known.get(container.image_id, {}).get("digests", []),
        "content": known.get(container.image_id, {}).get("content", ""),
        "environment": environment,
        "labels": {k: v for k, v in container.labels.items() if not k.startswith("com.docker.compose.")},
        "command": list(config.get("Entrypoint") or []) + list(config.get("Cmd") or []),
        "policy": container.policy_text,
        "files": config_files(container.raw.get("Mounts")),
        "count": 1,
    }


def merge(old, new):
    """Facts of a service with several containers: where they differ both are kept, so that it shows as a difference."""
    both = dict(old, count=old["count"] + new["count"])
    for part in ("image_id", "command", "policy"):
        if old[part] != new[part]:
            both[part] = "%s and %s" % (old[part], new[part])
    for part in ("environment", "labels", "files"):
        names = set(old[part]) | set(new[part])
        both[part] = {
            n: old[part].get(n, "(unset)") if old[part].get(n) == new[part].get(n) else "%s and %s" % (old[part].get(n), new[part].get(n)) for n in names
        }
    return both


def with_latch(containers, latches):
    """The same containers with the restart policies that they had before the stop set them to "no"."""
    before = {one.get("id"): one.get("restart_policy") for latch in reversed(latches) for one in latch.containers if one.get("restart_policy")}
    for container in containers:
        policy = before.get(container.id)
        if isinstance(policy, dict):
            container.policy = policy
        elif policy:
            name, _, count = str(policy).partition(":")
            container.policy = {"Name": name, "MaximumRetryCount": int(count) if count.isdigit() else 0}
    return containers


def observe(engine, containers):
    """What runs on this host.

    Args:
        engine: an engine.Engine.
        containers: those that the cord covers.

    Returns:
        dict: services (a set of services), projects ({name: {working_dir, config_files, environment_files, commit}}), outside (names of
        containers that are not in a Compose project), unhealthy ({name: why}), stopped (names).

    Raises:
        ReleaseError, EngineError.
    """
    known = images(engine, {c.image_id for c in containers})
    seen = {"services": {}, "projects": {}, "outside": [], "unhealthy": {}, "stopped": []}
    for container in sorted(containers, key=lambda c: c.name):
        project, service = container.labels.get(COMPOSE_PROJECT), container.labels.get(COMPOSE_SERVICE)
        why = trouble(container)
        if why:
            seen["unhealthy"][container.name] = why
        if not container.running:
            seen["stopped"].append(container.name)
        # The names become file names and arguments; Compose itself accepts no others.
        if not valid_name(project) or not valid_name(service) or container.labels.get("com.docker.compose.oneoff", "False") == "True":
            seen["outside"].append(container.name)
            continue
        where = container.labels.get(WORKING_DIR, "")
        seen["projects"].setdefault(
            project,
            {
                "working_dir": where,
                "config_files": [p for p in container.labels.get(CONFIG_FILES, "").split(",") if p],
                "environment_files": [p for p in container.labels.get(ENVIRONMENT_FILES, "").split(",") if p],
                "commit": git_commit(where),
            },
        )
        mine = facts(container, known)
        services = seen["services"].setdefault(project, {})
        services[service] = merge(services[service], mine) if service in services else mine
    return seen


def images(engine, ids):
    """{image id: {digests, content}} of these images; one that is not there is left out.

    C(content) is a hash over layers and configuration: an image that was built or imported twice from the same bytes has two ids, and is the
    same image.
    """
    ids = sorted(i for i in ids if i)
    if not ids:
        return {}
    _, out, err = engine.run("image", "inspect", *ids)
    try:
        found = json.loads(out or "[]")
    except ValueError:
        raise EngineError("image inspect did not answer with JSON: %s" % err.strip()[:200]) from None
    result = {}
    for one in found:
        layers = (one.get("RootFS") or {}).get("Layers")
        config = one.get("Config") or {}
        kept = {k: config.get(k) for k in ("Cmd", "Entrypoint", "Env", "User", "WorkingDir", "Labels", "Healthcheck")}
        content = sha256(canonical([layers, kept, one.get("Architecture"), one.get("Os")]).encode()) if layers else ""
        result[one.get("Id", "")] = {"digests": sorted(one.get("RepoDigests") or []), "content": content}
    return result


# Where two sets differ


def flat(services):
    """{(project, service, kind, name): value} of a set of services; kinds as operators name them in allow_skew."""
    values = {}
    for project, members in services.items():
        for service, one in members.items():
            for kind in ("count", "command", "policy"):
                values[(project, service, kind, "")] = one.get(kind)
            values[(project, service, "image", "")] = one.get("image_id")
            for kind, part in (("environment", "environment"), ("file", "files"), ("label", "labels")):
                for name, value in one.get(part, {}).items():
                    values[(project, service, kind, name)] = value
    return values


def differences(before, after):
    """What changes from one set of services to another.

    Returns:
        list of dicts project, service, kind (service|image|environment|file|label|command|policy|count), name, old, new; a
        service that is only in one of them is one entry of kind "service". None stands for "not there".
    """
    left, right = flat(before), flat(after)
    found = []
    for project in sorted(set(before) | set(after)):
        for service in sorted(set(before.get(project, {})) ^ set(after.get(project, {}))):
            there = service in after.get(project, {})
            found.append(
                {"project": project, "service": service, "kind": "service", "name": "", "old": None if there else "there", "new": "there" if there else None}
            )
    for key in sorted(set(left) | set(right)):
        project, service, kind, name = key
        if service not in before.get(project, {}) or service not in after.get(project, {}):
            continue
        if left.get(key) != right.get(key):
            found.append({"project": project, "service": service, "kind": kind, "name": name, "old": left.get(key), "new": right.get(key)})
    return found


def neutral(value, host):
    """A value without the host's own name in it: what is named after its host is the same on every host."""
    return re.sub(r"(?<![\w-])%s(?![\w-])" % re.escape(host), "<host>", value) if len(host) > 2 else value


def shown(services, key, projects, host=""):
    """A set of services that may leave the host: secret values and content hashes become fingerprints with the fleet's key.

    Files below a project's folder are named from there (./app.yml), so that hosts with different folders can be compared.
    C(host), this host's own name, becomes <host> in variables and commands.
    """
    out = {}
    for project, members in services.items():
        for service, one in members.items():
            copy = dict(one)
            for part in ("environment", "labels"):
                copy[part] = {n: "secret:" + fingerprint(neutral(v, host), key) if is_secret(n, v) else neutral(v, host) for n, v in one[part].items()}
            below = (projects.get(project, {}).get("working_dir") or "/-") + "/"
            copy["files"] = {
                "./" + path[len(below) :] if path.startswith(below) else path: fingerprint(v, key) if re.match(r"[0-9a-f]{64}\Z", v) else v
                for path, v in one["files"].items()
            }
            words = " ".join(one["command"]) if isinstance(one["command"], list) else one["command"]
            words = neutral(words, host)
            copy["command"] = "secret:" + fingerprint(words, key) if is_secret(words, words) else words
            out.setdefault(project, {})[service] = copy
    return out


def names_of_services(services):
    """("project/service", …), sorted."""
    return sorted("%s/%s" % (project, service) for project, members in services.items() for service in members)
