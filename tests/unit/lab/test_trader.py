"""The lab's trader: the real program, in a process of its own, against the real venue simulator."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab import trader as program_file
from lab.bybit_sim import Account, Server
from lab.trader import Strategy, VenueClient, VenueError, from_environment

PROGRAM = Path(__file__).resolve().parents[3] / "lab" / "trader.py"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) strat-a \S.*")
GUARD = 20  # seconds after which something hangs


def until(what, why="it never happened"):
    """Polls until `what` gives something, and gives it back."""
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.01)
    raise AssertionError(why)


def ask(port, method, path, body=None, timeout=GUARD):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body))
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


class Program:
    """A running trader; its output goes to files, so that no pipe fills up."""

    def __init__(self, folder, *arguments, env=None, log_dir=None):
        self.folder = folder
        self.out, self.err = folder / "out", folder / "err"
        command = [sys.executable, str(PROGRAM), "--name", "strat-a", "--host", "127.0.0.1", "--port", "0"]
        command += ["--every", "0.02", "--log-dir", str(log_dir or folder), *arguments]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(env or {})})

    @property
    def port(self):
        return int(self.line(r"started pid \d+ role \w+ port (\d+)").group(1))

    def line(self, pattern):
        """The first match in what was printed, waiting for it."""
        return until(lambda: re.search(pattern, self.out.read_text()), f"no line like {pattern}: {self.err.read_text()}")

    def health(self):
        return ask(self.port, "GET", "/health")

    def control(self, **request):
        return ask(self.port, "POST", "/control", request)

    def ticks(self):
        return self.health()[1]["ticks"]

    def term(self):
        self.process.send_signal(signal.SIGTERM)

    def ended(self):
        return self.process.wait(GUARD)

    def memory(self, pid=None):
        """Private memory of a process, in MiB."""
        status = Path(f"/proc/{pid or self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) / 1024

    def children(self):
        return Path(f"/proc/{self.process.pid}/task").glob("*/children")


@pytest.fixture
def trader(tmp_path):
    """Starts traders; none outlives the test."""
    programs = []

    def start(*arguments, **more):
        programs.append(Program(tmp_path, *arguments, **more))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.wait()


@pytest.fixture
def venue():
    server = Server(("127.0.0.1", 0), Account("KEY", "SECRET"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def strategy(trader, venue, tmp_path):
    """Starts a strategy with a good key."""
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"main": {"key": "KEY", "secret": "SECRET"}}))
    return lambda *arguments: trader("--venue", venue.url, "--accounts", str(keys), "--prefix", "lab-", "--instance", "h1", *arguments)


FOREIGN = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "1", "price": "1", "orderLinkId": "foreign"}


def placed(venue):
    return len([path for path, _ in venue.account.calls if path == "/v5/order/create"])


def test_strategy_trades_logs_and_takes_its_orders_off_on_sigterm(strategy, venue, tmp_path):
    for number in range(60):  # more than a page of the list
        venue.account.place({**FOREIGN, "orderLinkId": f"foreign-{number}"})
    program = strategy()
    until(lambda: placed(venue) > 5)
    counts = {len(venue.account.open()) - 60 for _ in range(20)}
    assert counts <= {1, 2}, "one or two of its own, beside the foreign ones"
    (newest, *_) = reversed(venue.account.open())
    assert re.fullmatch(r"lab-h1-strat-a-[0-9a-f]{6}-\d+", newest["orderLinkId"])
    status, health = program.health()
    assert (status, health["status"]) == (200, "ok") and health["ticks"] > 0
    program.term()
    assert program.ended() == 0
    assert {o["orderLinkId"].partition("-")[0] for o in venue.account.open()} == {"foreign"} and len(venue.account.open()) == 60
    lines = program.out.read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert re.search(r"INFO strat-a tick 1 order \S+ Buy 0.01 BTCUSDT at 54000, 1 resting", program.out.read_text())
    assert re.search(r"stopped, orders cancelled: [12]$", lines[-1])
    assert (tmp_path / "strat-a.log").read_text() == program.out.read_text()
    assert program.err.read_text() == ""


def test_killed_strategy_leaves_its_orders_at_the_venue(strategy, venue):
    program = strategy()
    until(venue.account.open)
    program.process.kill()
    assert program.ended() == -signal.SIGKILL
    assert 1 <= len(venue.account.open()) <= 2


def test_venue_trouble_is_error_lines_and_never_too_many_orders(strategy, venue):
    program, faults = strategy(), venue.account.faults
    until(venue.account.open)
    faults["reject_cancel"] = 1
    program.line(r"ERROR strat-a tick \d+ order \S+ not cancelled: the venue says 10016: Server error: cancels are refused")
    seen = program.ticks()
    until(lambda: program.ticks() > seen + 5)
    assert len(venue.account.open()) == 2
    faults["error500"] = 1
    program.line(r"ERROR strat-a tick \d+ order .*: the venue says 500, not in its own form")
    faults["down"] = 1
    program.line(r"ERROR .*no answer from the venue")
    faults.clear()
    faults["bad_key"] = 1
    program.line(r"ERROR .*the venue says 10003: API key is invalid")
    faults.clear()
    known = placed(venue)
    until(lambda: placed(venue) > known + 3)
    assert len(venue.account.open()) <= 2 and program.process.poll() is None


def test_order_with_an_unknown_outcome_does_not_become_two(venue, monkeypatch):
    monkeypatch.setattr(program_file, "VENUE_DEADLINE", 0.1)
    lines, faults = [], venue.account.faults
    order = {k: v for k, v in FOREIGN.items() if k != "orderLinkId"}
    client = VenueClient(venue.url, "KEY", "SECRET")
    one = Strategy("strat-a", client, order, lambda level, text: lines.append((level, text)))
    faults["slow"] = 60
    one.tick(1)
    assert lines[0][0] == "ERROR" and "no answer" in lines[0][1] and one.resting == []
    faults.clear()
    until(lambda: len(venue.account.open()) == 1)  # it was placed all the same
    monkeypatch.setattr(program_file, "VENUE_DEADLINE", GUARD)
    one.tick(2)
    assert [o["orderId"] for o in venue.account.open()] == one.resting
    faults["reject_cancel"] = 1
    with pytest.raises(VenueError, match="cancels are refused"):
        one.withdraw()
    faults.clear()
    assert one.withdraw() == 1 and venue.account.open() == []
    # One whose answer was lost, and which the venue has closed since, is not placed once more.
    monkeypatch.setattr(program_file, "VENUE_DEADLINE", 0.1)
    one.resting.clear()
    faults["slow"] = 60
    one.tick(3)
    faults.clear()
    until(venue.account.open)
    venue.account.reset()
    monkeypatch.setattr(program_file, "VENUE_DEADLINE", GUARD)
    one.tick(4)
    assert venue.account.open() == [] and one.resting == [] and lines[-1] == ("INFO", "tick 4 the order without an answer was closed already")


def test_an_order_that_is_held_back_rests_after_its_strategy_was_killed(strategy, venue):
    venue.account.faults["hold_create"] = 60
    program = strategy()
    until(lambda: venue.account.held)
    program.process.kill()
    program.ended()
    assert venue.account.open() == []
    venue.account.faults.clear()
    until(venue.account.open)


def test_a_wrong_secret_is_refused_and_a_missing_one_is_said(trader, venue, tmp_path):
    with pytest.raises(VenueError, match="10004"):
        VenueClient(venue.url, "KEY", "wrong").open_orders("BTCUSDT")
    program = trader("--venue", venue.url, "--accounts", str(tmp_path / "nothing"))
    assert program.ended() == 2 and "has no key and secret for main (FileNotFoundError)" in program.err.read_text()


def test_sigterm_with_a_dead_venue_ends_in_time_and_says_what_may_rest(strategy):
    program = strategy("--venue", "http://127.0.0.1:1")
    program.line(r"ERROR strat-a tick 1 order not placed: no answer from the venue \(ConnectionRefusedError")
    program.term()
    assert program.ended() == 0
    assert "ERROR strat-a orders may still rest at the venue" in program.out.read_text()
    assert program.out.read_text().endswith("stopped, orders not cancelled\n")


@pytest.mark.parametrize("how", [{"arguments": ["--ignore-term"]}, {"env": {"TRADER_FAULTS": "ignore_term"}}, {}])
def test_ignored_sigterm_until_calm(trader, how):
    program = trader("--role", "data", *how.get("arguments", []), env=how.get("env"))
    if not how:
        assert program.control(do="ignore_term")[1]["faults"] == ["ignore_term"]
    seen = program.ticks()
    program.term()
    program.line("WARNING strat-a SIGTERM ignored")
    until(lambda: program.ticks() > seen + 2)
    program.control(do="calm")
    program.term()
    assert program.ended() == 0
    assert program.out.read_text().endswith(" INFO strat-a stopped\n")


def test_crash_has_the_code_that_was_asked_for(trader):
    program = trader("--role", "data")
    assert program.control(do="crash", code=7)[0] == 200
    assert program.ended() == 7
    assert "ERROR strat-a crash" in program.out.read_text()
    assert trader("--role", "data", env={"TRADER_FAULTS": "crash=3"}).ended() == 3


def test_hung_program_neither_ticks_nor_answers_nor_ends(trader):
    program = trader("--role", "data")
    program.control(do="hang")
    with pytest.raises(TimeoutError):
        ask(program.port, "GET", "/health", timeout=0.1)
    program.term()
    time.sleep(0.1)  # ended or not can only be seen after a while
    size = program.out.stat().st_size
    time.sleep(0.1)
    assert program.process.poll() is None and program.out.stat().st_size == size
    program.control(do="calm")
    seen = program.ticks()
    until(lambda: program.ticks() > seen)


def test_check_and_control_from_the_command_line(trader):
    program = trader("--role", "adapter", "--venue", "http://127.0.0.1:1")
    program.line(r"ERROR strat-a tick \d+ venue time unknown")

    def run(*arguments):
        command = [sys.executable, PROGRAM, "--port", str(program.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=GUARD)

    assert run("--check").returncode == 0
    assert run("--control", '{"do": "unhealthy"}').returncode == 0
    assert program.health()[0] == 503
    sick = run("--check")
    assert sick.returncode == 1 and '"unhealthy"' in sick.stdout
    program.term()
    program.ended()
    dead = run("--check")
    assert dead.returncode == 1 and "no answer on port" in dead.stdout and dead.stderr == ""


def test_errors_at_a_rate(trader):
    program = trader("--role", "data")
    program.control(do="errors", per_s=200)
    program.line(r"ERROR strat-a order rejected: insufficient margin \(error 5\)")
    assert program.control(do="errors", stop=True)[1]["faults"] == []
    count = program.out.read_text().count("ERROR")
    seen = program.ticks()
    until(lambda: program.ticks() > seen + 3)
    assert program.out.read_text().count("ERROR") == count


def test_steady_leak_really_takes_memory_and_gives_it_back(trader):
    program = trader("--role", "data")
    program.port  # noqa: B018  (waits until it runs)
    before = program.memory()
    program.control(do="leak", mb_per_s=200, max_mb=40)
    until(lambda: program.memory() > before + 35)
    assert program.memory() < before + 60
    program.control(do="leak", stop=True)
    assert program.memory() < before + 10


def test_sawtooth_falls_back(trader):
    program = trader("--role", "data", env={"TRADER_FAULTS": "ignore_term"})
    program.control(do="leak", mb_per_s=200, kind="sawtooth", max_mb=40)
    for _ in range(2):
        until(lambda: program.memory() > 45)
        until(lambda: program.memory() < 35)


def test_leaking_child_leaks_outside_the_program_and_dies_with_it(trader):
    program = trader("--role", "data")
    program.control(do="leak", mb_per_s=200, kind="child", max_mb=40)
    child = int(until(lambda: " ".join(c.read_text() for c in program.children()).split())[0])
    until(lambda: program.memory(child) > 40)
    assert program.memory() < 40
    program.process.kill()
    program.ended()
    until(lambda: not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text())


def test_cache_is_a_file_without_a_name(trader, tmp_path):
    program = trader("--role", "data")
    program.control(do="leak", mb_per_s=50, kind="cache", max_mb=10)
    fds = Path(f"/proc/{program.process.pid}/fd")

    def size():
        files = [f for f in fds.iterdir() if str(tmp_path) in os.readlink(f) and "deleted" in os.readlink(f)]
        return files[0].stat().st_size if files else 0

    until(lambda: size() == 10 * 1024 * 1024)
    assert sorted(f.name for f in tmp_path.iterdir() if f.is_file()) == ["err", "out", "strat-a.log"]
    assert program.memory() < 40
    program.control(do="calm")
    assert size() == 0


@pytest.mark.parametrize("broken", ["missing", "full", "pipe"])
def test_log_that_cannot_be_written_is_said_once(trader, tmp_path, broken):
    folder = tmp_path / "logs"
    if broken != "missing":
        folder.mkdir()
    if broken == "full":
        (folder / "strat-a.log").symlink_to("/dev/full")
    elif broken == "pipe":
        os.mkfifo(folder / "strat-a.log")
    program = trader("--role", "data", log_dir=folder)
    program.line("tick 3 alive")
    assert program.health()[0] == 200
    assert len(program.err.read_text().splitlines()) == 1
    assert "going on with stdout only" in program.err.read_text()
    if broken == "missing":
        folder.mkdir()
        until(lambda: (folder / "strat-a.log").exists())


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "Expecting"),
        (b"[]", "object"),
        (b"\xff", "decode"),
        (b"[" * 60_000, ""),
        (b"x" * 70_000, "65536"),
        ({"do": "rm"}, "do must be"),
        ({"do": ["hang"]}, "do must be"),
        ({"do": "hang", "stop": 1}, "stop"),
        ({"do": "leak", "mb_per_s": 0}, "mb_per_s"),
        ({"do": "leak", "mb_per_s": "5"}, "mb_per_s"),
        ({"do": "leak", "kind": "big"}, "kind"),
        ({"do": "errors", "per_s": True}, "per_s"),
        ({"do": "crash", "code": 256}, "code"),
    ],
)
def test_bad_control_requests_change_nothing(hardy, body, word):
    status, answer = ask(hardy.port, "POST", "/control", body)
    assert status == 400 and word in answer["error"]
    assert hardy.health()[1]["faults"] == []


@pytest.fixture(scope="module")
def hardy(tmp_path_factory):
    """One trader for all that must not hurt it."""
    program = Program(tmp_path_factory.mktemp("hardy"), "--role", "data")
    yield program
    program.process.kill()
    program.process.wait()


@pytest.mark.parametrize(
    ("arguments", "env", "code", "word"),
    [
        (["--role", "strategy"], "", 2, "--venue"),
        (["--role", "adapter", "--venue", "https://x"], "", 2, "http://host:port"),
        (["--role", "data", "--name", "../x"], "", 2, "--name"),
        (["--role", "data"], "leak=much", 2, "'much' is not a number"),
        (["--role", "data"], "sleep", 2, "do must be"),
    ],
)
def test_options_that_make_no_sense_end_with_a_sentence(trader, arguments, env, code, word):
    program = trader(*arguments, env={"TRADER_FAULTS": env})
    assert program.ended() == code
    assert word in program.err.read_text() and "Traceback" not in program.err.read_text()


def test_faults_from_the_environment():
    assert list(from_environment(" ignore_term, leak=5:child,errors=2.5,crash=4,,hang")) == [
        {"do": "ignore_term"},
        {"do": "leak", "mb_per_s": 5.0, "kind": "child"},
        {"do": "errors", "per_s": 2.5},
        {"do": "crash", "code": 4},
        {"do": "hang"},
    ]
    for words in ("hang=1", "errors=2:child", "crash=1.5"):
        with pytest.raises(ValueError):
            list(from_environment(words))
