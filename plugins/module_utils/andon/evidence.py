"""Evidence on the bastion: what is kept from before a change, with the incident when one is open.

Bastion only, Python 3.11.
"""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

from . import incident_id
from .state import state_dir, write_atomic


def run_folder(verb: str, target: str, now: datetime.datetime | None = None) -> Path:
    """Where one run keeps its evidence: incidents/<active>/evidence/<run>, or evidence/<run> when no incident is open."""
    now = now or datetime.datetime.now(datetime.UTC)
    incident = incident_id.active()
    base = state_dir() / "incidents" / incident if incident else state_dir()
    return base / "evidence" / f"{now:%Y%m%dT%H%M%S}Z-{os.getpid()}-{verb}-{file_name(target)}"


def file_name(words: str) -> str:
    """Words from outside as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", words).lstrip(".")[:80] or "_"


def keep(folder: Path, host: str, items: list[dict[str, Any]], about: dict[str, Any]) -> list[Path]:
    """Writes one file (0600) per container.

    Args:
        folder: what ``run_folder`` said; made with 0700.
        host: the inventory's name of the host.
        items: what targets.unpack gave.
        about: verb, target, actor; they go into each file.

    Raises:
        OSError: it could not be kept.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = []
    for item in items:
        path = folder / f"{file_name(host)}-{file_name(str(item.get('name', '')))}.json"
        write_atomic(path, {"schema": "andon.evidence/1", "host": host, **about, **item}, 0o600)
        paths.append(path)
    return paths
