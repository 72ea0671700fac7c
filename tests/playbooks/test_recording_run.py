"""One real ansible-playbook run of a copy of this checkout: the cord on a host without an engine, recorded at its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from andon import incidents, journal

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- name: Stop
  hosts: trading
  gather_facts: false
  tasks:
    - name: Stop this host
      stop_this:
"""
ACTION = """
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        report = {"verb": "emergency_stop", "ok": True, "headline": "1/1 HALTED", "summary": [], "detail": [], "next": []}
        return {"changed": True, "andon_report": {**report, "data": {"hosts": {"host-a": {"verdict": "HALTED", "containers": [{"name": "mm-1"}]}}}}}
"""


def test_a_real_run_lands_in_the_journal_without_its_secrets(tmp_path):
    copy = tmp_path / "andon"
    shutil.copytree(ROOT / "plugins", copy / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "ansible.cfg", copy)
    (copy / "playbooks").mkdir()
    (copy / "playbooks" / "emergency_stop.yml").write_text(PLAY)
    (copy / "emergency_stop.yml").write_text("- name: Stop\n  ansible.builtin.import_playbook: playbooks/emergency_stop.yml\n")
    (copy / "plugins" / "action" / "stop_this.py").write_text(ACTION)
    (tmp_path / "hosts.ini").write_text("[trading]\nhost-a ansible_connection=local\n")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "emergency_stop.yml", "-i", str(tmp_path / "hosts.ini")]
    command += ["-e", '{"api_key": "hunter2", "andon_reason": {"__ansible_unsafe": "venue {{ 7 * 7 }} is gone"}}', "-e", "token=hunter2"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(copy / "ansible.cfg"), "ANDON_STATE": str(tmp_path / "state")}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "NOT RECORDED" not in done.stdout + done.stderr, done.stdout + done.stderr
    (name,) = incidents.ids()
    assert journal.verify(incidents.folder(name)).ok
    found = incidents.load(name)
    (run,) = found.runs
    assert (run.verb, run.actor, run.ok, run.hosts, run.headline) == ("emergency_stop", "tester", True, {"host-a": "ok"}, "1/1 HALTED")
    assert run.variables["andon_reason"] == "venue {{ 7 * 7 }} is gone" and '"token": "***"' in run.command[-1]
    assert found.state == "mitigated" and found.severity == 1 and found.halted[0].proven
    assert "hunter2" not in (incidents.folder(name) / journal.NAME).read_text()
