"""Adapters' steps: each sends one thing to trading software and says what came back, without judging it.

Every step has a deadline. What matters most is whether something may have happened: C(Answer.trouble) tells a request that was
never sent from one whose answer never came. Runs on hosts: standard library only, Python 3.8.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import tempfile
import time
from urllib.parse import urlsplit

from .adapter_values import fill
from .engine import Engine, EngineDown, EngineHung
from .text import clean

MOST_BYTES = 4 * 1024 * 1024
READING_METHODS = ("GET", "HEAD")

NOT_SENT = "not sent"
TIMEOUT = "timeout"
BROKEN = "broken"


class Answer:
    """What a step got back.

    Attributes:
        code: HTTP status or exit code; 0 where a step has none and worked; None without an answer.
        text: the answer as text. trouble: "" | NOT_SENT | TIMEOUT | BROKEN. words: one line for people.
    """

    def __init__(self, code=None, text="", trouble="", words=""):
        self.code, self.text, self.trouble, self.words = code, text, trouble, words

    @property
    def document(self):
        """The answer as JSON; the text itself where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


class Place:
    """Where one component's steps go.

    Args:
        name: its container. engine: this host's container CLI (engine.Engine). endpoint: base_url, auth, redis, with secrets as
            {"secret": key}. secrets: {key: value}. given: values for templates. runs: the container runs, so that a program can run in it.
    """

    def __init__(self, name, engine, endpoint, secrets, given, runs=True):
        self.runs = runs
        self.name, self.engine, self.endpoint, self.secrets, self.given = name, engine, endpoint or {}, secrets or {}, given

    def secret(self, ref):
        return str(self.secrets.get(ref["secret"], "")) if isinstance(ref, dict) else str(ref or "")

    def hide(self, words):
        """Words for people: no secret of this component, no signature of a signed request."""
        words = str(words)
        for one in self.secrets.values():
            if one:
                words = words.replace(str(one), "***")
        return re.sub(r"(?i)\b((?:api_?key|signature|sign|token|secret|password)=)[^&\s\"']+", r"\1***", words)


def changes(kind, spec):
    """True if a step may change something: an unanswered one is then unknown."""
    if kind == "http":
        return spec.get("method", "GET") not in READING_METHODS
    if kind == "redis":
        return spec.get("op", "get") != "get"
    if kind == "file":
        return not spec.get("read")
    return kind in ("signal", "container") or (kind == "command" and not spec.get("read"))


def run(kind, spec, place, timeout):
    """Sends one step (its templates are filled in here) and returns the Answer.

    Args:
        kind: a key of STEPS. spec: what the adapter says. timeout: seconds.
    """
    if timeout <= 0:
        return Answer(trouble=NOT_SENT, words="no time was left; not sent")
    try:
        answer = STEPS[kind](spec, place, timeout)
    except EngineDown as error:
        answer = Answer(trouble=NOT_SENT, words=str(error))
    except EngineHung as error:
        answer = Answer(trouble=TIMEOUT, words=str(error))
    answer.words = clean(place.hide(answer.words), 200)
    return answer


def _authorization(auth, place):
    if "basic" in auth:
        pair = "%s:%s" % (auth["basic"].get("user", ""), place.secret(auth["basic"].get("password")))
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    if "bearer" in auth:
        return {"Authorization": "Bearer " + place.secret(auth["bearer"].get("token"))}
    return {}


def http_step(spec, place, timeout):
    """One HTTP request. No redirect is followed and no proxy is used: credentials go to the one address that the inventory names."""
    end = time.monotonic() + timeout
    url = urlsplit(place.endpoint.get("base_url", ""))
    headers = _authorization(place.endpoint.get("auth") or {}, place)
    body = None
    if "json" in spec:
        body = json.dumps(fill(spec["json"], place.given), allow_nan=False).encode()
        headers["Content-Type"] = "application/json"
    path = url.path.rstrip("/") + fill(spec["path"], place.given, in_url=True)
    make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = make(url.hostname, url.port, timeout=timeout)
    try:
        try:
            connection.connect()
        except (OSError, ssl.SSLError) as error:
            return Answer(trouble=NOT_SENT, words="%s:%s cannot be reached: %s" % (url.hostname, url.port or url.scheme, _why(error)))
        try:
            connection.request(spec.get("method", "GET"), path, body, headers)
            reply = connection.getresponse()
            text = _body(reply, connection, end)
        except (socket.timeout, TimeoutError):
            return Answer(trouble=TIMEOUT, words="no answer within %.1f s" % timeout)
        except (OSError, http.client.HTTPException) as error:
            return Answer(trouble=BROKEN, words="the answer broke off: %s" % _why(error))
    finally:
        connection.close()
    return Answer(code=reply.status, text=text, words="HTTP %d %s" % (reply.status, clean(text, 120) if reply.status >= 400 else ""))


def _body(reply, connection, end):
    """The whole answer, before C(end) and not longer than MOST_BYTES. Raises OSError."""
    pieces, size = [], 0
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise socket.timeout
        if connection.sock is not None:
            connection.sock.settimeout(left)
        piece = reply.read1(65536)
        if not piece:
            break
        size += len(piece)
        if size > MOST_BYTES:
            raise OSError("more than %d bytes" % MOST_BYTES)
        pieces.append(piece)
    if reply.length not in (None, 0):  # read1 does not say so when the connection closes early
        raise OSError("%d bytes are missing" % reply.length)
    return b"".join(pieces).decode("utf-8", "replace")


def _why(error):
    return clean(getattr(error, "strerror", None) or str(error) or type(error).__name__, 120)


def command_step(spec, place, timeout):
    """A program on the host, or in the component's container through the container CLI."""
    argv = [str(one) for one in fill(spec["argv"], place.given)]
    if spec.get("in", "container") == "host":
        try:
            code, out, err = Engine(argv[0]).run(*argv[1:], deadline=timeout)
        except EngineDown as error:
            return Answer(code=127, words=str(error))
    else:
        code, out, err = place.engine.run("exec", place.name, *argv, deadline=timeout)
    return Answer(code=code, text=out, words="exit code %d %s" % (code, clean((err or out).strip()[-200:], 120) if code else ""))


_WRITE = 'mkdir -p "$(dirname "$1")" && cat >"$1.andon" && mv -f "$1.andon" "$1"'


def file_step(spec, place, timeout):
    """Reads, touches, writes or removes a file, on the host or in the container; what is already so is not written again."""
    path = str(fill(spec["path"], place.given))
    here = spec.get("in", "host") == "host"
    text = None
    if "json" in spec:
        text = json.dumps(fill(spec["json"], place.given), indent=1, sort_keys=True, allow_nan=False) + "\n"
    elif "write" in spec:
        text = str(fill(spec["write"], place.given))
    elif spec.get("touch"):
        text = ""
    read = _read_here if here else _read_in
    found = read(path, place, timeout)
    if found.trouble or spec.get("read"):
        return found
    if spec.get("remove"):
        if found.code == 1:
            return Answer(code=0, text="already", words="%s is not there" % path)
        if not here and not place.runs:
            return Answer(code=2, words="%s cannot be removed while its container does not run" % path)
        done = _remove_here(path) if here else _in(place, timeout, 'rm -f -- "$1"', path)
        return done if done.code else Answer(code=0, words="%s removed" % path)
    if found.code == 0 and (spec.get("touch") or found.text == text):
        return Answer(code=0, text="already", words="%s is already so" % path)
    if here:
        done = _write_here(path, text, spec)
    elif place.runs:
        done = _in(place, timeout, _WRITE, path, text.encode())
    else:
        done = _copy_in(path, text, place, timeout, spec)
    if done.code or done.trouble:
        return done
    again = read(path, place, timeout)  # a file that nobody can read back would end the software that is told to read it
    if again.code or again.text != text:
        return Answer(code=1, words="%s was written but does not read back" % path)
    return Answer(code=0, words="%s written" % path)


def _in(place, timeout, script, path, data=None):
    args = ["exec"] + (["-i"] if data is not None else []) + [place.name, "sh", "-c", script, "sh", path]
    code, out, err = place.engine.run(*args, deadline=timeout, data=data)
    return Answer(code=code, text=out, words=clean(err.strip() or "exit code %d" % code, 160))


def _copy_in(path, text, place, timeout, spec):
    """Into a container that does not run: nothing can be run in it, but the engine copies into its files and volumes."""
    handle, temporary = tempfile.mkstemp(prefix="andon-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            target.write(text)
        os.chmod(temporary, int(str(spec.get("mode", "0644")), 8))
        code, _, err = place.engine.run("cp", temporary, "%s:%s" % (place.name, path), deadline=timeout)
    finally:
        os.unlink(temporary)
    return Answer(code=code, words=clean(err.strip() or "exit code %d" % code, 160))


def _copy_out(path, place, timeout):
    """From a container that does not run."""
    folder = tempfile.mkdtemp(prefix="andon-")
    try:
        target = os.path.join(folder, "file")
        code, _, err = place.engine.run("cp", "%s:%s" % (place.name, path), target, deadline=timeout)
        if code and ("Could not find the file" in err or "no such file" in err.lower()):
            return Answer(code=1, words="%s is not there" % path)
        if code:
            return Answer(code=2, trouble=NOT_SENT, words=clean(err.strip() or "exit code %d" % code, 160))
        return _read_here(target, place, timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_in(path, place, timeout):
    if not place.runs:
        return _copy_out(path, place, timeout)
    answer = _in(place, timeout, 'if [ -e "$1" ]; then cat -- "$1"; else exit 44; fi', path)
    if answer.code == 44:
        return Answer(code=1, words="%s is not there" % path)
    return answer if answer.code in (0, None) else Answer(code=2, trouble=NOT_SENT, words=answer.words)


def _read_here(path, place, timeout):
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return Answer(code=0, text=source.read(MOST_BYTES))
    except FileNotFoundError:
        return Answer(code=1, words="%s is not there" % path)
    except OSError as error:
        return Answer(code=2, trouble=NOT_SENT, words="%s cannot be read: %s" % (path, error.strerror))


def _remove_here(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return Answer(code=2, words="%s cannot be removed: %s" % (path, error.strerror))
    return Answer(code=0)


def _write_here(path, text, spec):
    """Whole or not at all; readable by the software, which rarely is root: owner of the old file or of the folder, mode 0644."""
    folder = os.path.dirname(path) or "."
    try:
        try:
            like = os.stat(path)
            mode = like.st_mode & 0o777
        except FileNotFoundError:
            like, mode = os.stat(folder), int(str(spec.get("mode", "0644")), 8)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".andon-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as target:
                target.write(text)
                target.flush()
                os.fsync(target.fileno())
            os.chmod(temporary, mode)
            if os.geteuid() == 0:
                os.chown(temporary, like.st_uid, like.st_gid)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        return Answer(code=2, words="%s cannot be written: %s" % (path, error.strerror))
    return Answer(code=0)


def redis_step(spec, place, timeout):
    """One Redis command (get, set, del, xadd) in the protocol RESP2, over a socket of its own."""
    server = place.endpoint.get("redis") or {}
    op = spec.get("op", "get")
    key = str(fill(spec.get("key") or spec.get("stream") or "", place.given))
    if op == "xadd":
        pairs = fill(spec["fields"], place.given)
        command = ["XADD", key, "*"] + [str(part) for pair in pairs.items() for part in pair]
    elif op == "set":
        command = ["SET", key, str(fill(spec["value"], place.given))]
    else:
        command = [op.upper(), key]
    login = []
    password = place.secret(server.get("password"))
    if password:
        login.append(["AUTH"] + ([str(server["user"])] if server.get("user") else []) + [password])
    if server.get("db"):
        login.append(["SELECT", str(server["db"])])
    where = (server.get("host", "127.0.0.1"), int(server.get("port", 6379)))
    end = time.monotonic() + timeout
    sent = False
    try:
        with socket.create_connection(where, timeout=timeout) as link:
            wire = _Wire(link, end)
            for one in login:
                wire.ask(one)
            sent = True
            reply = wire.ask(command)
    except _RedisError as error:
        return Answer(code=1, words="redis: %s" % error)
    except (socket.timeout, TimeoutError):
        return Answer(trouble=TIMEOUT if sent else NOT_SENT, words="redis at %s:%d: no answer within %.1f s" % (where + (timeout,)))
    except OSError as error:
        return Answer(trouble=BROKEN if sent else NOT_SENT, words="redis at %s:%d: %s" % (where + (_why(error),)))
    if op == "get" and reply is None:
        return Answer(code=1, words="redis: there is no %s" % key)
    if op == "del" and reply == "0":
        return Answer(code=0, text="already", words="redis: there is no %s" % key)
    return Answer(code=0, text="" if reply is None else reply, words="redis %s %s" % (op, key))


class _RedisError(Exception):
    """The server answered with an error."""


class _Wire:
    """RESP2 on one socket: bulk strings out; simple strings, errors, integers and bulk strings in."""

    def __init__(self, link, end):
        self.link, self.end, self.rest = link, end, b""

    def ask(self, words):
        parts = [one.encode() for one in words]
        self.link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        line = self._until(b"\r\n").decode("utf-8", "replace")
        if line[:1] == "-":
            raise _RedisError(line[1:])
        if line[:1] in "+:":
            return line[1:]
        if line[:1] != "$":
            raise OSError("an answer that is no RESP2")
        length = int(line[1:])
        if length < 0:
            return None
        if length > MOST_BYTES:
            raise OSError("more than %d bytes" % MOST_BYTES)
        while len(self.rest) < length + 2:
            self._more()
        text, self.rest = self.rest[:length], self.rest[length + 2 :]
        return text.decode("utf-8", "replace")

    def _until(self, mark):
        while mark not in self.rest:
            if len(self.rest) > MOST_BYTES:
                raise OSError("a line without an end")
            self._more()
        line, _, self.rest = self.rest.partition(mark)
        return line

    def _more(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise socket.timeout
        self.link.settimeout(left)
        piece = self.link.recv(65536)
        if not piece:
            raise OSError("the connection was closed")
        self.rest += piece


def signal_step(spec, place, timeout):
    """A signal to the container's first process."""
    code, out, err = place.engine.run("kill", "--signal", spec["name"], place.name, deadline=timeout)
    return Answer(code=code, words="signal %s" % spec["name"] if not code else clean(err, 160))


def container_step(spec, place, timeout):
    """pause, stop, kill or network_disconnect of the container itself."""
    op = spec["op"]
    args = ["network", "disconnect", "--force", spec.get("network", ""), place.name] if op == "network_disconnect" else [op, place.name]
    code, out, err = place.engine.run(*args, deadline=timeout)
    return Answer(code=code, words=op if not code else clean(err, 160))


STEPS = {
    "http": http_step,
    "command": command_step,
    "file": file_step,
    "redis": redis_step,
    "signal": signal_step,
    "container": container_step,
}
