"""The steps besides HTTP to Freqtrade: what was never sent, what may have happened, and what is already so."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import adapter_run, adapters
from andon.adapter_values import ValueProblem, equals, rows, select
from andon.engine import Engine, EngineDown, EngineHung

VENUE = [{"venue": {"open_orders": 0}}]


def act(name, override, engine=None, endpoint=None, budget=3.0, environ=None, in_stop=False, **given):
    entry = {"name": "bot", "strategy": "s", "adapter": {"kind": "custom", "endpoint": endpoint or {}, "override": override}}
    plan, secrets = adapters.plan(entry, name, {"incident_id": "INC-1", **given}, environ=environ or {})
    (row,) = adapter_run.run_all([plan], name, engine, secrets, budget, in_stop=in_stop)
    return row


class Redis(threading.Thread):
    """A Redis of one dict and one list of commands; C(answer) replaces the reply to all but AUTH."""

    def __init__(self, password="", answer=None):
        super().__init__(daemon=True)
        self.password, self.answer, self.data, self.got = password, answer, {}, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link, link.makefile("rb") as source:
                while True:
                    head = source.readline()
                    if not head:
                        break
                    words = []
                    for _ in range(int(head[1:])):
                        size = int(source.readline()[1:])
                        words.append(source.read(size + 2)[:-2].decode())
                    self.got.append(words)
                    reply = self.reply(words)
                    if reply is None:
                        break
                    link.sendall(reply)

    def reply(self, words):
        if words[0] == "AUTH":
            return b"+OK\r\n" if words[-1] == self.password else b"-WRONGPASS invalid\r\n"
        if self.answer is not None:
            return self.answer or None
        if words[0] == "GET":
            value = self.data.get(words[1])
            return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value.encode())
        if words[0] == "SET":
            self.data[words[1]] = words[2]
            return b"+OK\r\n"
        if words[0] == "DEL":
            return b":%d\r\n" % (self.data.pop(words[1], None) is not None)
        if words[0] == "XADD":
            return b"$3\r\n1-1\r\n"
        return b"-ERR unknown\r\n"

    def endpoint(self, **more):
        return {"redis": {"host": "127.0.0.1", "port": self.port, **more}}


@pytest.fixture
def redis():
    made = []

    def make(**more):
        made.append(Redis(**more))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()


HALT = {
    "halt": {
        "do": [{"redis": {"op": "set", "key": "bot:{{ component }}:halt", "value": "{{ incident_id }}"}}],
        "verify": [{"wait": {"redis": {"key": "bot:bot:state"}, "equals": "halted"}, "timeout_s": 1, "in_stop": True}],
    }
}


def test_redis_sets_a_key_and_believes_only_the_bots_own(redis):
    server = redis(password="r3dis")
    server.data["bot:bot:state"] = "halted"
    row = act("halt", HALT, endpoint=server.endpoint(password_env="P"), environ={"P": "r3dis"})  # noqa: S106
    assert row["outcome"] == "ok" and row["proven"] is True and server.data["bot:bot:halt"] == "INC-1"
    server.data["bot:bot:state"] = "trading"
    row = act("halt", HALT, endpoint=server.endpoint(password_env="P"), environ={"P": "r3dis"}, budget=0.5, in_stop=True)  # noqa: S106
    assert row["outcome"] == "ok" and row["proven"] is False, "the stop waits for it, within its budget"
    row = act("halt", HALT, endpoint=server.endpoint(password_env="P"), environ={"P": "wrong"}, budget=0.5)  # noqa: S106
    assert row["outcome"] == "failed" and "WRONGPASS" in row["why"] and "wrong" not in row["why"].replace("WRONGPASS", "")


@pytest.mark.parametrize("answer,outcome", [(b"", "unknown"), (b"?what\r\n", "unknown"), (b"-READONLY replica\r\n", "failed")])
def test_a_redis_that_breaks_off_is_unknown_and_one_that_refuses_failed(redis, answer, outcome):
    assert act("halt", HALT, endpoint=redis(answer=answer).endpoint(), budget=0.5)["outcome"] == outcome


def test_a_refused_connection_was_never_sent():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    row = act("halt", HALT, endpoint={"redis": {"port": port}}, budget=0.5)
    assert row["outcome"] == "failed" and "refused" in row["why"]
    http = {"halt": {"do": [{"http": {"method": "POST", "path": "/stop"}}], "verify": VENUE}}
    row = act("halt", http, endpoint={"base_url": f"http://127.0.0.1:{port}"})
    assert row["outcome"] == "failed" and "cannot be reached" in row["why"]


def serve(*pieces):
    """A server that answers one request with these bytes and closes; returns its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        with listener, listener.accept()[0] as link:
            link.recv(65536)
            for piece in pieces:
                link.sendall(piece)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "answer,outcome",
    [
        (b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", "unknown"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "unknown"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "unknown"),
        (b"", "unknown"),
        (b"nonsense\r\n\r\n", "unknown"),
        (b"HTTP/1.1 302 X\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n", "failed"),
        (b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", "failed"),
    ],
)
def test_what_may_have_happened_is_unknown(answer, outcome):
    http = {"halt": {"do": [{"http": {"method": "POST", "path": "/stop"}}], "verify": VENUE}}
    assert act("halt", http, endpoint={"base_url": serve(answer)})["outcome"] == outcome


def test_a_file_is_whole_readable_and_written_once(tmp_path):
    path = tmp_path / "HALT"
    halt = {"halt": {"do": [{"file": {"path": str(path), "touch": True}}], "verify": VENUE}}
    assert act("halt", halt)["outcome"] == "ok" and path.read_text() == "" and path.stat().st_mode & 0o777 == 0o644
    assert act("halt", halt)["outcome"] == "already"
    write = {"resume": {"do": [{"when": ["size"], "file": {"path": str(path), "json": {"factor": "{{ size }}"}}}], "verify": VENUE}}
    path.chmod(0o640)
    assert act("resume", write, size=0.25)["outcome"] == "ok" and path.read_text() == '{\n "factor": 0.25\n}\n'
    assert path.stat().st_mode & 0o777 == 0o640, "its mode stays"
    gone = {"resume": {"do": [{"file": {"path": str(path), "remove": True}}], "verify": VENUE}}
    assert act("resume", gone)["outcome"] == "ok" and not path.exists() and act("resume", gone)["outcome"] == "already"
    nowhere = {"halt": {"do": [{"file": {"path": str(tmp_path / "no" / "HALT"), "touch": True}}], "verify": VENUE}}
    assert act("halt", nowhere)["outcome"] == "failed" and os.listdir(tmp_path) == []


class Cli:
    """A container CLI that answers as told."""

    def __init__(self, answer):
        self.answer, self.ran = answer, []

    def run(self, *args, deadline=None, data=None):
        self.ran.append(args)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HBOT = {"kind": "hummingbot"}


@pytest.mark.parametrize(
    "answer,outcome",
    [
        ((0, "{}", ""), "ok"), ((3, "", "not running"), "already"), ((5, "", "timeout"), "unknown"), ((1, "", "error"), "unknown"),
        ((126, "", "OCI runtime exec failed"), "failed"), (EngineHung("no answer"), "unknown"), (EngineDown("no engine"), "failed"),
    ],
)  # fmt: skip
def test_hummingbots_exit_codes(answer, outcome):
    plan, secrets = adapters.plan({"name": "hb", "adapter": HBOT}, "halt")
    cli = Cli(answer)
    (row,) = adapter_run.run_all([plan], "halt", cli, secrets, 2)
    assert row["outcome"] == outcome and cli.ran == [("exec", "hb", "hbot", "stop", "--timeout", "30", "--json")], row


def test_commands_run_without_a_shell_on_the_host_and_signals_go_to_the_container():
    one = {"halt": {"do": [{"command": {"in": "host", "argv": ["printf", "%s", "{{ incident_id }}; rm -rf x"]}}], "verify": VENUE}}
    assert act("halt", one, engine=Engine("false"))["outcome"] == "ok"
    missing = {"halt": {"do": [{"command": {"in": "host", "argv": ["/no/such/program"]}}], "verify": VENUE}}
    assert act("halt", missing, engine=Engine("false"))["outcome"] == "failed"
    cli = Cli((0, "", ""))
    row = act("halt", {"halt": {"do": [{"signal": {"name": "USR1"}}, {"container": {"op": "network_disconnect", "network": "n"}}], "verify": VENUE}}, cli)
    assert row["outcome"] == "ok" and cli.ran == [("kill", "--signal", "USR1", "bot"), ("network", "disconnect", "--force", "n", "bot")]


def test_a_person_does_what_a_machine_must_not():
    row = act("flatten", {"flatten": {"do": [{"manual": "close {{ component }} at the venue"}], "verify": VENUE}})
    assert row["outcome"] == "unknown" and "close bot at the venue" in row["why"]


def test_a_container_log_line_after_the_call_is_a_proof():
    cli = Cli((0, "HALTED by operator\n", ""))
    halt = {"halt": {"do": [{"signal": {"name": "USR1"}}], "verify": [{"container_log": {"regex": "^HALTED"}}]}}
    row = act("halt", halt, cli)
    assert row["proven"] is True and cli.ran[1][:2] == ("logs", "--since")
    row = act("halt", {"halt": {**halt["halt"], "verify": [{"container_log": {"regex": "^STOPPED"}, "timeout_s": 0.1}]}}, cli)
    assert row["proven"] is False and "no line like" in row["why"]


# -- selectors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document,how,found",
    [
        ({"a": {"b": [1, 2]}}, "a.b.1", 2),
        ({"a": 1}, "a.b.c", None),
        ({"s": "HALTED"}, {"path": "s", "map": {"HALTED": "stopped"}}, "stopped"),
        ({"s": True}, {"path": "s", "map": {"true": "short"}}, "short"),
        ({"t": 1700000000000}, {"path": "t", "as": "utc_ms"}, "2023-11-14T22:13:20.000Z"),
        ({"p": {"x": {"q": -2}, "y": {"q": 0}}}, {"each": "p", "where": {"q": {"ne": 0}}, "fields": {"qty": {"path": "q", "as": "abs"}}}, [{"qty": 2.0}]),
        ([{"n": "a1"}, {"n": "b"}, {}], {"each": "", "where": {"n": {"starts": "a"}}, "fields": "n"}, ["a1"]),
    ],
)  # fmt: skip
def test_selectors(document, how, found):
    assert select(document, how) == found


def test_what_cannot_be_read_is_never_nothing():
    for document, how in [({"a": 1}, {"each": "b"}), ("text", {"each": ""}), ([{"q": "many"}], {"each": "", "where": {"q": {"gt": 0}}})]:
        with pytest.raises(ValueProblem):
            select(document, how)
    good = {"ref": "1", "symbol": "BTC/USDT:USDT", "side": "long", "qty": 1.0}
    assert rows("positions", [good], "now")[0]["as_of"] == "now"
    for change in ({"qty": 0}, {"qty": float("nan")}, {"qty": True}, {"qty": None}, {"side": "both"}, {"symbol": None}, {"ref": {}}):
        with pytest.raises(ValueProblem):
            rows("positions", [good | change], "now")
    assert not equals(True, 1) and not equals("1", True) and equals({"n": 25}, {"n": 25.0}) and equals("halted\n", "halted")


PLAIN = st.none() | st.booleans() | st.floats() | st.text(max_size=6)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_no_answer_breaks_a_selector_or_makes_a_wrong_row(document):
    how = adapters.load("freqtrade")["positions"]["data"]
    try:
        found = rows("positions", select(document, how), "now")
    except ValueProblem:
        return
    assert all(one["qty"] > 0 and one["side"] in ("long", "short") for one in found)
