"""Runs a function inside a container's network namespace, and looks names up the way the container does.

Hosts have no `nsenter` and no `ip` to rely on: a forked child enters the namespace by setns(2). Only the network namespace is entered,
not the container's files: a name that is looked up by the C library there would load libraries from the container into a process
of root. So the container's hosts file and resolv.conf are read as plain data, and names are asked for by a small DNS client.

Standard library only, Python 3.8, Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import struct
import time

from .text import clean

CLONE_NEWNET = 0x40000000
FILE_LIMIT = 256 * 1024  # bytes of a container's hosts file or resolv.conf: they are the container's, so they may be anything
ANSWER_LIMIT = 4 * 1024 * 1024  # bytes that a child may answer
A, CNAME, AAAA = 1, 5, 28
RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN (there is no such name)", 4: "NOTIMP", 5: "REFUSED"}


class NamespaceError(Exception):
    """The namespace cannot be entered, or what ran there gave no result. C(str()) is one line for a person."""


class NoAddress(OSError):
    """A name has no address; C(str()) says what the name server said."""


def _setns(handle):
    if hasattr(os, "setns"):  # Python 3.12
        os.setns(handle, CLONE_NEWNET)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def same_network(pid, proc="/proc"):
    """True if a process is in this process's own network namespace (a container with the host's network)."""
    try:
        return os.stat("%s/%d/ns/net" % (proc, pid)).st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return False


def container_files(pid, proc="/proc"):
    """The container's own hosts file and resolv.conf as text ("" for one that is not there). In a forked child only: it changes root for a moment.

    Read under the container's root, so that a link in it leads into the container and never into the host.

    Raises:
        OSError: the container's root cannot be entered.
    """
    back = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chroot("%s/%d/root" % (proc, pid))
        os.chdir("/")
        return _small("/etc/hosts"), _small("/etc/resolv.conf")
    finally:
        os.fchdir(back)
        os.chroot(".")
        os.close(back)


def _small(path):
    try:
        # Not blocking: it may be a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(handle, FILE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(handle)


class Inside:
    """Runs C(work(hosts, resolv_conf)) in the network namespace of a process; several may run at once.

    Args:
        pid: a process of the container, or 0 for this host itself.
        work: a function of the two files' text; what it returns must fit into JSON. It must not use the C library's name lookup.
    """

    def __init__(self, pid, work, proc="/proc"):
        self.reader, writer = os.pipe()
        self.child = os.fork()
        if not self.child:
            os.close(self.reader)
            _child(pid, work, writer, proc)
        os.close(writer)

    def result(self, deadline):
        """What came back. The child ends here, in any case.

        Args:
            deadline: seconds from now, after which the child is killed.

        Raises:
            NamespaceError: no rights, no such process, or no result in time.
        """
        try:
            answer = json.loads(_read_all(self.reader, time.monotonic() + deadline) or "null")
        finally:
            os.close(self.reader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        if not isinstance(answer, dict):
            raise NamespaceError("no result within %g s" % deadline)
        if "error" in answer:
            raise NamespaceError(clean(answer["error"], 200))
        return answer["result"]


def _child(pid, work, writer, proc):
    """Never returns. One thread, a copy of everything that was imported: nothing is loaded after the namespace has changed."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            if pid:
                handle = os.open("%s/%d/ns/net" % (proc, pid), os.O_RDONLY)
                files = container_files(pid, proc)
                _setns(handle)
                os.close(handle)
            else:
                files = _small("/etc/hosts"), _small("/etc/resolv.conf")
        except PermissionError as error:
            raise NamespaceError("the namespace cannot be entered (%s): this needs root (ansible_become)" % error.strerror) from None
        except OSError as error:
            raise NamespaceError("the namespace of process %d cannot be entered: %s" % (pid, error.strerror)) from None
        answer = {"result": work(*files)}
    except BaseException as error:
        answer = {"error": "%s" % error if isinstance(error, NamespaceError) else "%s: %s" % (type(error).__name__, error)}
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read_all(handle, end):
    """What comes from a pipe until it is closed; b"" when that does not happen in time."""
    found = b""
    while len(found) < ANSWER_LIMIT:
        left = end - time.monotonic()
        if left <= 0 or not select.select([handle], [], [], left)[0]:
            return b""
        piece = os.read(handle, 65536)
        if not piece:
            return found
        found += piece
    return b""


# Names


class Names:
    """Looks names up as the container's own files say.

    Args:
        hosts, resolv_conf: the files' text.

    Attributes:
        servers: name servers' addresses. search: domains to try. said: what was asked and answered, for a person.
    """

    def __init__(self, hosts, resolv_conf):
        self.hosts = {}
        for line in hosts.splitlines():
            words = line.split("#")[0].split()
            for name in words[1:]:
                self.hosts.setdefault(name.lower().rstrip("."), []).append(words[0])
        self.servers, self.search = [], []
        for line in resolv_conf.splitlines():
            words = line.split("#")[0].split(";")[0].split()
            if len(words) > 1 and words[0] == "nameserver":
                self.servers.append(words[1])
            elif words and words[0] in ("search", "domain"):
                self.search = words[1:]
        self.servers = self.servers[:3] or ["127.0.0.1"]  # resolver(5): three count; without one the machine itself is asked

    def find(self, host, deadline):
        """The addresses of a name: itself, from the hosts file, or from the name servers.

        Args:
            deadline: seconds for all servers and domains together.

        Raises:
            NoAddress: there is none; says what the last server said. TimeoutError: none answered.
        """
        if numeric(host):
            return [host]
        name = host.lower().rstrip(".")
        if name in self.hosts:
            return [one for one in self.hosts[name] if numeric(one)]
        end, last = time.monotonic() + deadline, None
        # A name with a dot is tried as it is first, as ndots:1 says; a venue's has one.
        names = [name] + ["%s.%s" % (name, domain) for domain in self.search[:6] if not host.endswith(".")]
        for one in names if "." in name else names[1:] + names[:1]:
            try:
                return self._ask_servers(one, end)
            except NoAddress as error:
                last = last or error
        raise last or TimeoutError()

    def _ask_servers(self, name, end):
        last = None
        for index, server in enumerate(self.servers):
            share = (end - time.monotonic()) / (len(self.servers) - index)
            try:
                return ask_server(server, name, max(share, 0.05))
            except NoAddress:
                raise  # an answer, even if it is a no
            except (OSError, ValueError) as error:
                last = error
        raise NoAddress("no answer from %s (%s)" % (", ".join(self.servers), "timeout" if isinstance(last, (socket.timeout, TimeoutError)) else reason(last)))


def reason(error):
    """An OSError in words, without its number."""
    return clean(getattr(error, "strerror", None) or error, 80)


def numeric(word):
    """True for an IPv4 or IPv6 address."""
    try:
        socket.getaddrinfo(word, None, flags=socket.AI_NUMERICHOST)
        return True
    except (OSError, UnicodeError):
        return False


def question(name, kind, number):
    """One DNS query as bytes.

    Raises:
        NoAddress: a label is empty, too long, or not ASCII after IDNA.
    """
    try:
        labels = [label.encode("ascii") for label in name.split(".")]
    except UnicodeError:
        raise NoAddress("'%s' cannot be a host's name" % clean(name, 60)) from None
    if not all(0 < len(label) < 64 for label in labels) or len(name) > 253:
        raise NoAddress("'%s' cannot be a host's name" % clean(name, 60))
    body = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + body + struct.pack(">HH", kind, 1)


def answers(data, number):
    """The addresses in one DNS answer.

    Returns:
        (response code, [addresses]).

    Raises:
        ValueError: it is no answer to that query.
    """
    if len(data) < 12:
        raise ValueError("a torn answer")
    got, flags, questions, count = struct.unpack(">HHHH", data[:8])
    if got != number or not flags & 0x8000:
        raise ValueError("not the answer")
    at, found = 12, []
    try:
        for _ in range(questions):
            at = _skip(data, at) + 4
        for _ in range(count):
            at = _skip(data, at)
            kind, _, _, length = struct.unpack(">HHIH", data[at : at + 10])
            value = data[at + 10 : at + 10 + length]
            at += 10 + length
            if kind == A and length == 4:
                found.append(socket.inet_ntop(socket.AF_INET, value))
            elif kind == AAAA and length == 16:
                found.append(socket.inet_ntop(socket.AF_INET6, value))
    except (IndexError, struct.error):
        raise ValueError("a torn answer") from None
    return flags & 15, found


def _skip(data, at):
    """The place after a name (which may end in a pointer)."""
    while True:
        length = data[at]
        if length >= 192:
            return at + 2
        at += 1 + length
        if not length:
            return at


def ask_server(server, name, deadline, port=53):
    """A and AAAA records of a name from one server, over UDP; each asked twice at most.

    Raises:
        NoAddress: it says that there are none. OSError (TimeoutError too): no answer.
    """
    family, kind, _, _, address = socket.getaddrinfo(server, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    first, second = random.sample(range(65536), 2)  # ids, no secrets; the socket's port is random too
    numbers = {A: first, AAAA: second}
    open_, found, codes = set(numbers), [], set()
    with socket.socket(family, kind) as one:
        one.connect(address)
        end = time.monotonic() + deadline
        for ends in (time.monotonic() + deadline / 2, end):
            for record in sorted(open_):
                one.send(question(name, record, numbers[record]))
            while open_ and time.monotonic() < ends:
                one.settimeout(max(ends - time.monotonic(), 0.01))
                try:
                    data = one.recv(65535)
                except (socket.timeout, TimeoutError):
                    break
                for record in sorted(open_):
                    try:
                        code, some = answers(data, numbers[record])
                    except ValueError:
                        continue
                    open_.discard(record)
                    codes.add(code)
                    found += some
            if not open_ or found:
                break
    if found:
        return found
    if not codes:
        raise TimeoutError("no answer")
    code = max(codes)
    raise NoAddress("%s says %s" % (server, RCODES.get(code, "error %d" % code) if code else "that this name has no address"))
