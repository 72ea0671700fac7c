#!/usr/bin/env python3
"""Writes CHANGELOG.md from changelogs/fragments/*.yml; with --check only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
TITLES = {
    "major_changes": "Major changes",
    "minor_changes": "Minor changes",
    "breaking_changes": "Breaking changes",
    "bugfixes": "Fixes",
    "security_fixes": "Security",
    "known_issues": "Known issues",
}


def render() -> str:
    """The changelog's text: one section per kind, entries in the order of the fragments' names."""
    found: dict[str, list[str]] = {kind: [] for kind in TITLES}
    for fragment in sorted((HERE / "fragments").glob("*.yml")):
        for kind, lines in yaml.safe_load(fragment.read_text()).items():
            found[kind] += lines
    parts = ["# Changelog", "", "Made from `changelogs/fragments/` by `changelogs/build.py`.", "", "## Unreleased"]
    for kind, title in TITLES.items():
        if found[kind]:
            parts += ["", f"### {title}", "", *(f"- {line}" for line in found[kind])]
    return "\n".join(parts) + "\n"


def main() -> int:
    target = HERE.parent / "CHANGELOG.md"
    if "--check" in sys.argv:
        return 0 if target.read_text() == render() else 1
    target.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
