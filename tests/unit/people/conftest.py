"""Real servers on the loopback for what leaves the bastion."""

from __future__ import annotations

import http.server
import os
import threading

import pytest


@pytest.fixture(autouse=True)
def no_channels(monkeypatch):
    """No test tells real people anything."""
    for name in [n for n in os.environ if n.startswith(("ANDON_NOTIFY", "ANDON_STATUS", "ANDON_WEBHOOK", "ANDON_MESSAGES", "ANDON_INCIDENT"))]:
        monkeypatch.delenv(name)


class Webhook:
    """An HTTP server that keeps what it gets; it can refuse, redirect, hang, be down and come back."""

    def __init__(self):
        self.got = []  # (path, headers, body) of what was accepted
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.answered = 0
        self.status = 200
        self.server = None
        self.port = 0

    def up(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.set()
                outer.go_on.wait(30)
                if outer.status == 200:
                    outer.got.append((self.path, dict(self.headers), body))
                try:
                    self.send_response(outer.status)
                    self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # the courier was killed meanwhile
                outer.answered += 1

            def do_GET(self):
                outer.got.append(("GET " + self.path, {}, b""))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def down(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def url(self, kind="webhook", login="hook:s3cr3t-hook@"):
        return f"{kind}+http://{login}127.0.0.1:{self.port}/t0ken-path?key=t0ken-query"


@pytest.fixture
def webhook():
    server = Webhook().up()
    yield server
    server.go_on.set()
    server.down()


@pytest.fixture
def mail():
    """A real SMTP server that asks for a login; yields (envelopes, the channel's URL)."""
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult

    got = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            got.append(envelope)
            return "250 OK"

    def login(server, session, envelope, mechanism, data):
        # handled=False: the server itself says no to the client.
        return AuthResult(success=(data.login, data.password) == (b"bot", b"s3cr3t-mail"), handled=False)

    # Port 0 does not work here (the controller connects to the number it was given), so a free one is tried a few times.
    import socket

    for _ in range(10):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        controller = Controller(Handler(), hostname="127.0.0.1", port=port, authenticator=login, auth_require_tls=False, auth_required=True)
        try:
            controller.start()
            break
        except OSError:
            continue
    yield got, f"mailto://bot:s3cr3t-mail@127.0.0.1:{port}?mode=insecure&from=andon@example.org&to=desk@example.org"
    controller.stop()
