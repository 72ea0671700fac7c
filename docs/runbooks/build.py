#!/usr/bin/env python3
"""Writes docs/runbooks/*.md from runbooks/*.yml: the same text that `andon guide NAME --print` shows.

A page says which verbs this version has, so run it again after a verb was added. A test fails while a page differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (ROOT, ROOT / "plugins" / "module_utils"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from andon import guides  # noqa: E402  (the path above must be set first)
from verbs.guides import available  # noqa: E402


def pages() -> dict[str, str]:
    """File name -> content of every page."""
    found = [guides.load(name) for name in guides.names()]
    result = {guide.name + ".md": guides.markdown(guide, available) for guide in found}
    rows = [f"| [{guide.title}]({guide.name}.md) | SEV{guide.severity} | {guide.when} |" for guide in found]
    result["README.md"] = "\n".join(
        [
            "# Runbooks",
            "",
            "Made from `runbooks/*.yml` by `docs/runbooks/build.py`; change those, not these. `andon guide NAME` leads through one.",
            "",
            "| Runbook | Severity | When |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
    return result


if __name__ == "__main__":
    for name, content in pages().items():
        (HERE / name).write_text(content, encoding="utf-8")
    for path in HERE.glob("*.md"):
        if path.name not in pages():
            path.unlink()
