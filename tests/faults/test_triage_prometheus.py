"""Triage against a real Prometheus, which scrapes itself and a server of ours that goes away."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from andon import incidents
from tests.support.eyes import FakeEngine

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def wait_for(what, seconds=60):
    """What C(what) returns once it is true; a bound against hanging, not a measurement."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = what()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


class Exporter(http.server.BaseHTTPRequestHandler):
    """Our component's metrics: a gauge and a label full of tricks."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b'queue_depth{name="{{ 7*7 }} \\\\x1b[2J | **b**"} 42\n')

    def log_message(self, *args):
        pass


@pytest.fixture
def prometheus(tmp_path, monkeypatch):
    """(its URL, a function that asks it, the exporter): a server of this test's own, on ports of its own."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    program = shutil.which("prometheus")
    assert program, "prometheus is not there; type: ./dev promtool"
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    port = free_port()
    jobs = [{"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]} for name, number in (("self", port), ("mm", exporter.server_port))]
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": jobs}))
    argv = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]
    url = f"http://127.0.0.1:{port}"

    def ask(query):
        with urllib.request.urlopen(f"{url}/api/v1/query?query={query}", timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    with open(tmp_path / "prometheus.log", "wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(ask("up==1")) == 2)
        yield url, ask, exporter
    finally:
        server.terminate()
        server.wait(timeout=30)
        exporter.server_close()


def test_metrics_of_a_real_prometheus_are_shown_kept_and_inert(tmp_path, prometheus):
    url, ask, exporter = prometheus
    exporter.shutdown()
    exporter.server_close()
    wait_for(lambda: ask("up==0"))
    engine = FakeEngine(tmp_path / "e")
    engine.add("mm", [(time.time() - 5, b"INFO fine")])
    queries = [
        {"name": "targets down", "query": "count(up == 0) or vector(0)"},
        {"name": "queue", "query": "max_over_time(queue_depth[5m])", "unit": "orders"},
        {"name": "nothing", "query": "no_such_metric"},
        {"name": "broken", "query": "sum((("},
    ]
    inventory = tmp_path / "inventory.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "container_cli": str(engine.cli), "andon_log_files": []}
    inventory.write_text(yaml.safe_dump({"trading": {"hosts": {"a": host}, "vars": {"andon_prometheus_url": url, "andon_prometheus_queries": queries}}}))
    incident = incidents.open_incident("feed lost", 1)
    argv = [sys.executable, str(ROOT / "cli.py"), "-i", str(inventory), "triage", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(done.stdout)
    found = {one["name"]: one for one in report["data"]["metrics"]}
    assert found["targets down"]["series"][0]["summary"]["last"] == 1.0, done.stdout
    assert found["queue"]["series"][0]["summary"]["last"] == 42.0 and "{{ 7*7 }}" in found["queue"]["series"][0]["labels"]
    assert len(found["queue"]["series"][0]["values"]) == 60
    assert found["nothing"]["series"] == [] and not found["nothing"]["error"]
    assert "parse error" in found["broken"]["error"] and done.returncode == 2, "a query that failed is UNKNOWN, not silence"
    page = "\n".join(report["detail"])
    assert "42orders" in page.replace(" ", "") and "█" in page and "no series in this window" in page
    (kept,) = (Path(os.environ["ANDON_STATE"]) / "incidents" / incident).glob("triage-*.json")
    assert json.loads(kept.read_text())["data"]["metrics"] == report["data"]["metrics"]
