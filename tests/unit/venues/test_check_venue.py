"""Exchange connection lost: real sockets, real namespaces, real certificates; which layer is broken, and from where."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import netns, venue_probe, venue_verdict, venue_way
from andon.engine import Container
from tests.support.venue import entry as venue_entry
from tests.support.venue import serving

ROOT = Path(__file__).resolve().parents[3]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="entering a network namespace needs root and unshare")


def module():
    spec = importlib.util.spec_from_file_location("venue_reach", ROOT / "plugins" / "modules" / "venue_reach.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def entry(server, **more):
    return venue_entry(server, ("linear",), **{"timeout_s": 3, **more})


def probe(server, budget=5.0, **more):
    (facts,) = venue_probe.rows({"config": [entry(server, **more)], "only": "main", "budget": budget})
    return facts


def by_layer(facts):
    return {one["layer"]: one["outcome"] for one in facts["layers"]}


def broken(facts):
    return [(one["layer"], one.get("kind", "")) for one in facts["layers"] if one["outcome"] == "broken"]


# The bastion's look: a wrong key, a wrong clock, a rate limit and a broken venue are four different things


def test_a_good_venue_is_open_in_every_layer(venue):
    facts = probe(venue)
    assert set(by_layer(facts).values()) == {"ok"} and list(by_layer(facts)) == ["DNS", "TCP", "state", "public", "clock", "private"], facts
    assert facts["url"] == venue.url + "/v5/market/time" and facts["exact"] and abs(facts["skew"]) < 1 and facts["why"] == ""


@pytest.mark.parametrize(
    ("fault", "value", "first", "kinds"),
    [
        ("bad_key", 1, "private", {"key"}),
        ("skew", 30, "clock", {"clock"}),
        ("skew", -30, "clock", {"clock"}),
        ("rate_limit", 1, "state", {"rate limit"}),
        ("error500", 1, "state", {"5xx"}),
        ("slow", 3, "state", {"no answer"}),
        ("down", 1, "state", {"connection"}),
    ],
)
def test_each_trouble_has_its_own_name(venue, fault, value, first, kinds):
    venue.account.faults[fault] = value
    facts = probe(venue, timeout_s=0.3 if fault == "slow" else 3)
    assert broken(facts)[0][0] == first and {kind for _, kind in broken(facts)} == kinds, facts
    if fault in ("rate_limit", "slow", "down"):
        assert by_layer(facts)["private"] == "not tried", "a venue in trouble is not hammered, and a lost answer proves nothing of the key"
    if fault == "rate_limit":
        assert len(venue.account.calls) == 1
    said = venue_verdict.judge(facts, {})
    assert said["verdict"] == "NOT OK" and "SECRET-1" not in json.dumps([facts, said])


def test_a_closed_port_and_an_entry_that_is_wrong(venue):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = "http://127.0.0.1:%d" % closed.getsockname()[1]
    facts = probe(venue, urls=url)
    assert broken(facts) == [("TCP", "")] and "refused" in facts["layers"][1]["words"] and by_layer(facts)["private"] == "not tried"
    facts = probe(venue, ccxt="bybitt")
    assert facts["layers"] and set(by_layer(facts).values()) == {"not tried"} and "did you mean" in facts["why"]
    said = venue_verdict.judge(facts, {"h1": {"components": [], "host": {}}})
    assert said["verdict"] == "UNKNOWN" and not venue.account.calls


@pytest.mark.parametrize(
    ("exchange", "url", "exact"),
    [
        ("bybit", "https://api.bybit.com/v5/market/time", True),
        ("okx", "https://www.okx.com/api/v5/public/time", True),
        ("hyperliquid", "https://api.hyperliquid.xyz/", False),  # a POST: a GET says only that somebody is there
        ("krakenfutures", "https://futures.kraken.com/", False),  # no fetchTime
    ],
)
def test_the_address_of_the_public_call_is_ccxts_and_nothing_is_sent(exchange, url, exact):
    import ccxt

    client = getattr(ccxt, exchange)()
    client.session.request = None  # a request would be an error
    assert venue_probe.public_call(client) == (url, exact)


def test_an_adapters_lasting_connections_lead_to_the_streams_as_ccxt_knows_them(venue):
    from andon.venues import parse

    real = parse({"name": "x", "ccxt": "bybit", "sections": [{}]}, {})
    assert venue_probe.streams(real) == ["stream.bybit.com:443"] and probe(venue)["streams"] == [], "a simulator has none"
    names = netns.Names("192.0.2.1 stream.test\n", "")
    found = venue_way.doors({"addresses": ["192.0.2.9"], "port": 8443}, names, ["stream.test:443", "x" * 64 + ":1"], venue_way.time.monotonic() + 5)
    assert found == [["192.0.2.9", 8443], ["192.0.2.1", 443]], "a name that is not found is left out"


# Names


class Resolver(socketserver.BaseRequestHandler):
    """A name server that knows what `server.zone` says; a name with the value None gets no answer at all."""

    def handle(self):
        data, sock = self.request
        number, at, labels = struct.unpack(">H", data[:2])[0], 12, []
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        name, kind = ".".join(labels), struct.unpack(">H", data[at + 1 : at + 3])[0]
        found = self.server.zone.get(name, [])
        if found is None:
            return
        rows = [a for a in found if (":" in a) == (kind == netns.AAAA)]
        body = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, 16 if ":" in a else 4) + socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a)
            for a in rows
        )
        code = 0 if name in self.server.zone else 3
        sock.sendto(struct.pack(">HHHHHH", number, 0x8180 | code, 1, len(rows), 0, 0) + data[12 : at + 5] + body, self.client_address)


@pytest.fixture
def resolver():
    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Resolver) as server:
        server.daemon_threads = True
        server.zone = {"api.venue.test": ["192.0.2.7", "2001:db8::7"], "empty.test": [], "mute.test": None}
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_name_server_is_asked_and_its_answer_told(resolver):
    port = resolver.server_address[1]
    assert sorted(netns.ask_server("127.0.0.1", "api.venue.test", 2, port)) == ["192.0.2.7", "2001:db8::7"]
    for name, words in (("no.such.test", "NXDOMAIN"), ("empty.test", "no address")):
        with pytest.raises(netns.NoAddress, match=words):
            netns.ask_server("127.0.0.1", name, 2, port)
    with pytest.raises(TimeoutError):
        netns.ask_server("127.0.0.1", "mute.test", 0.1, port)


def test_the_containers_own_files_decide(monkeypatch):
    names = netns.Names("127.0.0.1 localhost\n192.0.2.9  venue venue.local # x\n", "nameserver 192.0.2.1\nnameserver ::1\nsearch a.test b.test\n")
    assert names.find("VENUE", 1) == ["192.0.2.9"] and names.find("192.0.2.3", 1) == ["192.0.2.3"] and names.servers == ["192.0.2.1", "::1"]
    asked = []

    def answer(server, name, deadline, port=53):
        asked.append((server, name))
        if server == "192.0.2.1":
            raise TimeoutError
        if name == "feed.b.test":
            return ["192.0.2.4"]
        raise netns.NoAddress("%s says no" % server)

    monkeypatch.setattr(netns, "ask_server", answer)
    assert names.find("feed", 1) == ["192.0.2.4"], "a name without a dot: the search list comes first"
    assert asked[:2] == [("192.0.2.1", "feed.a.test"), ("::1", "feed.a.test")]
    with pytest.raises(netns.NoAddress, match="::1 says no"):
        names.find("api.venue.test", 1)
    with pytest.raises(netns.NoAddress, match="cannot be a host"):
        netns.question("x" * 64 + ".test", netns.A, 1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_from_a_name_server_break_the_reader(data):
    with contextlib.suppress(ValueError):
        code, found = netns.answers(b"\x12\x34\x81\x80" + data, 0x1234)
        assert 0 <= code < 16 and all(netns.numeric(one) for one in found)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-made certificate for localhost: (certificate, key)."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not there")
    folder = tmp_path_factory.mktemp("tls")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    argv += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return folder / "crt", folder / "key"


@pytest.fixture
def secure(certificate):
    """The venue behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    with serving(context=context) as server:
        server.handle_error = lambda *_: None  # a client that refuses the certificate
        yield server


LOCAL = netns.Names("127.0.0.1 localhost", "")


def test_a_certificate_is_checked_for_trust_and_for_the_name(secure, certificate):
    url = "https://localhost:%d/v5/market/time" % secure.server_address[1]
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    seen = venue_way.look(url, True, LOCAL, 2, trusting)
    assert [one["outcome"] for one in seen["layers"]] == ["ok"] * 4 and "certificate for" in seen["layers"][2]["words"], seen
    assert abs(seen["skew"]) < 2 and seen["addresses"] == ["127.0.0.1"]
    seen = venue_way.look(url, True, LOCAL, 2, ssl.create_default_context())
    assert broken(seen) == [("TLS", "")] and seen["kind"] == "certificate" and seen["layers"][3]["outcome"] == "not tried"
    named = netns.Names("127.0.0.1 api.venue.test", "")
    seen = venue_way.look(url.replace("localhost", "api.venue.test"), True, named, 2, trusting)
    assert broken(seen) == [("TLS", "")] and "match" in seen["layers"][2]["words"].lower(), "a name that the certificate does not have"


def test_a_door_that_speaks_no_tls_and_one_that_never_answers(venue):
    seen = venue_way.look(venue.url.replace("http:", "https:") + "/", True, LOCAL, 1, ssl.create_default_context())
    assert broken(seen) == [("TLS", "")]
    with socket.create_server(("127.0.0.1", 0)) as mute:
        seen = venue_way.look("http://127.0.0.1:%d/" % mute.getsockname()[1], True, LOCAL, 0.2, ssl.create_default_context())
    assert broken(seen) == [("public", "")] and "no answer" in seen["layers"][-1]["words"]


@pytest.mark.parametrize(
    ("status", "exact", "kind", "good"),
    [
        (200, True, "", True),
        (404, True, "", False),
        (404, False, "", True),
        (429, True, "rate limit", False),
        (503, False, "5xx", False),
        (403, True, "refused", False),
    ],
)
def test_an_answer_is_judged_by_its_status(status, exact, kind, good):
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 %d X\r\nRetry-After: 7\r\nDate: Thu, 26 Nov 2026 18:00:00 GMT\r\n\r\n" % status)
    found = {"layers": [], "skew": None, "kind": ""}
    venue_way.call(found, ours, venue_way.reach.Endpoint("http://x.test/"), exact, venue_way.time.monotonic() + 1)
    ours.close(), theirs.close()
    (one,) = found["layers"]
    assert (one["outcome"] == "ok", found["kind"]) == (good, kind) and found["skew"] is not None
    assert ("7 s" in one["words"]) == (status == 429)


# Inside a namespace of its own


@pytest.fixture
def lonely():
    """The process id of something that runs in a network namespace of its own, with nothing in it but itself."""
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def container(pid, **more):
    raw = {
        "Id": "f" * 64,
        "Name": "/adapter",
        "Config": {"Labels": {"andon.component": "adapter", "andon.venue": "main"}, "Env": more.pop("env", [])},
        "HostConfig": {"NetworkMode": more.pop("mode", "bridge")},
        "State": {"Status": "running", "Running": True, "Pid": pid, **more},
    }
    return Container(raw)


def look(one, url, deadline=5.0):
    reach = module()
    rows, host = reach.look_all([one], {"main": {"name": "main", "url": url, "exact": True}}, ssl.create_default_context(), deadline, "/proc")
    return rows[0], host["main"]


@ROOT_ONLY
def test_what_is_broken_only_inside_a_containers_network_is_seen_there(venue, lonely):
    url = venue.url + "/v5/market/time"
    row, host = look(container(lonely), url)
    assert row["network"] == "own" and broken(row) == [("TCP", "")] and row["layers"][0]["outcome"] == "ok", row
    assert not broken(host) and [path for path, _ in venue.account.calls] == ["/v5/market/time"], "the host itself gets through"
    said = venue_verdict.judge(probe(venue), {"host-b": {"components": [row], "host": {"main": host}}})
    assert said["verdict"] == "NOT OK" and said["line"] == "TCP broken only inside host-b/adapter; host-b itself gets through", said
    assert said["adapters"] == ["adapter"] and said["next"] == ["andon venue check --venue main --restart-adapter"]
    # The same process in the host's network: the way is open.
    row, _ = look(container(os.getpid(), Health={"Status": "healthy"}, env=["HTTPS_PROXY=http://p:1", "no_proxy="]), url)
    assert row["network"] == "host" and not broken(row) and row["proxy"] and row["health"] == "healthy"


@ROOT_ONLY
def test_a_name_that_only_the_container_cannot_resolve(lonely):
    with socket.create_server(("127.0.0.1", 0)) as door:
        row, host = look(container(lonely), "http://localhost.invalid:%d/" % door.getsockname()[1], deadline=0.4)
    assert broken(row) == [("DNS", "")] and [one["outcome"] for one in row["layers"][1:]] == ["not tried"] * 3
    assert host["layers"][0]["layer"] == "DNS"


@ROOT_ONLY
def test_the_containers_own_hosts_file_is_read_and_its_links_stay_inside(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "data" / "hosts").write_text("192.0.2.77 api.venue.test\n")
    (root / "etc" / "hosts").symlink_to("/data/hosts")  # an absolute link: in the container it leads into the container
    os.mkfifo(root / "etc" / "resolv.conf")  # nobody writes into it: whoever waits for it hangs
    here = tmp_path / "proc" / "7"
    here.mkdir(parents=True)
    (here / "root").symlink_to(root)
    (here / "ns").symlink_to("/proc/self/ns")
    child = netns.Inside(
        7, lambda hosts, conf: {"found": netns.Names(hosts, conf).find("api.venue.test", 1), "conf": conf, "cwd": os.getcwd()}, str(tmp_path / "proc")
    )
    assert child.result(5) == {"found": ["192.0.2.77"], "conf": "", "cwd": "/"}


def test_a_namespace_that_cannot_be_entered_is_unknown_and_a_child_that_hangs_is_ended():
    row, _ = look(container(2**22 - 1), "http://127.0.0.1:1/")
    assert row["layers"] == [] and "cannot be entered" in row["why"]
    said = venue_verdict.judge({"name": "main", "url": "x", "layers": [], "skew": None, "why": ""}, {"h1": {"components": [row], "host": {}}})
    assert said["verdict"] == "UNKNOWN"
    child = netns.Inside(0, lambda *_: threading.Event().wait())
    with pytest.raises(netns.NamespaceError, match="no result"):
        child.result(0.1)
    child = netns.Inside(0, lambda *_: 1 / 0)
    with pytest.raises(netns.NamespaceError, match="ZeroDivisionError"):
        child.result(5)


# The watch


class Engine:
    """An engine whose one container is what the test says, in turn; the last one stays."""

    def __init__(self, *states):
        self.states = list(states)

    def inspect(self, ids):
        return [self.states.pop(0) if len(self.states) > 1 else self.states[0]]


def watched(engine, url, wait=5.0):
    reach = module()
    one, venues = engine.states[0], {"main": {"name": "main", "url": url, "exact": True}}
    row = reach.blank(one)
    params = {"deadline": 5.0}
    reach.watch(engine, row, one, venues, ssl.create_default_context(), params, "/proc", reach.time.monotonic() + wait)
    return row


CLIENT = """
import socket, sys, time
print("ready", flush=True)
kept = socket.create_connection((sys.argv[1], int(sys.argv[2]))) if len(sys.argv) > 2 else None
time.sleep(60)
"""


@pytest.fixture
def program():
    """Starts the adapter's stand-in: a process with a connection of its own, or without one."""
    started = []

    def start(*words):
        process = subprocess.Popen([sys.executable, "-c", CLIENT, *words], stdout=subprocess.PIPE)
        process.stdout.readline()
        started.append(process)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_is_connected_when_one_of_its_own_connections_leads_to_the_venue(venue, program):
    host, port = "127.0.0.1", str(venue.server_address[1])
    pid = program(host, port)
    url = venue.url + "/v5/market/time"
    # In the host's network only the container's own sockets count; here the "container" is every process with these files.
    seen = {"doors": [["127.0.0.1", int(port)]], "own_ports": []}
    for _ in range(100):
        if venue_way.connections(pid, seen, shared=True):
            break
        threading.Event().wait(0.05)
    assert watched(Engine(container(0, Status="exited"), container(pid)), url)["reconnected"] is True
    assert not venue_way.connections(pid, {**seen, "doors": [["127.0.0.1", 1]]}, shared=True)


@ROOT_ONLY
def test_an_open_way_without_a_connection_is_unknown_and_a_closed_one_is_not_connected(venue, lonely):
    url = venue.url + "/v5/market/time"
    assert watched(Engine(container(lonely)), url, wait=0.1)["reconnected"] is False
    assert watched(Engine(container(0, Status="exited")), url, wait=0.0)["reconnected"] is False
    quiet = container(os.getpid())
    reach = module()
    # Nobody but the watch itself is connected; its own connections do not count.
    row = reach.blank(quiet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(venue_way, "own_inodes", lambda pid, proc="/proc": set())
        reach.watch(
            Engine(quiet), row, quiet, {"main": {"name": "main", "url": url, "exact": True}}, ssl.create_default_context(), {"deadline": 1.0}, "/proc", 0
        )
    assert row["reconnected"] is None
    said = venue_verdict.judge(probe(venue), {"h1": {"components": [row], "host": {"main": {"layers": row["layers"]}}}})
    assert said["verdict"] == "UNKNOWN" and "no connection of its own was seen" in said["line"]


@ROOT_ONLY
def test_in_a_network_that_it_joined_only_its_own_connections_count(lonely):
    reach = module()
    assert reach.shared(container(lonely, mode="container:abc"), "/proc") and not reach.shared(container(lonely), "/proc")


def test_a_kernels_table_of_connections_is_read(tmp_path):
    folder = tmp_path / "5" / "net"
    folder.mkdir(parents=True)
    order = "<" if sys.byteorder == "little" else ">"
    packed = "%08X" % struct.unpack(order + "I", socket.inet_aton("192.0.2.7"))[0]
    mapped = "0" * 16 + "%08X" % struct.unpack(order + "I", b"\0\0\xff\xff")[0] + packed
    line = "   0: %s:%04X %s:%04X %s 0:0 00:0 0 0 0 %s 1\n"
    (folder / "tcp").write_text("head\n" + line % ("0100007F", 4000, packed, 443, "01", "11") + line % ("0100007F", 4001, packed, 443, "06", "0"))
    (folder / "tcp6").write_text("head\n" + line % ("0" * 32, 4002, mapped, 443, "01", "12"))
    seen = {"doors": [["192.0.2.7", 443]], "own_ports": [4002]}
    assert venue_way.connections(5, seen, str(tmp_path)) == 1 and venue_way.connections(5, seen, str(tmp_path), recent=True) == 2
    assert venue_way.connections(5, {**seen, "own_ports": []}, str(tmp_path)) == 2, "an IPv4 address in an IPv6 socket counts as itself"


# The verdict


def layers(stop="", kind="", words="broken"):
    found = []
    for layer in ("DNS", "TCP", "TLS", "public", "clock", "private"):
        outcome = "broken" if layer == stop else "not tried" if any(one["outcome"] == "broken" for one in found) else "ok"
        found.append({"layer": layer, "outcome": outcome, "words": words, "kind": kind if layer == stop else ""})
    return found


def facts(stop="", kind="", skew=0.0):
    return {"name": "main", "exchange": "bybit", "url": "https://x.test/", "exact": True, "layers": layers(stop, kind), "skew": skew, "why": ""}


def row(name="adapter", stop="", kind="", **more):
    base = {"name": name, "venue": "main", "component": "adapter", "status": "running", "health": "", "network": "own", "connections": 0, "proxy": False}
    return {**base, "why": "", "skew": 0.2, "kind": kind, "layers": layers(stop, kind)[:4], **more}


def host(*rows, own="", **more):
    return {"components": list(rows), "host": {"main": {"layers": layers(own)[:4]}}, **more}


@pytest.mark.parametrize(
    ("bastion", "hosts", "line"),
    [
        (facts(), {"a": host(row()), "b": host(row())}, "every layer is open from the bastion and 2 components"),
        (facts(), {"a": host(row()), "b": host(row(stop="DNS"))}, "DNS broken only inside b/adapter; b itself gets through"),
        (facts(), {"a": host(row()), "b": host(row(stop="TCP"), own="TCP")}, "TCP broken on b as a whole, and so in b/adapter"),
        (
            facts(),
            {"a": host(row(stop="TLS", kind="certificate")), "b": host(row(stop="TLS"))},
            "TLS broken (the certificate is refused) inside every component",
        ),
        (facts("TCP"), {"a": host(row(stop="TCP"))}, "TCP broken from everywhere: the bastion and 1/1 component"),
        (facts("public", "5xx"), {"a": host(row(stop="public", kind="5xx"))}, "public broken (the venue's own error) from everywhere"),
        (facts("DNS"), {"a": host(row()), "b": host(row())}, "DNS broken only from the bastion; 2/2 components get through"),
        (facts("DNS"), {"a": "unreachable"}, "DNS broken from the bastion; from the components it is not known (+1 more)"),
        (facts("private", "key"), {"a": host(row())}, "private call broken from the bastion: the key is refused"),
        (facts("clock", "clock", 30.0), {"a": host(row())}, "clock: the venue is 30.0 s ahead of bastion"),
        (facts("clock", "clock", -9.0), {"a": host(row(skew=-9.2))}, "clock: the venue is 9.0 s behind everywhere here: it is the venue's clock"),
        (facts(), {"a": host(row(), clock={"offset": 4.0, "uncertainty": 0.2})}, "clock: the venue is 4.0 s behind a/adapter"),
        (facts(), {"a": host(row(status="exited", layers=[]))}, "a/adapter does not run (exited)"),
        (facts(), {"a": host(row(reconnected=False))}, "a/adapter did not reconnect in time"),
        (facts(), {"a": host(), "b": host()}, "no component belongs to it (label andon.venue=main, or venue in andon_components)"),
        (facts(), {"a": host(row()), "b": "unreachable"}, "b: unreachable"),
    ],
)
def test_one_line_says_which_layer_and_from_where(bastion, hosts, line):
    said = venue_verdict.judge(bastion, hosts)
    assert said["line"].startswith(line), said
    good = line.startswith("every")
    assert (said["verdict"] == "OK") == good and bool(said["next"]) != good
    report = venue_verdict.report([bastion], hosts)
    assert report["ok"] == good and len(report["summary"]) <= 20 and all(len(one) <= 80 for one in report["summary"]), report
    assert report["headline"].startswith(said["verdict"]), report
    assert any("it is not shown" in one for one in report["detail"]) == any(not isinstance(one, str) and one["components"] for one in hosts.values())


ROWS = ["", "DNS", "TCP", "TLS", "public", "down", "?"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["", "DNS", "TCP", "TLS", "public", "clock", "private"]),
    st.dictionaries(
        st.sampled_from("abc"), st.one_of(st.just("gone"), st.lists(st.sampled_from(["", "DNS", "TCP", "TLS", "public", "down", "?"]), max_size=2)), min_size=1
    ),
)
def test_nothing_broken_or_unknown_is_ever_ok(bastion, hosts):
    looks = {}
    for name, some in hosts.items():
        made = {"down": {"status": "exited", "layers": []}, "?": {"why": "no rights", "layers": []}}
        rows = [] if some == "gone" else [row(f"c{i}", stop="" if one in made else one, **made.get(one, {})) for i, one in enumerate(some)]
        looks[name] = some if some == "gone" else host(*rows)
    said = venue_verdict.judge(facts(bastion, "key" if bastion == "private" else "", 9.0 if bastion == "clock" else 0.0), looks)
    every = [one for some in hosts.values() if some != "gone" for one in some]
    good = not bastion and "gone" not in hosts.values() and bool(every) and set(every) == {""}
    assert (said["verdict"] == "OK") == good, said
    if bastion or set(every) & {"DNS", "TCP", "TLS", "public", "down"}:
        assert said["verdict"] == "NOT OK"


def test_what_an_adapter_says_of_itself_counts_and_without_one_it_is_said_that_nothing_is_shown():
    def live(ok):
        data = [{"fact": "process", "ok": True, "words": "it answers"}, {"fact": "errors", "ok": ok, "words": "7 AuthenticationError in 5 min"}]
        return {"adapter": {"component": "adapter", "outcome": "ok", "data": data}}

    looks = {"a": host(row(), liveness=live(False)), "b": host(row(), liveness=live(True))}
    said = venue_verdict.judge(facts(), looks)
    assert said["verdict"] == "NOT OK" and said["line"] == "a/adapter says of itself: errors: 7 AuthenticationError in 5 min", said
    looks["a"] = host(row(), liveness=live(True))
    report = venue_verdict.report([facts()], looks)
    assert report["ok"] and not any("it is not shown" in line for line in report["detail"]), report


# The gate of --restart-adapter


def action(name):
    spec = importlib.util.spec_from_file_location("action_" + name, ROOT / "plugins" / "action" / (name + ".py"))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_only_an_adapter_of_the_venue_and_only_by_its_confirmed_name():
    from ansible.errors import AnsibleActionFail

    gate = action("check_venue").ActionModule._gate
    hosts = {"a": host(row("feed-adapter"), row("meanrev", component="strategy")), "b": "unreachable"}
    for name, confirm, words in (
        ("meanrev", "meanrev", "no adapter of this venue; adapters there: feed-adapter"),
        ("feed-adaptor", "feed-adaptor", "did you mean feed-adapter"),
        ("feed-adapter", "feed", "confirm must be feed-adapter"),
        ("feed-adapter", "", "confirm must be feed-adapter"),
    ):
        with pytest.raises(AnsibleActionFail, match=words):
            gate([facts()], hosts, name, confirm, False)
    gate([facts()], hosts, "feed-adapter", "feed-adapter", False)
    gate([facts()], hosts, "feed-adapter", "", True)


def test_no_secret_of_the_inventory_reaches_a_host():
    given = [
        {"name": "bot", "component": "adapter", "adapter": {"venue": {"name": "main"}, "endpoint": {"password": "SECRET"}}},
        {"name": "x", "venue": "v"},
        "odd",
    ]
    assert action("venue_reach").needed(given) == [{"name": "bot", "component": "adapter", "venue": "main"}, {"name": "x", "venue": "v"}]
