"""The way from a host, and from a component's own network namespace, to a venue: name, TCP, TLS, one public call, the clock.

Standard library only, Python 3.8. Nothing secret is here: the private call is the bastion's.
"""

from __future__ import annotations

import email.utils
import os
import socket
import ssl
import sys
import time

from . import netns, reach
from .text import clean

OK, BROKEN, SKIPPED = "ok", "broken", "not tried"
LAYERS = ("DNS", "TCP", "TLS", "public")
HEAD_LIMIT = 16384  # bytes of an answer's head that are read
ESTABLISHED, TIME_WAIT = "01", "06"


def look(url, known_path, names, deadline, context, public=True, streams=()):
    """Tries the layers one after the other.

    Args:
        url: the address of a venue's public call. known_path: False if only its host is known (then any answer below 500 will do).
        names: netns.Names, or the like. deadline: seconds for all. context: an ssl.SSLContext. public: make the call, too.
        streams: HOST:PORT of further addresses that count as the venue's; they are looked up and not tried.

    Returns:
        dict layers [{layer, outcome, words}], addresses, port, doors [[address, port]] (the venue's, streams too), own_ports,
        skew (their clock less ours, to a second; None: not known),
        kind (of trouble: "", "rate limit", "5xx", "refused", "certificate").
    """
    found = {"layers": [], "addresses": [], "port": 0, "doors": [], "own_ports": [], "skew": None, "kind": ""}
    layer, plain, end = "DNS", None, time.monotonic() + deadline
    try:
        endpoint = reach.Endpoint(url)
        found["port"] = endpoint.port
        begun = time.monotonic()
        # Half of the time: a name server that hangs is told apart from a slow venue, and what follows still gets its turn.
        found["addresses"] = names.find(endpoint.host, deadline / 2)
        if not found["addresses"]:
            raise netns.NoAddress("the hosts file has no address for it")
        said(found, layer, "%s, %d ms" % (", ".join(found["addresses"][:3]), 1000 * (time.monotonic() - begun)))
        layer, begun = "TCP", time.monotonic()
        plain = reach.connect([address(one, endpoint.port) for one in found["addresses"][:6]], end)
        found["own_ports"].append(plain.getsockname()[1])
        said(found, layer, "%s port %d, %d ms" % (clean(plain.getpeername()[0], 60), endpoint.port, 1000 * (time.monotonic() - begun)))
        if endpoint.secure:
            layer = "TLS"
            plain.settimeout(max(end - time.monotonic(), 0.01))
            plain = context.wrap_socket(plain, server_hostname=endpoint.host)
            days = reach.days_left(plain.getpeercert())
            said(found, layer, "%s%s" % (plain.version(), "" if days is None else ", certificate for %d more days" % days))
        if not public:
            return found  # the bastion's: nobody asks for its doors
        layer = "public"
        call(found, plain, endpoint, known_path, end)
    except reach.EndpointError as error:
        said(found, layer, clean(error, 120), BROKEN)
    except ssl.SSLCertVerificationError as error:
        found["kind"] = "certificate"
        said(found, layer, "its certificate is refused: %s" % clean(error.verify_message, 100), BROKEN)
    except (socket.timeout, TimeoutError):
        said(found, layer, "no answer within %.1f s" % deadline, BROKEN)
    except ConnectionRefusedError:
        said(found, layer, "the connection is refused", BROKEN)
    except (OSError, ValueError) as error:
        said(found, layer, clean(getattr(error, "strerror", None) or error, 120), BROKEN)
    finally:
        if plain is not None:
            plain.close()
    found["doors"] = doors(found, names, streams, end)
    return filled(found)


def doors(found, names, streams, end):
    """Every address and port that a connection to the venue may lead to; a stream's name that is not found is left out."""
    some = [[one, found["port"]] for one in found["addresses"]]
    for stream in streams if found["addresses"] else ():
        host, _, port = stream.rpartition(":")
        left = end - time.monotonic()
        if left <= 0:
            break
        try:
            some += [[one, int(port)] for one in names.find(host, min(left, 1.0))]
        except (OSError, ValueError):
            continue  # the layers of the public call say what is wrong with names
    return some


def filled(found):
    """Adds the layers that were not reached."""
    done = [one["layer"] for one in found["layers"]]
    found["layers"] += [{"layer": one, "outcome": SKIPPED, "words": ""} for one in LAYERS if one not in done and not (one == "TLS" and "public" in done)]
    return found


def said(found, layer, words, outcome=OK):
    found["layers"].append({"layer": layer, "outcome": outcome, "words": words})


def address(one, port):
    """As getaddrinfo gives it, for reach.connect."""
    return socket.getaddrinfo(one, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]


def call(found, connection, endpoint, known_path, end):
    """One GET: its status, and the venue's clock from the head (Date, to a second)."""
    sent = time.time()
    status, head = ask(connection, endpoint, end)
    now = (sent + time.time()) / 2
    moment = email.utils.parsedate_tz(head.get("date", ""))
    if moment:
        # Date has no fractions: on average the venue's clock is half a second later.
        found["skew"] = round(email.utils.mktime_tz(moment) + 0.5 - now, 1)
    if status == 429 or status == 418:
        found["kind"] = "rate limit"
        return said(found, "public", "rate limit: it answers %d%s" % (status, retry_words(head)), BROKEN)
    if status >= 500:
        found["kind"] = "5xx"
        return said(found, "public", "the venue's own error: it answers %d" % status, BROKEN)
    if status in (401, 403, 451):
        found["kind"] = "refused"
        return said(found, "public", "it refuses this address or region: it answers %d" % status, BROKEN)
    if status >= 400 and known_path:
        return said(found, "public", "it answers %d" % status, BROKEN)
    return said(found, "public", "it answers %d" % status)


def retry_words(head):
    return ", try again after %s s" % clean(head["retry-after"], 10) if head.get("retry-after") else ""


def ask(connection, endpoint, end):
    """Sends one GET and reads the answer's head.

    Returns:
        (status, {header in small letters: value}).

    Raises:
        ValueError: the answer is no HTTP. TimeoutError: none came.
    """
    port = "" if reach.PORTS.get(endpoint.scheme) == endpoint.port else ":%d" % endpoint.port
    host = "[%s]" % endpoint.host if ":" in endpoint.host else endpoint.host
    words = "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: andon\r\nAccept: */*\r\nConnection: close\r\n\r\n" % (endpoint.path, host, port)
    connection.settimeout(max(end - time.monotonic(), 0.01))
    connection.sendall(words.encode("ascii", "replace"))
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_LIMIT:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(4096)
        if not piece:
            break
        data += piece
    lines = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    first = lines[0].split()
    if len(first) < 2 or not first[0].startswith("HTTP/") or not first[1].isdigit() or len(first[1]) != 3:
        raise ValueError("it answers, and not in HTTP" if data else "it closes the connection without an answer")
    pairs = [line.split(":", 1) for line in lines[1:] if ":" in line]
    return int(first[1]), {name.strip().lower(): value.strip() for name, value in pairs}


# The component's own connections


def table(pid, proc="/proc"):
    """All TCP connections in a process's network namespace: [(remote address, remote port, local port, state, inode)]."""
    rows = []
    for name, size in (("tcp", 8), ("tcp6", 32)):
        try:
            with open("%s/%d/net/%s" % (proc, pid, name), encoding="ascii", errors="replace") as source:
                lines = source.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if len(words) > 9:
                remote, port = words[2].split(":")
                rows.append((unpacked(remote, size), int(port, 16), int(words[1].split(":")[1], 16), words[3], words[9]))
    return rows


def unpacked(word, size):
    """An address of /proc/net/tcp (32-bit words in the machine's order) as text."""
    data = bytes.fromhex(word)
    if len(data) * 2 != size:
        return ""
    swapped = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4)) if sys.byteorder == "little" else data
    text = socket.inet_ntop(socket.AF_INET if size == 8 else socket.AF_INET6, swapped)
    return text[7:] if text.startswith("::ffff:") and "." in text else text


def own_inodes(pid, proc="/proc"):
    """The sockets of all processes that share a process's files (the container), for containers that share a network."""
    found = set()
    try:
        mine = os.stat("%s/%d/ns/mnt" % (proc, pid)).st_ino
        numbers = [name for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return found
    for number in numbers:
        folder = "%s/%s/fd" % (proc, number)
        try:
            if os.stat("%s/%s/ns/mnt" % (proc, number)).st_ino != mine:
                continue
            links = [os.readlink(os.path.join(folder, one)) for one in os.listdir(folder)]
        except OSError:
            continue  # it has ended meanwhile
        found.update(link[8:-1] for link in links if link.startswith("socket:["))
    return found


def connections(pid, found, proc="/proc", shared=False, recent=False):
    """How many connections of the component lead to the venue.

    Args:
        found: what C(look) gave (doors, own_ports). shared: others are in its namespace, so only its own processes' sockets
            count. recent: connections that ended within the last minute count, too: only for a namespace that began with the container.
    """
    rows = [one for one in table(pid, proc) if [one[0], one[1]] in found["doors"] and one[2] not in found["own_ports"]]
    if shared:
        inodes = own_inodes(pid, proc)
        return sum(one[3] == ESTABLISHED and one[4] in inodes for one in rows)
    return sum(one[3] == ESTABLISHED or (recent and one[3] == TIME_WAIT) for one in rows)
