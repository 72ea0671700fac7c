"""Can this host reach an endpoint, and if not, which layer fails: DNS, TCP, TLS or HTTP.

Standard library only, Python 3.8. Every layer has a deadline: a resolver that hangs must not hang an operator.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from .text import clean

PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class EndpointError(ValueError):
    """An endpoint of the inventory cannot be understood. C(str()) is one line for a person."""


class Endpoint:
    """One configured endpoint.

    Args:
        given: C(https://host/path), C(wss://...), C(tls://host:port), C(tcp://host:port) or C(host:port), or a dictionary with
            C(url) and where wanted C(name) and C(expect) (the HTTP status that it must answer with).

    Attributes:
        name: what it is called, without user, password or query. scheme, host, port, path, expect.

    Raises:
        EndpointError: it is none of these.
    """

    def __init__(self, given):
        given = given if isinstance(given, dict) else {"url": given}
        url = str(given.get("url") or "")
        try:
            parts = urlsplit(url if "://" in url else "tcp://" + url)
            self.scheme, self.host = parts.scheme.lower(), parts.hostname or ""
            self.port = parts.port or PORTS.get(self.scheme, 0)
        except ValueError:
            self.scheme, self.host, self.port, parts = "", "", 0, None
        if self.scheme not in ("http", "https", "ws", "wss", "tcp", "tls") or not self.host or not self.port or "\r" in url or "\n" in url or " " in url:
            raise EndpointError("the endpoint '%s' is no URL and no host:port" % clean(url.rpartition("@")[2].partition("?")[0], 80))
        self.secure = self.scheme in ("https", "wss", "tls")
        self.http = self.scheme in ("http", "https", "ws", "wss")
        self.path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        where = "%s://%s%s%s" % (self.scheme, self.host, "" if PORTS.get(self.scheme) == self.port else ":%d" % self.port, parts.path.rstrip("/"))
        self.name = clean(given.get("name") or where, 80)
        self.where = clean(where, 120)
        try:
            self.expect = int(given["expect"]) if given.get("expect") is not None else None
        except (TypeError, ValueError):
            raise EndpointError("the endpoint '%s' expects '%s', which is no HTTP status" % (self.name, clean(given["expect"], 20))) from None


def probe(endpoint, deadline=5.0, context=None):
    """Tries one endpoint, layer by layer.

    Args:
        endpoint: Endpoint. deadline: seconds for all layers. context: an ssl.SSLContext instead of the system's.

    Returns:
        dict name, where, ok, layer (the one that failed, or "" when none did), words, seconds (of each layer that was passed),
        status (HTTP) and certificate_days (until it ends) where known.
    """
    end = time.monotonic() + deadline
    result = {"name": endpoint.name, "where": endpoint.where, "ok": False, "layer": "DNS", "words": "", "seconds": {}}
    plain = None
    try:
        begun = time.monotonic()
        addresses = resolve(endpoint.host, endpoint.port, end - time.monotonic())
        result["seconds"]["dns"] = time.monotonic() - begun
        result["layer"], begun = "TCP", time.monotonic()
        plain = connect(addresses, end)
        result["seconds"]["tcp"] = time.monotonic() - begun
        result["address"] = clean(plain.getpeername()[0], 60)
        if endpoint.secure:
            result["layer"], begun = "TLS", time.monotonic()
            plain.settimeout(max(end - time.monotonic(), 0.01))
            plain = (context or ssl.create_default_context()).wrap_socket(plain, server_hostname=endpoint.host)
            result["seconds"]["tls"] = time.monotonic() - begun
            result["certificate_days"] = days_left(plain.getpeercert())
        if endpoint.http:
            result["layer"], begun = "HTTP", time.monotonic()
            result["status"] = status_of(plain, endpoint, end)
            result["seconds"]["http"] = time.monotonic() - begun
            wanted = result["status"] == endpoint.expect if endpoint.expect is not None else result["status"] < 500
            if not wanted:
                result["words"] = "it answers %d%s" % (result["status"], "" if endpoint.expect is None else ", expected %d" % endpoint.expect)
                return result
        result.update(ok=True, layer="", words="answers")
    except ssl.SSLCertVerificationError as error:
        result["words"] = "its certificate is refused: %s" % clean(error.verify_message, 100)
    except (socket.timeout, TimeoutError):
        result["words"] = "no answer within %.1f s" % deadline
    except socket.gaierror as error:
        result["words"] = "its name cannot be resolved: %s" % clean(error.strerror, 80)
    except (OSError, ValueError) as error:
        result["words"] = clean(getattr(error, "strerror", None) or error, 120)
    finally:
        if plain is not None:
            plain.close()
    return result


def resolve(host, port, deadline):
    """getaddrinfo with a deadline: it has none of its own and cannot be interrupted, so it is left behind in a daemon thread.

    Raises:
        socket.gaierror: the name does not exist. TimeoutError: no answer.
    """
    answer = {}

    def ask():
        try:
            answer["found"] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answer["error"] = error

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(max(deadline, 0.01))
    if "error" in answer:
        raise answer["error"]
    if "found" not in answer:
        raise TimeoutError
    return answer["found"]


def connect(addresses, end):
    """A socket to the first address that answers; the others share what is left of the deadline.

    Raises:
        OSError: none answered, the last one's reason.
    """
    last = OSError("it has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        one = socket.socket(family, kind, protocol)
        one.settimeout(max((end - time.monotonic()) / (len(addresses) - index), 0.01))
        try:
            one.connect(address)
            return one
        except OSError as error:
            one.close()
            last = error
    raise last


def status_of(connection, endpoint, end):
    """The HTTP status that the endpoint answers a GET with; reads no more than the first line.

    Raises:
        ValueError: the answer is no HTTP. TimeoutError: none came.
    """
    port = "" if PORTS.get(endpoint.scheme) == endpoint.port else ":%d" % endpoint.port
    host = "[%s]" % endpoint.host if ":" in endpoint.host else endpoint.host
    words = "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: andon-triage\r\nAccept: */*\r\nConnection: close\r\n\r\n" % (endpoint.path, host, port)
    connection.settimeout(max(end - time.monotonic(), 0.01))
    connection.sendall(words.encode("ascii", "replace"))
    head = b""
    while b"\n" not in head and len(head) < 4096:
        # Each piece could come just in time for ever: the deadline is for all of them.
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(512)
        if not piece:
            break
        head += piece
    first = head.split(b"\n")[0].split()
    if len(first) < 2 or not first[0].startswith(b"HTTP/") or not first[1].isdigit() or len(first[1]) != 3:
        raise ValueError("it answers, and not in HTTP" if head else "it closes the connection without an answer")
    return int(first[1])


def days_left(certificate):
    """Days until a certificate ends; None when it does not say."""
    try:
        return (ssl.cert_time_to_seconds(certificate["notAfter"]) - datetime.datetime.now(datetime.timezone.utc).timestamp()) / 86400
    except (KeyError, TypeError, ValueError):
        return None
