"""Plans that several people approve: the exact text, its signatures, and who of the signers counts. Bastion only, Python 3.11.

A plan is one JSON file and the text that people read and sign. The text is made anew from the JSON each time, so what is
checked is what is done; a text file that says something else is refused. Signatures are OpenSSH's own (`ssh-keygen -Y sign`):
people have such keys already, an agent or a security key holds them, and checking needs no network.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import pwd
import re
import secrets
import stat
import struct
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .resume import host_difference
from .state import actor, parse_utc, state_dir, utc, write_atomic
from .text import clean, plural, valid_id

SCHEMA = "andon.resume-plan/1"
NAMESPACE = "andon-resume"  # a signature for anything else is none for a plan
TTL = 3600.0  # seconds that a plan may be used
LARGEST = 4 << 20  # bytes of a plan; a signature has at most LARGEST_SIGNATURE
LARGEST_SIGNATURE = 16384
DEADLINE = 10.0  # seconds for one call of ssh-keygen that asks nobody
CORE = ("incident", "target", "strategy", "size", "accepted", "hosts")
KEYS = ("schema", "id", "requester", "requester_names", "requested", "expires", *CORE)
# A principal with these is a pattern in OpenSSH: many people, or nobody.
_PATTERN = re.compile(r"[*?!]")


class PlanError(ValueError):
    """A plan cannot be used: what is wrong with it, in an operator's words. Nothing was started."""


# The plan


def digest(core: Mapping[str, Any]) -> str:
    """The hash of what would be done (CORE), whoever asks for it and whenever: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps({key: core[key] for key in CORE}, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def requester_names() -> list[str]:
    """Every name that the person at the keyboard goes by: ANDON_OPERATOR, the login behind sudo, the login.

    ANDON_OPERATOR is what somebody typed; the login is not. A signer with any of these names is the requester.
    """
    names = {actor()["name"], os.environ.get("SUDO_USER") or ""}
    uids = {os.getuid()}
    with contextlib.suppress(OSError, ValueError):  # no audit in this kernel or container
        uids.add(int(Path("/proc/self/loginuid").read_text(encoding="ascii")))
    for uid in uids:
        with contextlib.suppress(KeyError, OverflowError):  # 4294967295: nobody logged in
            names.add(pwd.getpwuid(uid).pw_name)
    return sorted(clean(name, 80) for name in names if name)


def make(core: Mapping[str, Any], *, now: float, ttl: float = TTL) -> dict[str, Any]:
    """A plan of what C(core) says, asked for by who is at the keyboard.

    Args:
        core: the keys CORE. now: Unix time in seconds. ttl: seconds until it expires.
    """
    stamp = utc(now)[:19].replace("-", "").replace(":", "") + "Z"
    return {
        "schema": SCHEMA,
        "id": "resume-%s-%s" % (stamp, secrets.token_hex(3)),
        "requester": clean(actor()["name"], 80),
        "requester_names": requester_names(),
        "requested": utc(now),
        "expires": utc(now + ttl),
        **{key: core[key] for key in CORE},
    }


def _word(value: Any) -> str:
    """A value in the text: JSON in ASCII, so that no two values look alike and none can move the cursor."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


def text(plan: Mapping[str, Any]) -> str:
    """The canonical text of a plan, which people read and sign. All of the plan is in it."""
    size = "full size" if plan["size"] is None else "%s of the usual position size" % _word(plan["size"])
    lines = [
        "ANDON: APPROVAL TO START TRADING AGAIN  (%s)" % plan["schema"],
        "plan       %s" % _word(plan["id"]),
        "digest     %s" % digest(plan),
        "incident   %s" % _word(plan["incident"]),
        "target     %s" % (_word(plan["target"]) + ("  strategy %s" % _word(plan["strategy"]) if plan["strategy"] else "  (everything that was halted)")),
        "size       %s" % size,
        "accepted   %s" % (", ".join(_word(one) for one in plan["accepted"]) or "no failed gate"),
        "requester  %s  also known as %s" % (_word(plan["requester"]), ", ".join(_word(n) for n in plan["requester_names"])),
        "requested  %s" % _word(plan["requested"]),
        "expires    %s" % _word(plan["expires"]),
        "hosts      %d" % len(plan["hosts"]),
    ]
    for host, one in sorted(plan["hosts"].items()):
        lines += ["", "host %s  halted at %s" % (_word(host), ", ".join(_word(at) for at in one["halted_at"]))]
        for row in one["containers"]:
            lines.append("  %s %s %s" % (row["tier"], "START " if row["start"] else "policy", _word(row["name"])))
            for key in sorted(set(row) - {"tier", "start", "name"}):
                lines.append("      %-10s %s" % (key, _word(row[key])))
        for name in one["gone"]:
            lines.append("  gone since the stop: %s" % _word(name))
    return "\n".join(lines) + "\n"


def plans_dir() -> Path:
    return state_dir() / "plans"


def save(plan: Mapping[str, Any]) -> Path:
    """Writes the plan and its text; returns the JSON file's path. Raises OSError."""
    path = plans_dir() / (plan["id"] + ".json")
    write_atomic(path.with_suffix(".txt"), text(plan))
    write_atomic(path, dict(plan))
    return path


def find(name: str) -> Path:
    """The JSON file that a person means by a path (.json or .txt) or by a plan's id.

    Raises:
        PlanError: there is none.
    """
    path = Path(name)
    if valid_id(name) and not path.exists():
        path = plans_dir() / (name.removesuffix(".json").removesuffix(".txt") + ".json")
    if path.suffix == ".txt":
        path = path.with_suffix(".json")
    if not path.is_file():
        raise PlanError("there is no plan %s. Next: andon resume --request" % clean(name, 120))
    return path.absolute()


def _need(good: bool, words: str) -> None:
    if not good:
        raise PlanError("the plan is damaged or altered: %s. Next: andon resume --request" % words)


def _small(path: Path, limit: int) -> bytes:
    with open(path, "rb") as source:
        content = source.read(limit + 1)
    _need(len(content) <= limit, "%s is larger than %d bytes" % (clean(path.name, 80), limit))
    return content


def load(path: Path) -> dict[str, Any]:
    """A plan from its file, checked in form; its text, if it lies beside it, must be the plan's own.

    Raises:
        PlanError: it cannot be read, has not the form, or text and JSON differ.
    """
    try:
        plan = json.loads(_small(path, LARGEST))
        beside = path.with_suffix(".txt")
        shown = _small(beside, 2 * LARGEST) if beside.exists() else None
    except OSError as error:
        raise PlanError("the plan %s cannot be read: %s" % (clean(path, 120), error.strerror)) from error
    except ValueError as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError("the plan %s is no JSON. Next: andon resume --request" % clean(path, 120)) from error
    _need(isinstance(plan, dict) and plan.get("schema") == SCHEMA, "it is no %s" % SCHEMA)
    _need(set(plan) == set(KEYS), "it has other keys than a plan")
    _need(valid_id(plan["id"]) and plan["id"] == path.stem, "its id is not its file's name")
    words = ("incident", "target", "strategy", "requester", "requested", "expires")
    _need(all(isinstance(plan[key], str) for key in words), "a field is no text")
    _need(plan["size"] is None or (isinstance(plan["size"], float) and 0 < plan["size"] <= 1), "its size is none")
    names = plan["requester_names"]
    _need(isinstance(names, list) and all(isinstance(n, str) for n in names) and plan["requester"] in names, "its requester")
    _need(isinstance(plan["accepted"], list) and all(isinstance(one, str) for one in plan["accepted"]), "its gates")
    _need(isinstance(plan["hosts"], dict) and all(_host_form(one) for one in plan["hosts"].values()), "its hosts")
    _need(parse_utc(plan["requested"]) is not None and parse_utc(plan["expires"]) is not None, "its times")
    _need(shown is None or shown == text(plan).encode(), "%s says something else than %s" % (beside.name, path.name))
    return plan


def _host_form(one: Any) -> bool:
    if not isinstance(one, dict) or set(one) != {"halted_at", "containers", "gone"} or not all(isinstance(v, list) for v in one.values()):
        return False
    return all(isinstance(row, dict) and {"tier", "start", "name", "id"} <= set(row) for row in one["containers"])


def expired(plan: Mapping[str, Any], now: float) -> str:
    """Why the plan is not in its time, or an empty text. now: Unix time in seconds."""
    if now >= (parse_utc(plan["expires"]) or 0):
        return "the plan %s expired at %s. Next: andon resume --request" % (plan["id"], plan["expires"])
    if now < (parse_utc(plan["requested"]) or 0) - 300:
        return "the plan %s is from the future (%s): a clock is wrong" % (plan["id"], plan["requested"])
    return ""


def live_difference(plan: Mapping[str, Any], core: Mapping[str, Any]) -> list[str]:
    """What differs between the plan and the fleet as it is now, in words; [] if nothing does."""
    found = []
    for key in ("incident", "target", "size", "accepted"):
        if plan[key] != core[key]:
            found.append("%s is %s, the plan has %s" % (key, clean(_word(core[key]), 80), clean(_word(plan[key]), 80)))
    for host in sorted(set(plan["hosts"]) | set(core["hosts"])):
        then, now = plan["hosts"].get(host), core["hosts"].get(host)
        if then is None or now is None:
            found.append("%s is %s" % (clean(host, 60), "not in the plan" if then is None else "in the plan and not in this run"))
        elif then != now:
            found += ["%s: %s" % (clean(host, 60), words) for words in host_difference(then, now)]
    if not found and digest(plan) != digest(core):
        found.append("another plan")
    return found


# Signatures


def sign_command(key: str) -> list[str]:
    """The argv that signs standard input with a key (private, or public with an agent); the signature comes on standard output."""
    return ["ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE]


def by_hand(plan: Mapping[str, Any]) -> str:
    """The command for a person who signs on another machine, to which the text was copied."""
    return "ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n %s < %s.txt > %s.YOURNAME.sig" % (NAMESPACE, plan["id"], plan["id"])


def sign(path: Path, plan: Mapping[str, Any], key: str) -> Path:
    """Signs the plan's text with the person's own key; ssh-keygen asks for a passphrase or a touch on the terminal.

    Raises:
        PlanError: ssh-keygen is not there or did not sign.
        OSError: the signature cannot be written.
    """
    try:
        done = subprocess.run(sign_command(key), input=text(plan).encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError as error:
        raise PlanError("ssh-keygen is not installed here (package openssh-client)") from error
    if done.returncode or b"BEGIN SSH SIGNATURE" not in done.stdout:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["exit code %d" % done.returncode]
        raise PlanError("ssh-keygen did not sign: %s" % clean(words[-1], 200))
    blob, _ = public_key(done.stdout)
    # The key's own name: two people never overwrite each other, and signing twice changes nothing.
    target = path.with_name("%s.%s.sig" % (plan["id"], hashlib.sha256(blob).hexdigest()[:12]))
    write_atomic(target, done.stdout)
    return target


def public_key(signature: bytes) -> tuple[bytes, str]:
    """(the public key, its type) that an armoured SSH signature says it was made with.

    Raises:
        PlanError: it is no SSH signature.
    """
    try:
        lines = signature.decode("ascii").strip().splitlines()
        if lines[0] != "-----BEGIN SSH SIGNATURE-----" or lines[-1] != "-----END SSH SIGNATURE-----":
            raise ValueError("no armour")
        raw = base64.b64decode("".join(lines[1:-1]), validate=True)
        if raw[:6] != b"SSHSIG":
            raise ValueError("no magic")
        (length,) = struct.unpack(">I", raw[10:14])
        blob = raw[14 : 14 + length]
        (width,) = struct.unpack(">I", blob[:4])
        kind = blob[4 : 4 + width].decode("ascii")
        if len(blob) != length or not kind:
            raise ValueError("cut off")
    except (ValueError, IndexError, struct.error, binascii.Error) as error:
        raise PlanError("it is no SSH signature") from error
    return blob, kind


def read_signers(path: str) -> list[list[str]]:
    """The lines of an allowed signers file, in words.

    Raises:
        PlanError: it is not there, or everybody may write it.
    """
    if not path:
        raise PlanError("approvals are required and nobody may approve: set andon_allowed_signers in the inventory (docs/resume.md)")
    try:
        mode = os.stat(path).st_mode
        content = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PlanError("the allowed signers %s cannot be read: %s" % (clean(path, 120), error.strerror)) from error
    if not stat.S_ISREG(mode) or mode & stat.S_IWOTH:
        raise PlanError("everybody may write the allowed signers %s. Next: chmod o-w %s" % (clean(path, 120), clean(path, 120)))
    return [line.split() for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def principals(signers: Iterable[list[str]], blob: bytes | None = None) -> list[str]:
    """The people in the file, or those whose key this is. Patterns are nobody.

    ssh-keygen's own find-principals stops at the first line that has the key, so two names for one key would not be seen.
    """
    encoded = base64.b64encode(blob).decode() if blob is not None else None
    found: list[str] = []
    for words in signers:
        if encoded is None or encoded in words[1:]:
            found += [one for one in words[0].strip('"').split(",") if one and not _PATTERN.search(one) and one not in found]
    return found


def same_person(principal: str, names: Iterable[str]) -> bool:
    """True if a principal (alice, or alice@example.com) is one of these names; when in doubt it is."""
    ours = {principal.casefold(), principal.partition("@")[0].casefold()}
    return any(name.casefold() in ours or name.partition("@")[0].casefold() in ours for name in names)


def good_signature(content: bytes, signature: Path, signers: str, principal: str) -> bool:
    """True if ssh-keygen says that this person signed exactly this content, for this purpose, with a key that is valid now."""
    argv = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", principal, "-n", NAMESPACE, "-s", str(signature)]
    done = subprocess.run(
        argv, input=content, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DEADLINE, check=False, env=dict(os.environ, LC_ALL="C")
    )
    return done.returncode == 0


def signatures(path: Path, plan: Mapping[str, Any]) -> list[Path]:
    """The signature files beside a plan."""
    return sorted(path.parent.glob(plan["id"] + ".*.sig"))[:50]


def judge(path: Path, plan: Mapping[str, Any], signers_file: str) -> list[dict[str, Any]]:
    """Each signature beside the plan: whose it is and whether it counts.

    Returns:
        dicts file, key (SHA256 fingerprint or ""), people (those for whom ssh-keygen verifies it), counts (bool), why.

    Raises:
        PlanError: the allowed signers cannot be used, or ssh-keygen cannot be run.
    """
    signers = read_signers(signers_file)
    content = text(plan).encode()
    found = []
    for signature in signatures(path, plan):
        row: dict[str, Any] = {"file": signature.name, "key": "", "people": [], "counts": False, "why": ""}
        found.append(row)
        try:
            blob, kind = public_key(_small(signature, LARGEST_SIGNATURE))
            row["key"] = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
            if "-cert-" in kind:
                row["why"] = "made with a certificate: a person's own key must be in the allowed signers"
                continue
            named = principals(signers, blob)
            row["people"] = [p for p in named if good_signature(content, signature, signers_file, p)]
        except (PlanError, OSError) as error:
            row["why"] = clean(error, 120)
            if isinstance(error, FileNotFoundError) and error.filename == "ssh-keygen":
                raise PlanError("ssh-keygen is not installed here (package openssh-client)") from error
            continue
        except subprocess.TimeoutExpired:
            row["why"] = "ssh-keygen did not answer"
            continue
        if not named:
            row["why"] = "its key is not in the allowed signers"
        elif not row["people"]:
            row["why"] = "not a valid signature of this text (altered, another purpose, or a key that is not valid now)"
        # A key that is also the requester's is the requester's, whatever other name stands beside it.
        elif any(same_person(p, plan["requester_names"]) for p in named):
            row["why"] = "the requester's own: requester and approver must be two people"
        else:
            row["counts"] = True
    return found


def approvers(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The most (person, key) pairs in which no person and no key comes twice: one key with two names is one approval.

    The people of a fleet are few: augmenting paths, one key after the other.
    """
    people = {row["key"]: row["people"] for row in rows if row["counts"]}
    holder: dict[str, str] = {}  # person (casefolded) -> key

    def place(key: str, tried: set[str]) -> bool:
        for person in people[key]:
            folded = person.casefold()
            if folded not in tried:
                tried.add(folded)
                if folded not in holder or place(holder[folded], tried):
                    holder[folded] = key
                    return True
        return False

    for key in people:
        place(key, set())
    return sorted((next(p for p in people[key] if p.casefold() == folded), key) for folded, key in holder.items())


def check(path: Path, plan: Mapping[str, Any], needed: int, signers_file: str, now: float | None = None, *, expires: bool = True) -> dict[str, Any]:
    """Whether this plan may be carried out: in its time, and approved by enough people who are not the requester.

    Args:
        needed: how many people; 0: only its time is looked at. signers_file: OpenSSH's allowed signers. now: Unix time in seconds.
        expires: its time counts; False for what was begun in time.

    Returns:
        {"needed", "people": [[person, key]], "signatures": rows of C(judge), "why": [reasons against it]}.

    Raises:
        PlanError: the allowed signers cannot be used.
    """
    late = expired(plan, time.time() if now is None else now) if expires else ""
    why = [late] if late else []
    if not needed:
        return {"needed": 0, "people": [], "signatures": [], "why": why}
    known = principals(read_signers(signers_file))
    if not any(same_person(p, plan["requester_names"]) for p in known):
        why.append(
            "the requester %s is not in the allowed signers, so nobody can say that they did not approve it themselves (ANDON_OPERATOR names the person)"
            % clean(plan["requester"], 60)
        )
    rows = judge(path, plan, signers_file)
    people = approvers(rows)
    if len(people) < needed:
        said = "; ".join(approval_lines(rows)) or "nobody has signed. Next: andon approve %s" % plan["id"]
        why.append("%d of %s: %s" % (len(people), plural(needed, "approval"), said))
    return {"needed": needed, "people": [list(one) for one in people], "signatures": rows, "why": why}


def approval_lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each signature in words."""
    return [
        "%s %s%s"
        % (clean(" = ".join(row["people"]) or row["file"], 60), "approves" if row["counts"] else "DOES NOT COUNT", ": " + row["why"] if row["why"] else "")
        for row in rows
    ]
