"""Endpoints and Prometheus against real servers on loopback: each layer that fails is named, and none can hang the caller."""

from __future__ import annotations

import datetime
import http.server
import json
import socket
import ssl
import threading
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from andon import prometheus, reach


class Server:
    """A TCP server that answers every connection with the same bytes.

    Args:
        answer: what is sent after the first read; None: nothing, and the connection stays open.
        context: an ssl.SSLContext, or None.
    """

    def __init__(self, answer, context=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer, self.context, self.seen, self.open = answer, context, [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.speak, args=(one,), daemon=True).start()

    def speak(self, one):
        self.open.append(one)
        try:
            if self.context:
                one = self.context.wrap_socket(one, server_side=True)
                self.open.append(one)
            self.seen.append(one.recv(4096))
            if self.answer is not None:
                one.sendall(self.answer)
                one.close()
        except OSError:
            pass

    def close(self):
        self.listener.close()
        for one in self.open:
            one.close()


@pytest.fixture
def server():
    made = []

    def make(answer, context=None):
        made.append(Server(answer, context))
        return made[-1]

    yield make
    for one in made:
        one.close()


def certificate(tmp_path, days):
    """(server context, client context that trusts it) for a certificate of localhost that ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / f"cert{days}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + private)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    return serving, ssl.create_default_context(cafile=path)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_every_layer_that_fails_is_named(server, tmp_path):
    good, trusting = certificate(tmp_path, 30)
    old, trusting_old = certificate(tmp_path, -1)

    def tried(url, context=None, deadline=3.0, **more):
        found = reach.probe(reach.Endpoint({"url": url, **more}), deadline, context)
        assert found["words"].isprintable()
        return found["ok"], found["layer"], found["words"]

    assert tried(f"http://localhost:{server(OK).port}/x?y=1") == (True, "", "answers")
    assert tried(f"https://localhost:{server(OK, good).port}", trusting) == (True, "", "answers")
    assert tried(f"tcp://127.0.0.1:{server(None).port}")[0] and tried(f"127.0.0.1:{server(None).port}")[0]
    assert tried("http://does-not-exist.invalid/")[:2] == (False, "DNS")
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    assert tried(f"http://127.0.0.1:{port}")[:2] == (False, "TCP")
    untrusted = tried(f"https://localhost:{server(OK, good).port}")
    assert untrusted[:2] == (False, "TLS") and "certificate is refused" in untrusted[2]
    assert "expired" in tried(f"https://localhost:{server(OK, old).port}", trusting_old)[2]
    assert tried(f"https://localhost:{server(b'HTTP/1.1 400 no TLS here').port}")[:2] == (False, "TLS")
    assert tried(f"http://127.0.0.1:{server(None).port}", deadline=0.3) == (False, "HTTP", "no answer within 0.3 s")
    assert tried(f"http://127.0.0.1:{server(b'SSH-2.0-x').port}")[:2] == (False, "HTTP")
    assert tried(f"http://127.0.0.1:{server(b'HTTP/1.1 503 busy' + chr(27).encode() + b'[2J').port}")[2] == "it answers 503"
    assert tried(f"http://127.0.0.1:{server(b'HTTP/1.1 401 who').port}")[0]
    assert tried(f"http://127.0.0.1:{server(OK).port}", expect=204)[2] == "it answers 200, expected 204"


def test_a_name_that_hangs_is_given_up(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: never.wait(30))
    found = reach.probe(reach.Endpoint("https://slow.example"), 0.2)
    never.set()
    assert (found["ok"], found["layer"]) == (False, "DNS") and "no answer" in found["words"]


@pytest.mark.parametrize(
    "bad",
    ["", "x", "ftp://x", "http://", "http://x:99999", "http://x/\r\nEvil: 1", "https://u:secret@/", None, {"name": "x"}, {"url": "http://x", "expect": "yes"}],
)
def test_an_endpoint_that_is_none_is_an_error_in_words_without_secrets(bad):
    with pytest.raises(reach.EndpointError) as error:
        reach.Endpoint(bad)
    assert "secret" not in str(error.value) and str(error.value).isprintable()


def test_user_password_and_query_are_not_shown():
    one = reach.Endpoint("https://user:secret@x.example:8443/path?token=secret")
    assert one.name == "https://x.example:8443/path" and "secret" not in one.where and one.path == "/path?token=secret"


# Prometheus


class Metrics(http.server.BaseHTTPRequestHandler):
    answer, status, seen = b"", 200, []

    def do_GET(self):
        type(self).seen.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def metrics(monkeypatch):
    handler = type("Handler", (Metrics,), {"seen": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    yield handler, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def matrix(*values, **metric):
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": metric, "values": list(values)}]}}).encode()


def test_a_range_becomes_sixty_numbers_and_holes_stay_holes(metrics, monkeypatch):
    handler, url = metrics
    monkeypatch.setenv("ANDON_PROMETHEUS_TOKEN", "t0ken")
    handler.answer = matrix([1060, "5"], [1600, "NaN"], [2200, "+Inf"], [4600, "7.5"], __name__="up", job="a\x1b[2J{{ 7*7 }}")
    (one,) = prometheus.query_range(url, 'rate(x{a="b"}[1m])', 1000, 4600)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.seen[0][0]).query)
    assert query == {"query": ['rate(x{a="b"}[1m])'], "start": ["1060.000"], "end": ["4600.000"], "step": ["60.000"]}
    assert handler.seen[0][1] == "Bearer t0ken"
    assert one["labels"] == "up{job=a{{ 7*7 }}}" and len(one["values"]) == 60
    assert [v for v in one["values"] if v is not None] == [5.0, 7.5]
    assert prometheus.summary(one["values"]) == {"min": 5.0, "max": 7.5, "last": 7.5, "before": 5.0, "after": 7.5}
    json.dumps(one, allow_nan=False)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (400, b'{"status":"error","error":"parse error \x1b[2J"}', "answers 400: "),
        (500, b"oops", "answers 500"),
        (302, b"", "answers 302"),
        (200, b"<html>", "not understood"),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[]}}', "not understood"),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[["x","y"]]}]}}', "not understood"),
        (200, b"[" * 100_000, "not understood"),
        (200, b"x" * (8 << 20) + b"xx", "larger than"),
    ],
)
def test_what_prometheus_must_not_say_is_an_error_in_words(metrics, status, answer, words):
    handler, url = metrics
    handler.answer, handler.status = answer, status
    with pytest.raises(prometheus.PrometheusError, match=words) as error:
        prometheus.query_range(url, "up", 0, 3600)
    assert str(error.value).isprintable() and len(handler.seen) == 1, "a redirect is not followed"


def test_no_server_and_no_url_are_errors_in_words():
    for url in ("http://127.0.0.1:1", "file:///etc/passwd", "", "gopher://x"):
        with pytest.raises(prometheus.PrometheusError):
            prometheus.query_range(url, "up", 0, 3600)
