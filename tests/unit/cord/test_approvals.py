"""Approvals with the real ssh-keygen: who counts, what is signed, and what is refused. Keys are made once and hold nothing."""

from __future__ import annotations

import json
import subprocess
from itertools import permutations
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from andon import approvals, resume

NOW = 1_790_000_000.0
ROW = {"id": "c1", "name": "momentum", "component": "strategy", "image": "t:1", "image_id": "sha256:a", "policy": "always", "start": True, "tier": 1}
HOSTS = {"h1": {"halted_at": ["2026-09-21T14:00:00.000Z"], "containers": [ROW], "gone": []}}
CORE = {"incident": "2026-09-21-runaway", "target": "all", "strategy": "", "size": 0.25, "accepted": ["positions"], "hosts": HOSTS}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Four key pairs: {name: private key's path}."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("tester", "bob", "carol", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    return {name: str(folder / name) for name in ("tester", "bob", "carol", "eve")}


def public(keys, name):
    return " ".join(Path(keys[name] + ".pub").read_text().split()[:2])


@pytest.fixture
def signers(keys, tmp_path):
    """Everybody but eve. The operator of all tests is called tester."""
    path = tmp_path / "allowed_signers"
    path.write_text("# who may approve\n" + "".join(f"{name}@example.com {public(keys, name)}\n" for name in ("tester", "bob", "carol")))
    path.chmod(0o644)
    return path


@pytest.fixture
def plan():
    document = approvals.make(CORE, now=NOW)
    return approvals.save(document), document


def check(plan, signers, needed=2, now=NOW + 60):
    return approvals.check(plan[0], plan[1], needed, str(signers), now)


def people(found):
    return [person for person, _ in found["people"]]


def test_two_people_who_are_not_the_requester(plan, signers, keys):
    assert "0 of 2 approvals: nobody has signed" in " ".join(check(plan, signers)["why"])
    for name in ("tester", "bob", "eve", "bob"):  # the requester's own, one who counts, a stranger, and the one again
        approvals.sign(*plan, keys[name])
    found = check(plan, signers)
    assert people(found) == ["bob@example.com"] and "1 of 2 approvals" in found["why"][0]
    assert "requester and approver must be two people" in found["why"][0] and "its key is not in the allowed signers" in found["why"][0]
    assert check(plan, signers, needed=1)["why"] == []
    approvals.sign(*plan, keys["carol"])
    found = check(plan, signers)
    assert found["why"] == [] and people(found) == ["bob@example.com", "carol@example.com"] and len({key for _, key in found["people"]}) == 2


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        (["bob,robert {bob}"], 1),  # one key with two names is one approval
        (["bob {bob}", "robert {bob}"], 1),
        (["bob {bob}", "bob {carol}"], 1),  # one person with two keys, too
        (["bob {bob}", "BOB {carol}"], 1),
        (["bob {bob}", "carol {carol}"], 2),
        (["bob,carol {bob}", "bob {carol}"], 2),
        (["*@example.com {bob}", "carol {carol}"], 1),  # a pattern is nobody
        (["bob,tester {bob}", "carol {carol}"], 1),  # a key that is also the requester's is the requester's
        (["bob {bob}", "tester {bob}", "carol {carol}"], 1),
        (['bob namespaces="git" {bob}', "carol {carol}"], 1),  # a key that may sign something else only
        (['bob valid-before="20200101" {bob}', "carol {carol}"], 1),
        (["bob cert-authority {bob}", "carol {carol}"], 1),
    ],
)
def test_a_person_and_a_key_count_once(plan, keys, tmp_path, lines, counted):
    path = tmp_path / "allowed"
    path.write_text("\n".join(["tester " + public(keys, "tester"), *lines]).format(**{name: public(keys, name) for name in keys}) + "\n")
    approvals.sign(*plan, keys["bob"])
    approvals.sign(*plan, keys["carol"])
    found = check(plan, path)
    assert len(found["people"]) == counted and bool(found["why"]) is (counted < 2), found


def test_a_signature_is_over_exactly_this_text_for_this_purpose(plan, signers, keys):
    path, document = plan
    for name in ("bob", "carol"):
        approvals.sign(path, document, keys[name])
    assert check(plan, signers)["why"] == []
    for change in ({"size": 0.5}, {"accepted": []}, {"expires": "2036-01-01T00:00:00.000Z"}, {"requester": "eve", "requester_names": ["eve", "tester"]}):
        altered = {**document, **change}
        found = approvals.check(path, altered, 2, str(signers), NOW + 60)
        assert found["people"] == [] and "not a valid signature of this text" in found["why"][-1]
        path.write_text(json.dumps(altered))
        with pytest.raises(approvals.PlanError, match="says something else than"):
            approvals.load(path)
    approvals.save(document)
    assert approvals.load(path) == document
    # Another purpose: the person signed this text for something else.
    for one in approvals.signatures(path, document):
        one.unlink()
    argv = ["ssh-keygen", "-Y", "sign", "-f", keys["bob"], "-n", "file"]
    signature = subprocess.run(argv, input=approvals.text(document).encode(), capture_output=True, check=True).stdout
    path.with_name(document["id"] + ".bob.sig").write_bytes(signature)
    path.with_name(document["id"] + ".junk.sig").write_bytes(b"-----BEGIN SSH SIGNATURE-----\n\x1b[2J\n-----END SSH SIGNATURE-----\n")
    found = check(plan, signers, needed=1)
    assert found["people"] == [] and "not a valid signature" in found["why"][0] and "no SSH signature" in found["why"][0]


def test_what_cannot_be_trusted_is_refused(plan, signers, keys, monkeypatch):
    path, document = plan
    approvals.sign(path, document, keys["bob"])
    assert "expired at" in check(plan, signers, needed=1, now=NOW + 3600)["why"][0]
    assert "from the future" in check(plan, signers, needed=1, now=NOW - 400)["why"][0]
    signers.chmod(0o646)
    with pytest.raises(approvals.PlanError, match="everybody may write"):
        check(plan, signers)
    for wrong, words in (("", "set andon_allowed_signers"), (str(signers) + "x", "cannot be read")):
        with pytest.raises(approvals.PlanError, match=words):
            check(plan, wrong)
    signers.chmod(0o644)
    monkeypatch.setenv("ANDON_OPERATOR", "zed")  # a name that nobody has: nobody could say that zed is not bob
    monkeypatch.setattr(approvals, "requester_names", lambda: ["zed"])
    other = approvals.make(CORE, now=NOW)
    with pytest.raises(approvals.PlanError, match="there is no plan"):
        approvals.find(other["id"])
    saved = approvals.save(other)
    approvals.sign(saved, other, keys["bob"])
    assert "the requester zed is not in the allowed signers" in check((saved, other), signers, needed=1)["why"][0]
    for content in ("[]", "{", json.dumps({**document, "more": 1}), json.dumps({**document, "size": "0.25"}), json.dumps({**document, "hosts": {"h1": {}}})):
        path.write_text(content)
        with pytest.raises(approvals.PlanError):
            approvals.load(path)


def test_the_command_shows_signs_and_tells_how_to_do_it_by_hand(plan, signers, keys, monkeypatch):
    path, document = plan
    shown = CliRunner().invoke(cli.main, ["approve", document["id"], "--show"], prog_name="andon")
    assert shown.exit_code != 0 and "expired" in shown.output, "the plan of this test is from another time"
    live = approvals.make(CORE, now=approvals.time.time())
    path = approvals.save(live)
    shown = CliRunner().invoke(cli.main, ["approve", str(path.with_suffix(".txt")), "--show"], prog_name="andon")
    assert shown.exit_code == 0 and approvals.text(live) in shown.output and not approvals.signatures(path, live)
    refused = CliRunner().invoke(cli.main, ["approve", live["id"], "--key", keys["bob"]], prog_name="andon")
    assert refused.exit_code == 1 and not approvals.signatures(path, live), "without a terminal and without --yes nothing is signed"
    signed = CliRunner().invoke(cli.main, ["approve", live["id"], "--key", keys["bob"], "--yes"], prog_name="andon")
    assert signed.exit_code == 0 and "the requester's own signature does not count" in signed.output, signed.output
    hand = approvals.by_hand(live).replace("~/.ssh/id_ed25519", keys["carol"])
    assert hand.split(" -n")[0] in " ".join(approvals.sign_command(keys["carol"]))
    subprocess.run(hand, shell=True, cwd=path.parent, check=True, capture_output=True)  # noqa: S602  (what a person types)
    assert people(approvals.check(path, live, 2, str(signers), approvals.time.time())) == ["bob@example.com", "carol@example.com"]
    missing = CliRunner().invoke(cli.main, ["approve", live["id"], "--key", "/nowhere", "--yes"], prog_name="andon")
    assert missing.exit_code == 1 and "There is no key" in missing.output


def test_hostile_names_stay_words_in_the_text():
    row = {**ROW, "name": 'x\x1b[2J\n  1 START  "y"', "image": "\u202egnp"}
    plain = approvals.text(approvals.make({**CORE, "hosts": {"h1": {**HOSTS["h1"], "containers": [row]}}}, now=NOW))
    assert plain.isascii() and all(line.isprintable() for line in plain.split("\n"))
    assert plain.count("\n") == approvals.text(approvals.make(CORE, now=NOW)).count("\n"), "a name cannot make a line"


words = st.text(max_size=12)
rows = st.fixed_dictionaries({**dict.fromkeys(("id", "name", "image_id", "policy"), words), "start": st.booleans(), "tier": st.integers(1, 4)})
parts = {"halted_at": st.lists(words, max_size=2), "containers": st.lists(rows, max_size=2), "gone": st.lists(words, max_size=2)}
hosts = st.dictionaries(words, st.fixed_dictionaries(parts), max_size=2)


@settings(max_examples=60, deadline=None)
@given(hosts, hosts)
def test_two_plans_that_differ_have_another_text_and_another_digest(one, two):
    documents = [approvals.make({**CORE, "hosts": h}, now=NOW) for h in (one, two)]
    documents[1].update(id=documents[0]["id"])
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (approvals.text(documents[0]) == approvals.text(documents[1])) is same
    assert (approvals.digest(documents[0]) == approvals.digest(documents[1])) is same
    assert bool(approvals.live_difference(documents[0], documents[1])) is not same


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["k1", "k2", "k3", "k4"]), st.sets(st.sampled_from(["ann", "bob", "cy", "di"]), max_size=3), max_size=4))
def test_approvers_are_the_most_that_can_be_told_apart(named):
    found = approvals.approvers([{"key": k, "people": sorted(p), "counts": True} for k, p in named.items()])
    assert len({k for k, _ in found}) == len({p for _, p in found}) == len(found) and all(person in named[key] for person, key in found)
    best = max((sum(person in named[key] for key, person in zip(named, order, strict=False)) for order in permutations(["ann", "bob", "cy", "di"])), default=0)
    assert len(found) == best


def test_what_changed_on_a_host_is_said_by_name():
    then = HOSTS["h1"]
    other = {**ROW, "image_id": "sha256:b"}
    assert resume.host_difference(then, {**then, "containers": [other]}) == ["momentum has another image_id"]
    assert resume.host_difference(then, {**then, "containers": []}) == ["momentum is gone"]
    assert resume.host_difference(then, {**then, "containers": [ROW, {**ROW, "id": "c2", "name": "new"}]}) == ["new is not in the plan"]
    assert resume.host_difference(then, {**then, "halted_at": ["later"]}) == ["it was halted again since"]
    assert resume.host_difference(then, dict(then)) == []


def test_the_acting_run_gets_the_digest_that_was_shown(plan, monkeypatch):
    from verbs import cord

    shown = {"plan": ["h1  1 data  feed"], "digest": "d" * 64, "size": 0.25, "approvals": {"needed": 0}}
    ran = []

    def run(settings, verb, extra, **options):
        ran.append((extra, options))
        raise SystemExit(7)

    monkeypatch.setattr(cord, "run_playbook", run)
    monkeypatch.setattr(cord, "capture_playbook", lambda *args, **options: (0, {"data": shown, "summary": ["gate clock  FAILED, ACCEPTED by name"]}))

    def andon(*args):
        return CliRunner().invoke(cli.main, ["resume", *args], prog_name="andon")

    done = andon("--size", "0.25", "--accept", "clock", "--yes")
    assert done.exit_code == 7 and done.output.count("feed") == 1 and "ACCEPTED by name" in done.output
    extra, _ = ran.pop()
    assert extra["andon_plan"] == "d" * 64 and extra["confirm"] == "all" and extra["andon_resume_size"] == 0.25 and extra["andon_resume_accept"] == ["clock"]
    shown["approvals"] = {"needed": 2}
    refused = andon("--yes")
    assert refused.exit_code == 1 and "needs 2 signed approvals" in refused.output and "andon resume --request" in refused.output and not ran
    assert andon("--request").exit_code == 7 and ran.pop()[0]["andon_resume_request"] is True
    assert andon("--plan", plan[1]["id"], "--yes").exit_code == 7
    extra, _ = ran.pop()
    assert extra["andon_resume_plan"] == str(plan[0]) and extra["andon_plan"] == "d" * 64
    for wrong in (("--plan", "nope"), ("--plan", plan[1]["id"], "--request"), ("--plan", plan[1]["id"], "--strategy", "x"), ("--size", "0"), ("--size", "1.5")):
        assert andon(*wrong, "--yes").exit_code in (1, 2) and not ran, wrong
