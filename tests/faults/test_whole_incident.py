"""A whole incident over real hosts: opened, acknowledged, the cord pulled and lifted, resolved, written up and checked."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys

from lab import lab as fleet_lab
from tests.support.fleet import ROOT


def test_from_open_over_a_real_stop_to_a_checked_post_mortem(lab, tmp_path):
    env = os.environ | {"ANDON_STATE": str(tmp_path / "state"), "ANDON_OPERATOR": "oncall", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}

    def andon(*words, code=0):
        argv = [sys.executable, str(ROOT / "cli.py"), "-i", str(fleet_lab.INVENTORY), *map(str, words)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == code, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr

    andon("open", "--sev", "1", "Runaway orders | on *momentum* {{ 7 * 6 }}")
    andon("ack")
    andon("stop", "--yes", "--reason", "runaway {{ 7 * 6 }}")
    lab.assert_halted(*lab.hosts)
    (incident,) = [p for p in (tmp_path / "state" / "incidents").iterdir() if p.is_dir()]
    assert lab.latch("host-b")["incident"] == incident.name and lab.latch("host-b")["reason"] == "runaway {{ 7 * 6 }}"
    assert json.loads((incident / "proof.json").read_text())["ok"] is True
    screen = andon("status")
    assert "3/3 hosts answer, 3 HALTED" in screen and "MITIGATED" in screen, screen
    andon("note", "found it: a unit error in the sizing")
    andon("resume", "--yes")
    assert lab.running("host-a") >= {"momentum", "meanrev"} and lab.latch("host-a") is None
    andon("resolve", "fixed sizing deployed")
    lines = [json.loads(line) for line in (incident / "journal.jsonl").read_text().splitlines()]
    verbs = [(one["verb"], one["kind"]) for one in lines if one["kind"].startswith("verb.")]
    assert ("emergency_stop", "verb.ended") in verbs and ("resume", "verb.ended") in verbs, verbs
    assert "OK" in andon("verify")
    page = tmp_path / "pm.md"
    andon("postmortem", "--output", page)
    text = page.read_text()
    assert text.startswith("# Incident: ") and "host-c" in text and "momentum" in text
    assert "{{ 7 * 6 }}" in html.unescape(re.sub(r"\\(.)", r"\1", text)) and "42" not in text.splitlines()[0]
    assert "blank left" in andon("postmortem", "check", page, code=2)
