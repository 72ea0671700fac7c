"""Redaction: planted secrets are gone, the same secret is the same token, and what is no secret stays."""

from __future__ import annotations

import base64
import json
import re
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.redact import MAX_LINE, PEM_LINES, Redactor, environment_secrets, looks_secret

KEY = b"k" * 32
CANARY = "zq9CANARYx7Wv"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join(f"MIIEowIBAAKCAQEAcanary{i:02d}ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn" for i in range(20))
    + "\nc2hvcnQ=\n-----END RSA PRIVATE KEY-----"
)
STAMP = "2026-11-22T03:00:00.000000001Z "


def redact(text, known=(), docker=False, step=None):
    """The text through a stream, in pieces of C(step) bytes; returns (text, report)."""
    stream = Redactor(KEY, known).stream(docker=docker)
    raw = text if isinstance(text, bytes) else text.encode()
    step = step or len(raw) or 1
    out = b"".join(stream.feed(raw[i : i + step]) for i in range(0, len(raw), step)) + stream.finish()
    return out.decode("utf-8", "replace"), stream.report()


@pytest.mark.parametrize(
    "line",
    [
        "password=%s",
        "db_password: %s, retrying",
        "DB_PASS=%s ./run",
        "pwd = '%s'",
        'login failed {"user": "bob", "password": "%s", "level": "info"}',
        "{\"msg\": \"{\\\"api_secret\\\": \\\"%s\\\"}\"}",
        "{'X-API-KEY': '%s', 'Accept': '*/*'}",
        "headers=[('X-MBX-APIKEY', '%s')]",
        "CB-ACCESS-SIGN: %s",
        "api key: %s",
        "api_key2=%s",
        "LICENCE_KEY=%s",
        "tokens=%s",
        "key=%sAAAABBBBCCCC",
        "GET https://venue.example/v3/order?symbol=BTC&signature=%s&recvWindow=5000",
        "GET https://venue.example/v3/order?apiKey=%s",
        "postgres://trader:%s@db:5432/orders",
        "dsn trader:%s@tcp(10.0.0.1:3306)/orders",
        "redis://:%s@cache:6379/0",
        "connecting to https://%s@sentry.example/42",
        "amqp://u:p/w@%s@mq:5672/",
        "Authorization: Bearer %s",
        'curl -H "Authorization: token %s" https://x',
        "authorization=Digest username=\"x\", response=\"%s\"",
        "Cookie: sid=1; auth=%s",
        "retry with bearer %s",
        "starting: ./bot --api-secret %s --dry-run",
        "starting: ./bot --token=%s",
        "config[\"access_key\"] = \"%s\"",
        "<Password>%s</Password>",
        "passphrase: correct horse %s staple",
        "mnemonic: legal winner %s thank year",
        "\x1b[36mpassword\x1b[0m=\x1b[35m%s\x1b[0m",
        "pass\x1b[1mword=%s",
        "8=FIX.4.4|35=A|553=user|554=%s|108=30|",
        "8=FIX.4.4\x0135=A\x01554=%s\x0110=1\x01",
        "token=a,%s;b",
        "payload=password%%3D%s",
        "post https://hooks.slack.com/services/T0/B0/%s",
        "post https://api.telegram.org/bot123456:%s/sendMessage",
        "\xff\xfe\x00secret=%s\x00",
    ],
)  # fmt: skip
def test_planted_secret_is_gone(line):
    out, report = redact("before\n" + line % CANARY + "\nafter\n")
    assert CANARY not in out
    assert "REDACTED" in out and out.startswith("before\n") and out.endswith("\nafter\n")
    assert report and all(entry["lines"] == [2] for entry in report)
    assert CANARY not in json.dumps(report)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlMTIz",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "glpat-0123456789abcdefghij",
        "xoxb-12345-abcdefghijk",
        "sk_live_abcdefghijklmnop",
    ],
)
def test_shape_is_recognised_without_a_name(secret):
    out, report = redact(f"got {secret} from peer")
    assert secret not in out and out.startswith("got [REDACTED:") and report[0]["count"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-22 INFO signal assigned to order_key=77 px=1.5 side=BUY",
        "tokens=512 tokens_total=99 token_count: 7",
        "PASSWORD_FILE=/run/secrets/db_password",
        "password=null token: None",
        "bypass=1 compass: north keyboard monkey",
        "https://venue.example:8443/path?mail=a@b.example",
        "sha256:0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a9b0f3a",
        "basic authentication is off; bearer authorization needed",
        "{{ 7*7 }} <b>x</b> [link](javascript:1)",
    ],
)
def test_ordinary_line_stays(line):
    out, report = redact(line + "\n")
    assert out == line + "\n" and report == []


def test_neighbours_of_a_secret_stay():
    out, _ = redact('{"user": "bob", "password": "%s", "level": "ERROR"}\nuser=bob,password=%s,venue=x\n'.replace("%s", CANARY))
    assert '"user": "bob"' in out and '"level": "ERROR"' in out and "user=bob," in out and ",venue=x" in out


def test_same_secret_same_token_in_every_form_and_file_and_not_in_another_run():
    known = [CANARY]
    text = f"a {CANARY}\npassword={CANARY}\n{base64.b64encode(CANARY.encode()).decode()}\npostgres://u:{CANARY}@db/x\n"
    tokens = set(re.findall(r"\[REDACTED:\w+\]", redact(text, known)[0]))
    assert len(tokens) == 1
    assert tokens == set(re.findall(r"\[REDACTED:\w+\]", redact(f"api_key: '{CANARY}'")[0]))
    assert Redactor(b"other").token(CANARY.encode()).decode() not in tokens


def test_known_value_is_found_anywhere_and_escaped():
    value = 'p"a\\ss/w+ö rd'
    text = f"x{value}y {json.dumps(value)}\n"
    out, report = redact(text, [value])
    assert "ss/w" not in out and report == [{"rule": "known", "count": 2, "lines": [1]}]


@pytest.mark.parametrize("prefix", ["", STAMP, "2026-11-22 03:00:00 ERROR key: "])
@pytest.mark.parametrize("step", [None, 37])
def test_private_key_over_several_lines(prefix, step):
    text = "start\n" + "\n".join(prefix + line for line in PEM.splitlines()) + "\nend of it\n"
    out, report = redact(text, step=step, docker=prefix == STAMP)
    assert "canary" not in out and "c2hvcnQ" not in out
    assert out.startswith("start\n") and out.endswith("\nend of it\n") and out.count(prefix) >= 20
    assert [entry for entry in report if entry["rule"] == "pem"]


def test_private_key_in_one_line_and_without_its_begin():
    one, _ = redact(json.dumps({"key": PEM, "level": "info"}))
    assert "canary" not in one and "c2hvcnQ" not in one and '"level": "info"' in one
    cut, _ = redact("ok\n" + PEM.split("\n", 3)[3] + "\n")
    assert "canary" not in cut and cut.startswith("ok\n")


def test_a_begin_without_end_does_not_eat_the_log():
    out, _ = redact("-----BEGIN PRIVATE KEY-----\n" + "px 1.5 filled now.\n" * (PEM_LINES + 5))
    assert "px 1.5 filled now." in out


def test_secret_across_the_engine_split_is_joined_first():
    body = "A" * (16384 - 16) + " password=" + CANARY
    raw = STAMP + body[:16384] + STAMP + body[16384:] + "\n" + STAMP + "next\n"
    assert CANARY not in raw
    out, report = redact(raw, docker=True, step=5000)
    assert "CANARY" not in out and "x7Wv" not in out and out.endswith(STAMP + "next\n") and out.count(STAMP) == 2
    assert report[0]["rule"] == "key=value"


def test_overlong_line_is_replaced_not_skipped():
    text = "one\npassword=" + CANARY + "B" * (MAX_LINE + 10) + CANARY + "\ntwo\n"
    for step in (None, 70000):
        out, report = redact(text, step=step)
        assert CANARY not in out and "BBBB" not in out
        assert out.startswith(f"one\n[andon: a line of {len(text.splitlines()[1])} bytes was left out") and out.endswith("\ntwo\n")
        assert report == [{"rule": "overlong", "count": 1, "lines": [2]}]


def test_environment_and_arguments_give_the_known_values():
    found = environment_secrets(
        [f"API_TOKEN={CANARY}", "TZ=UTC", "DB=postgres://u:p%40ss@h/x", "PASSWORD_FILE=/x"], ["--api-key", "ARGVALUE", "--secret=EQVALUE", "--verbose"]
    )
    assert set(found) == {CANARY, "p%40ss", "p@ss", "ARGVALUE", "EQVALUE"}
    assert looks_secret("BINANCE_API_SECRET") and looks_secret("api-key") and not looks_secret("TZ") and not looks_secret("TOKEN_TTL")


def test_names_and_arguments():
    redactor = Redactor(KEY, [CANARY])
    assert CANARY not in redactor.text(f"/var/log/trading/dump-{CANARY}.log")
    words = redactor.words(["docker", "run", "--password", "hunter2", "-e", "TOKEN=abcdef", "x"])
    assert "hunter2" not in words and "TOKEN=abcdef" not in words and words[0] == "docker" and words[-1] == "x"


# Names, separators and ends that the short way through name=value and "name": "value" must judge as the general pattern does.
NAMES = st.sampled_from(
    ["password", "API_KEY", "token", "tokens", "session_id", "x-auth-token", "secret_name", "PASSWORD_FILE", "db.pwd", "my_secret_key", "bypass"]
)
BETWEEN = st.sampled_from(["=", ":", ": ", '": "', '":"', "' : \"", '="', ":=", "=>", "%3D", "==", "=\t", " "])
AFTER = st.sampled_from([" ", "\n", '"', '" ', "'", ", ", "&x=1", "}", ");", "\\", "</p>", "\x01", "|", "@h ", "\r\n", ""])
PLAIN = st.text(st.sampled_from("abcXYZ019+/_-.~%=,*"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", " ", "a.", "-", "(", '"', "x"]), NAMES, BETWEEN, PLAIN, AFTER), max_size=12))
def test_the_short_way_takes_what_the_general_pattern_takes(parts):
    text = "".join(map("".join, parts)).encode()
    with mock.patch("andon.redact._QUICK", mock.Mock(match=lambda *_: None)):
        wanted = redact(text)
    found = redact(text)
    assert found[0] == wanted[0] and sum(e["count"] for e in found[1]) == sum(e["count"] for e in wanted[1])


SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'\\<>,;&|)}]*^"), min_size=6, max_size=40).filter(
    lambda s: s.lower() not in ("undefined",)
)
FRAME = st.sampled_from(["password=%s", 'x {"token": "%s"}', "--api-key %s", "https://u:%s@h/", "secret: %s", "Authorization: Basic %s", "env API_SECRET=%s x"])


@settings(max_examples=60, deadline=None)
@given(SECRET, FRAME, st.integers(1, 50), st.integers(0, 200))
def test_no_leak_whatever_the_secret_and_the_cuts(secret, frame, step, padding):
    from hypothesis import assume

    assume("[REDACTED" not in secret and "@" not in secret and not secret.startswith(("-", "=", ":")))
    marked = "Zq" + secret + "qZ"
    out, _ = redact("p" * padding + " " + frame % marked + "\n" + frame % marked, step=step)
    assert marked not in out and secret not in out.replace(frame.replace("%s", ""), "")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=6, max_size=60).filter(lambda b: b"\n" not in b and b"\x1b" not in b and b"\r" not in b), st.binary(max_size=300), st.integers(1, 64))
def test_known_value_never_leaks_between_any_bytes(value, around, step):
    around = around.replace(b"\x1b", b"")
    redactor = Redactor(KEY, [value])
    stream = redactor.stream()
    raw = around + value + around + b"\n" + value
    out = b"".join(stream.feed(raw[i : i + step]) for i in range(0, len(raw), step)) + stream.finish()
    if value.lower() not in (b"undefined",) and b"[REDACTED:" not in value and value.strip(b"*"):
        assert value not in out.replace(redactor.token(value), b"") or value in around
