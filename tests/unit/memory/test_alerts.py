"""The alert rules of the role memory_alerts, as Ansible renders them, judged by Prometheus' own promtool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
MINUTES = 180
CONTAINER = '{name="feed",instance="h1"}'
HOST = '{instance="h1"}'


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool") or ROOT / ".lab" / "promtool" / "usr" / "bin" / "promtool"
    assert Path(found).exists(), "promtool is missing, and without it nothing proves the alert rules. Type: ./dev promtool"
    return str(found)


@pytest.fixture(scope="module")
def rules(tmp_path_factory, promtool):
    """The rules, written by the role twice: the second run must change nothing."""
    folder = tmp_path_factory.mktemp("rules")
    target = folder / "andon-memory.yml"
    values = {
        "memory_alerts_file": str(target),
        "memory_alerts_owner": str(os.getuid()),
        "memory_alerts_group": str(os.getgid()),
        "memory_alerts_promtool": promtool,
        "memory_alerts_labels": {"team": "trading"},
    }
    write = {"name": "Write", "ansible.builtin.import_role": {"name": "memory_alerts"}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": values, "tasks": [write, write]}
    (folder / "play.yml").write_text(json.dumps([play]))
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANDON_STATE": str(folder)}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", str(folder / "play.yml")]
    command += ["-e", json.dumps({"ansible_python_interpreter": sys.executable})]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1 " in done.stdout, "the second writing must change nothing:\n" + done.stdout
    return target


def test_rules_are_valid_and_labelled(rules, promtool):
    done = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SUCCESS: 10 rules found" in done.stdout, done.stdout + done.stderr
    alerts = [rule for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"] if "alert" in rule]
    assert all(rule["labels"]["team"] == "trading" and rule["annotations"]["next"].startswith("andon ") for rule in alerts)


def series(name, labels, function):
    """One series of three hours, a value a minute."""
    return {"series": name + labels, "values": " ".join(str(int(function(minute))) for minute in range(MINUTES))}


def container(held, cache=lambda m: 0, limit=1024 * MIB, stalled=lambda m: 0, kills=lambda m: 0):
    """cAdvisor's series of one container. held, cache: bytes at a minute; half of the cache is in the working set."""
    return [
        series("container_memory_rss", CONTAINER, held),
        series("container_memory_swap", CONTAINER, lambda m: 0),
        series("container_memory_working_set_bytes", CONTAINER, lambda m: held(m) + cache(m)),
        series("container_spec_memory_limit_bytes", CONTAINER, lambda m: limit),
        series("container_start_time_seconds", CONTAINER, lambda m: 1),
        series("container_oom_events_total", CONTAINER, kills),
        series("container_pressure_memory_stalled_seconds_total", CONTAINER, stalled),
    ]


def node(available, stalled):
    return [
        series("node_memory_MemAvailable_bytes", HOST, available),
        series("node_memory_MemTotal_bytes", HOST, lambda m: 16384 * MIB),
        series("node_pressure_memory_stalled_seconds_total", HOST, stalled),
    ]


CONTAINER_ALERTS = ("AndonMemoryNearLimit", "AndonMemoryExhaustionPredicted", "AndonOomKill", "AndonMemoryPressure")
HOST_ALERTS = ("AndonHostMemoryExhaustionPredicted", "AndonHostMemoryPressure")
CASES = {
    # 4 MiB a minute to a limit of 1 GiB: predicted at once, near the limit and stalling at the end.
    "leak, early": (container(lambda m: (100 + 4 * m) * MIB), 100, {"AndonMemoryExhaustionPredicted"}),
    "leak, late": (
        container(lambda m: (300 + 4 * m) * MIB, stalled=lambda m: 6 * m),
        179,
        {"AndonMemoryExhaustionPredicted", "AndonMemoryNearLimit", "AndonMemoryPressure"},
    ),
    # Two teeth in the window: the line points far through the limit, the floor stays.
    "sawtooth": (container(lambda m: (200 + 20 * (m % 30)) * MIB), 179, set()),
    # The working set is all the limit and tasks stall a little while files are read.
    "page cache": (container(lambda m: 200 * MIB, cache=lambda m: min(5 * m, 800) * MIB, stalled=lambda m: 6 * m), 179, set()),
    "no limit": (container(lambda m: (100 + 4 * m) * MIB, limit=0), 179, set()),
    "a child is killed": (container(lambda m: 300 * MIB, kills=lambda m: 3 if m >= 170 else 2), 175, {"AndonOomKill"}),
    "long after a kill": (container(lambda m: 300 * MIB, kills=lambda m: 3 if m >= 100 else 2), 175, set()),
    "host runs out": (node(lambda m: (12000 - 60 * m) * MIB, lambda m: 0), 120, {"AndonHostMemoryExhaustionPredicted"}),
    "host stalls, memory short": (node(lambda m: 900 * MIB, lambda m: 12 * m), 120, {"AndonHostMemoryPressure"}),
    "host turns over its cache": (node(lambda m: 12000 * MIB, lambda m: 12 * m), 120, set()),
}


def test_leak_sawtooth_and_page_cache(rules, promtool, tmp_path):
    """Every case says which alerts fire; that none of the others does is tested as well."""
    tests = []
    for name, (inputs, at, fires) in CASES.items():
        names = CONTAINER_ALERTS if inputs[0]["series"].startswith("container") else HOST_ALERTS
        tests.append({"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": [expect(alert, at, alert in fires) for alert in names]})
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", str(tmp_path / "tests.yml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expect(alert, minute, fires):
    """Counts one alert's series: one that fires, or none, not even a pending one (`for` must not hide a wrong rule)."""
    state = ',alertstate="firing"' if fires else ""
    expression = f'count(ALERTS{{alertname="{alert}"{state}}})'
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
