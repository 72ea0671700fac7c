"""The public page and its feeds: only public words, inert, valid, complete, and never older than the journal."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import multiprocessing
import re
import time
import xml.etree.ElementTree as xml

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from andon import incidents, journal, statuspage
from andon.text import clean
from cli import main

ATOM = "{http://www.w3.org/2005/Atom}"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} ]]> &amp; \x1b[31m\u202eevil javascript:alert(1)"


class Reader(html.parser.HTMLParser):
    """What a browser would find: tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(page)
        self.close()
        assert self.open == [], "a tag is not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def page(name="index.html"):
    return (statuspage.place() / name).read_text(encoding="utf-8")


def say(incident, text, **more):
    return incidents.record(incident, "updated", "update", {"text": text, "public": True, **more})


def words(name="index.html"):
    return " ".join(" ".join(Reader(page(name)).text).split())


def safe(content):
    """No script, no handler, nothing from elsewhere, and a policy that names the one style."""
    reader = Reader(content)
    tags = {tag for tag, _ in reader.tags}
    known = "html head meta title link style body header h1 h2 h3 p main section article ol li time b a footer"
    assert tags <= set(known.split())
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], (tag, attributes)
        assert re.fullmatch(r"index\.html|history\.html|feed\.json|feed\.xml", attributes.get("href", "feed.xml"))
    style = re.search(r"<style>(.*?)</style>", content, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in content
    assert "url(" not in style and "@import" not in style
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags
    return reader


def test_only_public_words_get_out_and_they_are_inert():
    incident = incidents.open_incident("SECRETTITLE", 1)
    incidents.record(incident, "note", "note", {"text": "SECRETNOTE"})
    incidents.record(incident, "updated", "update", {"text": "SECRETUPDATE", "public": False})
    incidents.record(incident, "updated", "update", {"text": "SECRETTRUTHY", "public": "yes"})
    say(incident, HOSTILE + "\nsecond line", title=HOSTILE, state="identified")
    folder, bad = statuspage.build()
    assert bad == []
    names = ["feed.json", "feed.xml", "history.html", "index.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        content = page(name)
        assert "SECRET" not in content and incident not in content and "secrettitle" not in content, name
        assert "\x1b" not in content and "\u202e" not in content
        assert (folder / name).stat().st_mode & 0o777 == 0o644
    for name in ("index.html", "history.html"):
        reader = safe(page(name))
        assert clean(HOSTILE, 2000) in reader.text and "second line" in reader.text
    assert "1 open incident" in words() and "Identified" in words()

    feed = json.loads(page("feed.json"))
    assert feed["version"] == "https://jsonfeed.org/version/1.1" and set(feed) == {"version", "title", "language", "items"}
    [item] = feed["items"]
    assert item["content_text"] == clean(HOSTILE, 2000) + "\n\nsecond line" and item["tags"] == ["identified"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item["date_published"])
    atom = xml.fromstring(page("feed.xml"))
    assert [child.tag for child in atom if child.tag != ATOM + "entry"] == [ATOM + tag for tag in ("id", "title", "updated", "author")]
    [entry] = atom.findall(ATOM + "entry")
    assert entry.find(ATOM + "content").text == item["content_text"] and entry.find(ATOM + "content").get("type") == "text"
    assert entry.find(ATOM + "id").text == item["id"]


def test_the_page_follows_the_incident_and_keeps_its_history(monkeypatch):
    quiet = incidents.open_incident("never public", 1)
    statuspage.build()
    assert "No open incident is published" in words() and json.loads(page("feed.json"))["items"] == []
    incident = incidents.open_incident("x", 1)
    say(incident, "We are investigating.")
    say(incident, "It is the gateway.", state="identified", title="Orders were delayed")
    say(incident, "Watching.")
    statuspage.build()
    text = words()
    assert "1 open incident" in text and "Orders were delayed Identified" in text
    assert text.index("Watching.") < text.index("It is the gateway.") < text.index("We are investigating."), "the newest first"
    incidents.record(incident, "resolved", "resolve", {"text": "SECRET cause"})
    incidents.record(quiet, "resolved", "resolve", {"text": "SECRET cause"})
    statuspage.build()
    assert "No open incident is published" in words() and "This incident is resolved." in words() and "SECRET" not in page()
    incidents.reopen(incident, "SECRET")
    statuspage.build()
    assert "1 open incident" in words() and "not over" in words() and "SECRET" not in page()
    say(incident, "Back to normal.", state="resolved")
    incidents.record(incident, "resolved", "resolve", {"text": "y"})
    monkeypatch.setenv("ANDON_STATUS_URL", "https://status.example.org/x")
    statuspage.build()
    assert words().count("Back to normal.") == 1 and "Older incidents" not in words()
    feed = json.loads(page("feed.json"))
    assert feed["items"][0]["url"].startswith("https://status.example.org/x/history.html#") and len(feed["items"]) == 6
    assert len({item["id"] for item in feed["items"]}) == 6
    entries = xml.fromstring(page("feed.xml")).findall(ATOM + "entry")
    assert [entry.find(ATOM + "title").text for entry in entries] == [item["title"] for item in feed["items"]]
    anchor = feed["items"][0]["url"].rsplit("#", 1)[1]
    statuspage.build(now=time.time() + 15 * 86400)
    assert "Orders were delayed" not in words() and "Older incidents" in words()
    assert "Orders were delayed" in words("history.html") and f'id="{anchor}"' in page("history.html")


def test_a_broken_journal_does_not_take_the_page_down():
    incident = incidents.open_incident("x", 1)
    say(incident, "Good one.")
    other = incidents.open_incident("y", 1)
    path = incidents.folder(other) / journal.NAME
    path.unlink()
    path.mkdir()  # not readable as a file, also not for root
    (incidents.folder(incident) / journal.NAME).open("ab").write(b'garbage\n{"torn')
    statuspage.build()
    assert "Good one." in words()


def _say_and_build(incident, number):
    say(incident, f"update-{number}-")
    statuspage.build()


def test_two_people_who_publish_at_once_are_both_on_the_page():
    incident = incidents.open_incident("x", 1)
    context = multiprocessing.get_context("fork")
    people = [context.Process(target=_say_and_build, args=(incident, number)) for number in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
        assert person.exitcode == 0
    assert all(f"update-{number}-" in page() for number in range(6))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=400), st.text(max_size=100), st.sampled_from([*statuspage.STATES, "x", None, 7, "<b>"]))
def test_no_words_break_the_page_or_a_feed(text, title, said):
    line = {"seq": 1, "at": "2026-11-22T03:04:05.678Z", "kind": "incident.updated", "data": {"public": True, "text": text, "title": title, "state": said}}
    public = statuspage.public_view("2026-11-22-x", [line])
    files = statuspage.files([public], 1.795e9)
    safe(files["index.html"])
    safe(files["history.html"])
    item = json.loads(files["feed.json"])["items"][0]
    content = xml.fromstring(files["feed.xml"]).find(f"{ATOM}entry/{ATOM}content").text
    assert content == item["content_text"] == "\n\n".join(public.updates[0].text)


def _update(*args, **environment):
    done = CliRunner().invoke(main, args, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_command(tmp_path):
    code, out = _update("update", "--public", "words")
    assert code == 1 and "No incident is open" in out and not statuspage.place().exists()
    incident = incidents.open_incident("x", 1)
    for wrong in (["update", "--state", "resolved", "x"], ["update", " \x1b[2J "], ["update", "--public", "x" * 2001]):
        assert _update(*wrong)[0] == 2
    assert len(journal.read(incidents.folder(incident))) == 1
    code, out = _update("update", "only for us")
    assert code == 0 and not statuspage.place().exists()
    code, out = _update("update", "--public", "--state", "monitoring", "for all", ANDON_STATUS_PAGE=str(tmp_path / "page"))
    assert code == 0 and f"Published on {tmp_path}/page/index.html" in out
    assert "for all" in (tmp_path / "page/index.html").read_text() and "only for us" not in (tmp_path / "page/history.html").read_text()
    (tmp_path / "file").write_text("")
    code, out = _update("update", "--public", "recorded all the same", ANDON_STATUS_PAGE=str(tmp_path / "file"))
    assert code == 1 and "the status page was NOT written" in out
    assert [line["data"].get("text") for line in journal.read(incidents.folder(incident))[1:]] == ["only for us", "for all", "recorded all the same"]
