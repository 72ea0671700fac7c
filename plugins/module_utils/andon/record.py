"""Recording what runs on one host as a release. Shared by record_release and by rollback, which records what it replaces.

Standard library only, Python 3.8: runs on the hosts.
"""

from __future__ import annotations

import os
import shutil

from .compose import Compose, mismatches, pin
from .ledger import Release
from .releases import NOT_RECORDED, ReleaseError, observe
from .text import size

# A tag keeps a locally built image through `image prune`, also when its own tag has moved on.
KEEP = "andon-release/kept"


def keep_tag(ident, image_id):
    """The tag by which a release keeps an image; each release has its own, so that removing one release takes nothing from another."""
    return "%s:%s-%s" % (KEEP, ident.lstrip(".-"), image_id.replace("sha256:", "")[:12])


def images_of(services):
    return sorted({one["image_id"] for members in services.values() for one in members.values()})


def enough_disk(host_state, reserve):
    """Fails before anything is written, rather than in the middle of it.

    Raises:
        ReleaseError: less than C(reserve) bytes are free.
    """
    folder = host_state
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if free < reserve:
        raise ReleaseError("only %s are free at %s, %s are wanted. Make room, then try again" % (size(free), folder, size(reserve)))


def origin(ledger, about, project):
    """Where the project's own files are. A project that a rollback started names the ledger's model as its file; that release knows the person's files.

    Args:
        ledger: a ledger.Ledger. about: {config_files, ...} of what runs. project: its name.

    Returns:
        paths of Compose files outside the ledger.
    """
    paths = []
    for path in about["config_files"]:
        if not path.startswith(ledger.folder + "/"):
            paths.append(path)
            continue
        release = Release(os.path.dirname(os.path.dirname(path)))
        paths += release.document.get("projects", {}).get(project, {}).get("own_files", [])
    return paths


def resolve(engine, ledger, seen, strict):
    """The pinned Compose models and the files to keep, of what runs.

    Args:
        engine: an engine.Engine. ledger: a ledger.Ledger. seen: what releases.observe saw; its projects get their own_files.
        strict: refuse when the files on disk are not what runs; else what runs wins, and the difference is only told.

    Returns:
        (models {project: model}, files (paths), notes (lines)).

    Raises:
        ReleaseError, EngineError.
    """
    compose = Compose(engine)
    compose.need()
    models, files, notes = {}, set(), []
    for project, about in sorted(seen["projects"].items()):
        services = seen["services"][project]
        for name, one in services.items():
            if " and " in str(one["image_id"]):
                raise ReleaseError("service %s/%s runs different images in its own containers: %s" % (project, name, one["image_id"]))
        model = compose.model(project, about)
        wrong = mismatches(model, services)
        if wrong and strict:
            raise ReleaseError(
                "the files of project %s are not what runs: %s%s. Deploy again, then record"
                % (project, "; ".join(wrong[:3]), " and %d more" % (len(wrong) - 3) if len(wrong) > 3 else "")
            )
        notes += wrong
        known = {name: one for name, one in services.items() if name in model["services"]}
        models[project] = pin(model, known)
        about["own_files"] = origin(ledger, about, project)
        files.update(about["own_files"])
        if about["own_files"] == about["config_files"]:  # the ledger's model names none: they are resolved in it
            files.update(compose.env_files(project, about))
        for one in services.values():
            files.update(path for path, value in one["files"].items() if not value.startswith(NOT_RECORDED))
            notes += ["WARNING: %s is %s" % (path, value) for path, value in sorted(one["files"].items()) if value.startswith(NOT_RECORDED)]
    return models, sorted(files), notes


def record(engine, ledger, ident, containers, words, strict=True, hidden=False, more_files=()):
    """Records what runs.

    Args:
        engine: an engine.Engine. ledger: a ledger.Ledger. ident: the new release's id.
        containers: those that the cord covers. words: dict for the document (at, operator, reason, run, hosts, allowed).
        strict, hidden: as in C(resolve) and C(Ledger.write). more_files: paths to keep besides.

    Returns:
        (Release, notes).

    Raises:
        ReleaseError, EngineError, OSError.
    """
    seen = observe(engine, containers)
    if not seen["services"]:
        raise ReleaseError("no covered container is in a Compose project; outside: %s" % (", ".join(seen["outside"]) or "none"))
    models, files, notes = resolve(engine, ledger, seen, strict)
    document = dict(
        words,
        services=seen["services"],
        projects=seen["projects"],
        commits={name: about["commit"] for name, about in seen["projects"].items() if about["commit"]},
        outside=seen["outside"],
        components={p: {s: one["labels"].get("andon.component", "") for s, one in members.items()} for p, members in seen["services"].items()},
        engine=engine.must("version", "--format", "{{.Server.Version}}").strip(),
        compose=Compose(engine).version(),
    )
    for image_id in images_of(seen["services"]):
        engine.must("tag", image_id, keep_tag(ident, image_id))
    return ledger.write(ident, document, models, sorted(set(files) | set(more_files)), hidden=hidden), notes


def forget(engine, ledger, release):
    """Removes a release and the tags by which it kept its images. An image that something else uses stays.

    Returns:
        lines about tags that could not be removed.
    """
    ids, notes = images_of(release.services), []
    ledger.remove(release)
    for image_id in ids:
        code, _, err = engine.run("rmi", keep_tag(release.id, image_id))
        if code:
            notes.append("the tag %s stays: %s" % (keep_tag(release.id, image_id), err.strip()[:120]))
    return notes
