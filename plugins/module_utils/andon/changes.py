"""What changed on a host lately: commits, images, container starts and ends, configuration, packages, logins, OOM kills.

Standard library only, Python 3.8. Everything read here was written by others: times are checked, words are cleaned, and a
repository's own configuration is never allowed to start a program.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import struct
import subprocess
import time

from . import tail
from .engine import EngineError
from .shapes import mask
from .state import parse_utc
from .text import clean

WORKING_DIR = "com.docker.compose.project.working_dir"
CONFIG_FILES = "com.docker.compose.project.config_files"
CONFIG_ENDINGS = (".yml", ".yaml", ".env", ".toml", ".json", ".conf", ".ini", ".cfg", ".properties")
EVENTS = 400  # of one host, the newest
ENTRIES = 500  # of one folder
COMMITS = 20


def event(at, kind, where, words):
    return {"at": at, "kind": kind, "where": clean(where, 120), "words": mask(clean(words, 160))}


def commits(folder, deadline=5.0):
    """The last 20 commits of a deploy directory.

    Git runs as the folder's owner when this is root, with the parts of the repository's configuration that start programs
    switched off: a repository that an application can write must not become a way to run code as root.

    Args:
        folder: the directory.
        deadline: seconds.

    Returns:
        (events, note): the note says why there is none, or is "".
    """
    try:
        info = os.stat(folder)
    except OSError as error:
        return [], "%s: %s" % (folder, error.strerror)
    argv = ["git", "--no-pager", "-c", "safe.directory=%s" % os.path.realpath(folder), "-c", "core.fsmonitor=false"]
    argv += ["-c", "core.hooksPath=/dev/null", "-C", folder, "log", "-%d" % COMMITS, "--no-show-signature", "--no-ext-diff", "--no-color"]
    argv += ["--format=%ct%x1f%h%x1f%an%x1f%s", "-z"]
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    env.update(GIT_OPTIONAL_LOCKS="0", GIT_NO_LAZY_FETCH="1", GIT_TERMINAL_PROMPT="0", GIT_CEILING_DIRECTORIES=os.path.dirname(os.path.realpath(folder)))

    def become_owner():
        os.setgroups([])
        os.setgid(info.st_gid)
        os.setuid(info.st_uid)

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            timeout=deadline,
            check=False,
            preexec_fn=become_owner if os.geteuid() == 0 and info.st_uid != 0 else None,
        )
    except FileNotFoundError:
        return [], "git is not installed, so the commits of %s are not known" % folder
    except (OSError, subprocess.SubprocessError) as error:
        return [], "the commits of %s are not known: %s" % (folder, clean(error, 80))
    if done.returncode:
        words = tail.text_of(done.stderr).strip().splitlines()
        return [], "the commits of %s are not known: %s" % (folder, clean(words[-1] if words else "git failed", 100))
    found = []
    for line in done.stdout.split(b"\0"):
        parts = tail.text_of(line).strip("\n").split("\x1f", 3)
        if len(parts) == 4 and parts[0].isdigit():
            found.append(event(float(parts[0]), "commit", folder, "%s %s (%s)" % (parts[1], parts[3], parts[2])))
    return found, ""


def containers(found, start):
    """Creations, starts and ends of containers since a time, from what the engine keeps of each.

    Args:
        found: engine.Container. start: Unix time.
    """
    events = []
    for one in found:
        created, started, ended = (parse_utc(t) for t in (one.raw.get("Created", ""), one.started_at, one.finished_at))
        if created is not None and created >= start:
            events.append(event(created, "container", one.name, "created from %s (%s)" % (one.image, clean(one.image_id, 80).replace("sha256:", "")[:12])))
        if started is not None and started >= start and (created is None or started - created > 5):
            events.append(event(started, "start", one.name, "started%s" % (", restart %d" % one.restarts if one.restarts else "")))
        if ended is not None and ended >= start:
            why = ", killed for memory" if one.oom_killed else ""
            # A container that runs again keeps the time of its last end, and no longer its exit code.
            words = "ended" if one.running else "ended with exit code %s%s" % (one.exit_code, why)
            events.append(event(ended, "end", one.name, words))
    return events


def images(engine, found, start):
    """When the images of these containers were brought to this host or tagged: the engine's LastTagTime.

    Returns:
        (events, note).
    """
    names = sorted({one.image_id for one in found if one.image_id})
    if not names:
        return [], ""
    try:
        code, out, err = engine.run("image", "inspect", *names)
        raw = json.loads(out or "[]")
    except EngineError as error:
        return [], "when images came is not known: %s" % error
    except ValueError:
        return [], "when images came is not known: %s" % clean(err, 80)
    events = []
    for one in raw if isinstance(raw, list) else []:
        tags = ", ".join(one.get("RepoTags") or one.get("RepoDigests") or []) or "(no name)"
        digest = str(one.get("Id", "")).replace("sha256:", "")[:12]
        at = parse_utc((one.get("Metadata") or {}).get("LastTagTime"))
        if at is not None and at >= start:
            events.append(event(at, "image", tags, "pulled or tagged on this host: %s" % digest))
    return events, ""


def engine_events(engine, found, start, end):
    """Kills for memory, deaths and failing health checks of the components that the engine remembers (its last 256 events).

    Args:
        engine: engine.Engine. found: engine.Container; one that was replaced is known by its name. start, end: Unix times.

    Returns:
        (events, note).
    """
    argv = ["events", "--since", "%d" % start, "--until", "%d" % end, "--format", "{{json .}}", "--filter", "type=container"]
    for name in ("oom", "die", "kill", "health_status", "update", "pause", "unpause"):
        argv += ["--filter", "event=" + name]
    try:
        code, out, err = engine.run(*argv, deadline=5.0)
    except EngineError as error:
        return [], "the engine's events are not known: %s" % error
    ours, events = {one.id for one in found} | {one.name for one in found}, []
    for line in out.splitlines()[-256:]:
        try:
            one = json.loads(line)
            at = int(one.get("timeNano", 0)) / 1e9 or float(one.get("time", 0))
            actor = one.get("Actor") or {}
            about = actor.get("Attributes") or {}
        except (ValueError, TypeError, AttributeError):
            continue
        if not ours & {actor.get("ID"), one.get("id"), about.get("name")}:
            continue
        action = str(one.get("Action") or one.get("status") or "")
        if action.startswith("health_status") and "unhealthy" not in action:
            continue
        kind = "oom" if action == "oom" else "engine"
        code_words = " with exit code %s" % about["exitCode"] if "exitCode" in about else ""
        events.append(event(at, kind, about.get("name", ""), {"oom": "the kernel killed a process for memory"}.get(action, action) + code_words))
    return events, "" if code == 0 else "the engine's events are not known: %s" % clean(err, 80)


def configuration(found, extra, start):
    """Configuration files that were changed since a time.

    Looked at: the Compose files and what lies beside them, what is mounted into the components from the host, the engine's own
    daemon.json, and C(extra). Not deeper than one folder.

    Args:
        found: engine.Container. extra: patterns (glob). start: Unix time.
    """
    files, folders = {"/etc/docker/daemon.json"}, set()
    for one in found:
        for name in str(one.labels.get(CONFIG_FILES, "")).split(","):
            if name.startswith("/"):
                files.add(name)
        if str(one.labels.get(WORKING_DIR, "")).startswith("/"):
            folders.add(one.labels[WORKING_DIR])
        for mount in one.raw.get("Mounts") or []:
            source = str(mount.get("Source", ""))
            if mount.get("Type") == "bind" and source.startswith("/"):
                (folders if os.path.isdir(source) else files).add(source)
    for pattern in extra:
        files.update(glob.glob(pattern)[:ENTRIES])
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))[:ENTRIES]
        except OSError:
            continue
        files.update(os.path.join(folder, name) for name in names if name.endswith(CONFIG_ENDINGS))
    events = []
    for path in sorted(files):
        try:
            info = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode) and info.st_mtime >= start:
            events.append(event(info.st_mtime, "config", path, "changed (%d bytes now)" % info.st_size))
    return events


def packages(start, root="/var/log"):
    """Package upgrades, installations and removals since a time: dpkg's log, and who called apt.

    Args:
        start: Unix time. root: where logs are.

    Returns:
        (events, note).
    """
    events, seen = [], False
    offset = time.localtime(start).tm_gmtoff
    for name in ("dpkg.log.1", "dpkg.log"):
        try:
            found = tail.file_since(os.path.join(root, name), start, keep=1 << 20, local_offset=offset)
        except OSError:
            continue
        seen = True
        for at, line in found.lines:
            words = line.split(" ")
            if at is not None and len(words) >= 6 and words[2] in ("upgrade", "install", "remove", "purge"):
                change = " -> ".join(w for w in words[4:6] if w != "<none>")
                events.append(event(at, "package", words[3], "%s %s" % (words[2], change)))
    events = runs(events)
    try:
        with open(os.path.join(root, "apt", "history.log"), "rb") as source:
            source.seek(max(os.fstat(source.fileno()).st_size - (1 << 18), 0))
            text = tail.text_of(source.read())
    except OSError:
        text = ""
    for block in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if ": " in line)
        at = tail.stamp_of(re.sub(r"\s+", " ", fields.get("Start-Date", "")), offset)
        if at is not None and at >= start and fields.get("Commandline"):
            events.append(event(at, "package", "apt", "%s%s" % (fields["Commandline"], " by " + fields["Requested-By"] if "Requested-By" in fields else "")))
    return events, "" if seen else "no package log that can be read (%s/dpkg.log)" % root


def runs(events, gap=120.0):
    """Packages of one upgrade as one event: those that follow each other within C(gap) seconds, at the first one's time."""
    result, last = [], None
    for one in sorted(events, key=lambda e: e["at"]):
        if result and one["at"] - last <= gap:
            result[-1]["names"].append("%s %s" % (one["where"], one["words"]))
        else:
            result.append(dict(one, names=["%s %s" % (one["where"], one["words"])]))
        last = one["at"]
    for one in result:
        names = one.pop("names")
        if len(names) > 1:
            one.update(where="%d packages" % len(names), words=clean("; ".join(names[:4]) + ("; …" if len(names) > 4 else ""), 160))
    return result


# glibc's struct utmp on Linux: type, pid, line, id, user, host, exit, session, seconds, microseconds, address.
_UTMP = struct.Struct("hi32s4s32s256shhiii4i20x")
_USER_PROCESS = 7


def logins(start, path="/var/log/wtmp", database="/var/lib/wtmpdb/wtmp.db"):
    """Logins since a time, from wtmp or from wtmpdb (Debian 13 and newer).

    Returns:
        (events, note).
    """
    events, seen = [], False
    try:
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            source.seek(max(size - size % _UTMP.size - 4000 * _UTMP.size, 0))
            raw = source.read(4000 * _UTMP.size)
        seen = True
    except OSError:
        raw = b""
    for index in range(len(raw) // _UTMP.size):
        fields = _UTMP.unpack_from(raw, index * _UTMP.size)
        user, host, line = (tail.text_of(part.split(b"\0")[0]) for part in (fields[4], fields[5], fields[2]))
        if fields[0] == _USER_PROCESS and fields[9] >= start:
            events.append(event(float(fields[9]), "login", user, "logged in on %s%s" % (line, " from " + host if host else "")))
    if os.path.exists(database):
        try:
            import sqlite3

            base = sqlite3.connect("file:%s?mode=ro" % database, uri=True, timeout=1.0)
            try:
                query = "SELECT User, Login, TTY, RemoteHost FROM wtmp WHERE Type = 3 AND Login >= ? ORDER BY Login DESC LIMIT 200"
                for user, at, line, host in base.execute(query, (int(start * 1e6),)):
                    events.append(event(at / 1e6, "login", user, "logged in on %s%s" % (line, " from %s" % host if host else "")))
                seen = True
            finally:
                base.close()
        except Exception as error:  # sqlite3 may be missing from a host's Python, and its errors have no common base then
            return events, "logins are not known: %s" % clean(error, 80)
    return events, "" if seen else "no record of logins that can be read on this host"


def gather(engine, found, extra, start, end):
    """Everything that changed on this host in [start, end], oldest first, and what is not known.

    Commits are the last 20 of each deploy directory, however old.

    Args:
        engine: engine.Engine. found: engine.Container of the components. extra: patterns of configuration files.
        start, end: Unix times on this host's clock.

    Returns:
        (events, notes).
    """
    events, notes = [], []
    folders = sorted({one.labels[WORKING_DIR] for one in found if str(one.labels.get(WORKING_DIR, "")).startswith("/")})
    for folder in folders[:20]:
        part, note = commits(folder)
        events += part
        notes.append(note)
    if found and not folders:
        notes.append("no component names a deploy directory (label %s), so no commits" % WORKING_DIR)
    events += containers(found, start)
    events += configuration(found, extra, start)
    for part, note in (images(engine, found, start), engine_events(engine, found, start, end), packages(start), logins(start)):
        events += part
        notes.append(note)
    return folded([one for one in events if one["at"] <= end + 1])[-EVENTS:], [clean(note, 200) for note in notes if note]


def folded(events):
    """Events in order, each thing once.

    What the engine remembers twice (its event, and the container's own record of its last end) is said once; the same thing
    again and again is one event with C(times) and C(until), so that a crash loop does not hide what came before it.
    """
    known, result = {}, []
    for one in sorted(events, key=lambda e: e["at"]):
        key = (one["kind"], one["where"], one["words"])
        if one["kind"] == "end" and any(e["kind"] == "engine" and e["where"] == one["where"] and abs(e["at"] - one["at"]) < 2 for e in events):
            continue
        if key in known and one["kind"] in ("engine", "oom", "login"):
            known[key].update(times=known[key].get("times", 1) + 1, until=one["at"])
            continue
        known[key] = one
        result.append(one)
    return result
