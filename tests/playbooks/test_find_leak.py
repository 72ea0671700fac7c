"""find_leak.yml as an operator runs it, on a fake engine: the verdict, the samples' file, the denominator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = r"""#!/bin/sh
# An engine with one container that a kill for memory has ended.
case $1 in
ps) echo aaaaaaaa ;;
inspect) printf '[{"Id": "aaaaaaaa", "Name": "/feed", "State": {"Status": "exited", "Running": false, "OOMKilled": true,
  "StartedAt": "2026-11-26T03:00:00Z", "FinishedAt": "2026-11-26T03:04:05Z"}, "Config": {"Labels": {"andon.component": "data"}}}]' ;;
events) printf '{"Action": "oom", "Actor": {"ID": "aaaaaaaa", "Attributes": {"name": "feed"}}, "timeNano": 1795662244000000000}\n' ;;
esac
"""
DOWN = "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2\nexit 1\n"


def test_find_leak_reports_kills_and_never_hides_an_unknown_host(tmp_path):
    hosts = {}
    for name, script in (("h1", DOCKER), ("h2", DOWN)):
        cli = tmp_path / name
        cli.write_text(script)
        cli.chmod(0o755)
        hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "container_cli": str(cli)}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": {"trading": {"hosts": hosts}}}}))
    env = dict(os.environ, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), ANDON_JSON="1")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "find_leak.yml"), "-i", str(inventory)]
    # Neither tags nor check mode may take the verdict away.
    extra = ["-e", json.dumps({"leaks_for": "0.3s", "leaks_interval": "0.1s"}), "--tags", "nothing", "--check"]
    done = subprocess.run(command + extra, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verb"] == "find_leak" and report["ok"] is False
    assert report["headline"] == "no leak of 0 containers on 1/2 hosts, 0.3 s sampled, 1 UNKNOWN"
    assert "does not answer" in report["data"]["unknown"]["h2"]
    (kill,) = report["data"]["containers"][0]["kills"]
    assert kill["sources"] == ["events", "inspect"] and kill["at"].startswith("2026-11-26T03:04:04")
    kept = json.loads(Path(report["data"]["samples"]).read_text())
    assert list(kept["hosts"]) == ["h1"] and str(tmp_path / "state") in report["data"]["samples"]
