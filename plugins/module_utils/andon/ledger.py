"""The ledger of releases on one host: C(<andon_host_state>/releases/<id>/), owned by root, 0700.

A release's folder is written beside its place and then renamed, so it is there whole or not at all, and never changed
afterwards. C(manifest.json) holds the SHA-256 of every file; C(health.jsonl), which grows, is a chain that starts from
the manifest's own hash. Anything that does not fit is "damaged" and is never a target.

Standard library only, Python 3.8: runs on the hosts.
"""

from __future__ import annotations

import json
import os
import shutil

from .releases import FILE_LIMIT, ReleaseError, canonical, hash_file, sha256
from .state import utc_now, write_atomic
from .text import valid_id

SCHEMA = "andon.release/1"
MARKER = "rollback.json"


class Release:
    """One recorded release.

    Attributes:
        id; path (its folder); document (release.json, {} when it cannot be read); problem (why it is damaged, or "");
        proofs (list of {at, healthy, why}, oldest first).
    """

    def __init__(self, path):
        self.path = path
        self.id = os.path.basename(path)
        self.document = {}
        self.proofs = []
        self.problem = ""
        try:
            self._read()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.problem = str(error) or type(error).__name__

    def _read(self):
        with open(os.path.join(self.path, "manifest.json"), "rb") as source:
            raw = source.read()
        manifest = json.loads(raw.decode("utf-8"))
        listed = set(manifest["files"])
        there = set(files_below(self.path)) - {"manifest.json", "health.jsonl"}
        for name in sorted(listed ^ there):
            raise ValueError("%s is %s" % (name, "missing" if name in listed else "not in the manifest"))
        for name, digest in sorted(manifest["files"].items()):
            found = hash_file(os.path.join(self.path, name))
            if found != digest:
                raise ValueError("%s is not what was recorded" % name)
        with open(os.path.join(self.path, "release.json"), encoding="utf-8") as source:
            self.document = json.load(source)
        if self.document["schema"] != SCHEMA or self.document["id"] != self.id:
            raise ValueError("release.json is of another release or schema")
        self.proofs = read_proofs(os.path.join(self.path, "health.jsonl"), sha256(raw))

    @property
    def services(self):
        return self.document.get("services", {})

    @property
    def healthy(self):
        """True if the last proof of health on this host says so. A rollback that failed is a proof of the opposite."""
        return bool(self.proofs) and bool(self.proofs[-1]["healthy"])

    @property
    def why(self):
        return self.proofs[-1]["why"] if self.proofs else "never proven healthy"

    def summary(self):
        """What the bastion needs to choose and list; nothing secret is in it."""
        d = self.document
        keys = ("at", "operator", "reason", "run", "hosts", "allowed", "commits", "engine", "compose")
        return dict({k: d.get(k) for k in keys}, id=self.id, problem=self.problem, healthy=self.healthy, why=self.why, proofs=self.proofs)

    def content(self, path):
        """The recorded content of a configuration file.

        Raises:
            ReleaseError: there is no copy.
        """
        entry = self.document["files"].get(path)
        if not entry or not entry.get("stored"):
            raise ReleaseError("%s is not what it was in release %s, and no copy of it was kept (too large): put it back by hand" % (path, self.id))
        with open(os.path.join(self.path, entry["stored"]), "rb") as source:
            return source.read()

    def model_path(self, project):
        return os.path.join(self.path, "models", project + ".json")


def files_below(folder):
    return [os.path.relpath(os.path.join(where, name), folder) for where, _, names in os.walk(folder) for name in names]


def read_proofs(path, start):
    """The chain of proofs of health.

    Raises:
        ValueError: a line does not follow from the one before.
    """
    proofs, previous = [], start
    try:
        with open(path, encoding="utf-8") as source:
            lines = source.read().splitlines()
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, 1):
        one = json.loads(line)
        claimed = one.pop("hash", "")
        if one.get("prev") != previous or claimed != sha256(canonical(one).encode()):
            raise ValueError("health.jsonl was changed at line %d" % number)
        previous = claimed
        proofs.append({"at": one["at"], "healthy": one["healthy"], "why": one["why"]})
    return proofs


class Ledger:
    """All releases of this host.

    Args:
        host_state: Andon's folder on the host.
    """

    def __init__(self, host_state):
        self.host_state = host_state
        self.folder = os.path.join(host_state, "releases")

    def all(self):
        """Every release, newest first; damaged ones too (by their folder's time)."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = [Release(os.path.join(self.folder, n)) for n in names if valid_id(n) and os.path.isdir(os.path.join(self.folder, n))]
        return sorted(found, key=lambda r: (r.document.get("at") or "", r.id), reverse=True)

    def get(self, ident):
        """One intact release.

        Raises:
            ReleaseError: there is none of that name, or it is damaged.
        """
        path = os.path.join(self.folder, ident)
        if not valid_id(ident) or not os.path.isdir(path):
            raise ReleaseError("release %s is not recorded on this host" % ident)
        release = Release(path)
        if release.problem:
            raise ReleaseError("release %s is damaged on this host: %s" % (ident, release.problem))
        return release

    def write(self, ident, document, models, files, hidden=False):
        """Records a release.

        Args:
            ident: its id. document: the facts (services and so on); schema, id and files are filled in.
            models: {project: resolved and pinned Compose model}.
            files: paths of configuration files to keep a copy of.
            hidden: a copy of what runs, made by a rollback to be able to go back; it is not listed.

        Returns:
            Release.

        Raises:
            ReleaseError: the id is taken, or a file cannot be kept.
            OSError: the disk.
        """
        place = os.path.join(self.folder, ("." if hidden else "") + ident)
        if os.path.exists(place):
            raise ReleaseError("release %s is already recorded on this host, with other content" % ident)
        self._make_folder()
        new = os.path.join(self.folder, ".new-%s-%d" % (ident, os.getpid()))
        os.mkdir(new, 0o700)
        try:
            kept = {}
            for number, path in enumerate(sorted(files)):
                kept[path] = keep_file(path, new, "files/%04d" % number)
            os.mkdir(os.path.join(new, "models"), 0o700)
            for project, model in models.items():
                write_atomic(os.path.join(new, "models", project + ".json"), model, 0o600)
            write_atomic(os.path.join(new, "release.json"), dict(document, schema=SCHEMA, id=os.path.basename(place), files=kept), 0o600)
            manifest = {"files": {name: hash_file(os.path.join(new, name)) for name in files_below(new)}}
            write_atomic(os.path.join(new, "manifest.json"), manifest, 0o600)
            os.rename(new, place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return Release(place)

    def _make_folder(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        os.chmod(self.host_state, 0o700)
        os.chmod(self.folder, 0o700)

    def prove(self, release, healthy, why):
        """Appends a proof of health (or of its opposite) to a release."""
        with open(os.path.join(release.path, "manifest.json"), "rb") as source:
            previous = sha256(source.read())
        path = os.path.join(release.path, "health.jsonl")
        read_proofs(path, previous)
        try:
            with open(path, encoding="utf-8") as source:
                for line in source:
                    previous = json.loads(line)["hash"]
        except FileNotFoundError:
            pass
        one = {"at": utc_now(), "healthy": bool(healthy), "why": why, "prev": previous}
        one["hash"] = sha256(canonical(one).encode())
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(canonical(one) + "\n")
            out.flush()
            os.fsync(out.fileno())
        release.proofs.append({"at": one["at"], "healthy": one["healthy"], "why": why})

    def marker(self):
        """What the last rollback on this host said of itself ({} if none): run, to, from, at, state (begun|done|failed), why."""
        try:
            with open(os.path.join(self.folder, MARKER), encoding="utf-8") as source:
                return json.load(source)
        except (OSError, ValueError):
            return {}

    def mark(self, **words):
        """Writes the marker: before the first change, and again with the outcome."""
        self._make_folder()
        write_atomic(os.path.join(self.folder, MARKER), dict(words, at=utc_now()), 0o600)

    def audit(self, **words):
        """One line in releases/audit.jsonl: who did what, with what outcome. Written on failure too."""
        self._make_folder()
        handle = os.open(os.path.join(self.folder, "audit.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(canonical(dict(words, at=utc_now())) + "\n")
            out.flush()
            os.fsync(out.fileno())

    def expendable(self, keep, never):
        """Releases that retention may remove: older than the newest C(keep) and not among the ids in C(never)."""
        return [r for r in self.all()[max(keep, 1) :] if r.id not in never]

    def remove(self, release):
        """Removes a release's folder (never one outside the ledger)."""
        if os.path.dirname(release.path) != self.folder:
            raise ReleaseError("%s is not in the ledger" % release.path)
        shutil.rmtree(release.path)


def keep_file(path, folder, stored):
    """Copies one configuration file.

    Returns:
        {sha256, mode, uid, gid, stored}; stored is "" for one that is too large for a copy; {missing: true} for one that is not there.

    Raises:
        ReleaseError: it cannot be read.
    """
    found = hash_file(path)
    if found == "missing":
        return {"missing": True}
    if len(found) != 64:
        raise ReleaseError("the configuration file %s cannot be recorded: %s" % (path, found))
    about = os.stat(path)
    if about.st_size > FILE_LIMIT:
        return {"sha256": found, "mode": about.st_mode & 0o7777, "uid": about.st_uid, "gid": about.st_gid, "stored": ""}
    target = os.path.join(folder, stored)
    with open(path, "rb") as source:
        content = source.read()
    write_atomic(target, content, 0o600)
    os.chmod(os.path.dirname(target), 0o700)
    return {"sha256": sha256(content), "mode": about.st_mode & 0o7777, "uid": about.st_uid, "gid": about.st_gid, "stored": stored}


def put_file(release, path):
    """Puts a recorded configuration file back; returns True if it changed. One that was missing then is removed.

    Raises:
        OSError, ReleaseError.
    """
    entry = release.document["files"].get(path) or {}
    if entry.get("missing"):
        if os.path.isfile(path):
            os.unlink(path)
            return True
        return False
    if hash_file(path) == entry.get("sha256"):
        return False
    write_atomic(path, release.content(path), entry["mode"])
    os.chown(path, entry["uid"], entry["gid"])
    return True
