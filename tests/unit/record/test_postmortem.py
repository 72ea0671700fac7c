"""The post-mortem: exact sections, no edit is ever lost, hostile text is inert, the check names what is missing."""

from __future__ import annotations

import datetime
import html.parser
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from andon import incidents, journal, postmortem, postmortem_page, state

HOSTILE = (
    "</script><img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} \x1b[31mred `a` | **b** [l](javascript:alert(1)) ![i](http://evil/x.png) _TODO: x_\n"
    "# Title\n## Action Items\n- [ ] nothing\n<!-- andon:end timeline -->\n<!-- andon:begin timeline sha256=" + "0" * 64 + " -->"
)
NOW = state.parse_utc("2026-11-23T02:00:00Z")


class Clock:
    """A clock that says what it is told."""

    def __init__(self, monkeypatch):
        self.text = "2026-11-22T23:50:00.000Z"
        monkeypatch.setattr(state, "utc_now", lambda: self.text)
        real = datetime.datetime

        class Fixed(real):
            @classmethod
            def now(cls, tz=None):
                return real.fromisoformat(self.text.replace("Z", "+00:00")).astimezone(tz)

        monkeypatch.setattr(incidents.datetime, "datetime", Fixed)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def incident(clock, tmp_path):
    """A resolved incident over midnight with a stop, an attachment and a hostile note."""
    name = incidents.open_incident("Exchange down", 1)
    attached = tmp_path / "graph.png"
    attached.write_bytes(b"png")
    steps = [
        ("23:51:00", "incident.acknowledged", "ack", {}),
        ("23:52:00", "incident.assigned", "assign", {"role": "commander", "person": "ann"}),
        (
            "23:56:30",
            "verb.ended",
            "emergency_stop",
            {
                "run": "r1",
                "seconds": 4.2,
                "ok": True,
                "hosts": {"host-a": "changed", "host-b": "changed", "localhost": "ok"},
                "command": ["ansible-playbook", "emergency_stop.yml"],
                "report": {
                    "headline": "2/2 HALTED",
                    "summary": ["host-a HALTED", "ORDERS NOT CANCELLED: no venue is configured"],
                    "data": {
                        "hosts": {"host-a": {"containers": [{"name": "strategy-mm"}, {"name": "adapter-x"}]}},
                        "error_rate": [[NOW - 8000, 3], [NOW - 7900, 40.5], [NOW - 7800, 0]],
                    },
                },
            },
        ),
        ("23:58:00", "incident.note", "note", {"text": HOSTILE}),
        ("23:59:00", "incident.note", "note", {"text": "the graph", "attachment": incidents.attach(name, attached)}),
    ]
    for at, kind, verb, data in steps:
        clock.text = f"2026-11-22T{at}.000Z"
        journal.append(incidents.folder(name), kind, verb, data)
    clock.text = "2026-11-23T00:30:00.000Z"
    journal.append(incidents.folder(name), "incident.resolved", "resolve", {"text": "venue is back"})
    return name


@pytest.fixture
def path(tmp_path):
    return tmp_path / "docs" / "x.md"


def fill_in(text):
    """What a good author writes into the blanks."""
    text = re.sub(r"- \[ \] _TODO: [^_]*_ \(Owner, YYYY-MM-DD\)", "- [ ] Alert on a silent venue (bob, 2026-12-01)", text)
    text = re.sub(r"(Monitoring improved|Runbook updated): _TODO: [^_]*_", r"\1: yes, the silent-venue alert", text)
    return re.sub(r"_TODO: [^_]*_", "Filled in by a person.", text)


def write(name, path, **options):
    return postmortem.write(name, output=path, now=NOW, **options)


def test_sections_and_facts(incident, path):
    done = write(incident, path)
    text = path.read_text()
    assert done.created and done.path == path and len(done.blanks) == 10
    lines = text.splitlines()
    assert lines[0] == "# Incident: 2026-11-22 - Exchange down"
    assert [line[3:] for line in lines if line.startswith("## ")] == list(postmortem.SECTIONS)
    assert "- 2026-11-22 23:51:00 - Acknowledged by tester (tester)" in lines
    assert "- 2026-11-23 00:30:00 - Resolved: venue is back (tester)" in lines
    assert "| acknowledge | 1 min 00 s | under 5 min | yes |" in lines
    assert "| mitigate | 6 min 30 s | under 5 min | NO |" in lines
    assert "| resolve | 40 min 00 s | none set | - |" in lines
    assert "- Duration: 40 min 00 s, from 2026-11-22 23:50:00 UTC to 2026-11-23 00:30:00 UTC" in lines
    assert "- Hosts: host-a, host-b" in lines and "- Containers: adapter-x, strategy-mm" in lines
    assert "- Orders: emergency\\_stop: ORDERS NOT CANCELLED: no venue is configured" in lines
    assert "- Halted: all trading, 2026-11-22 23:56:25 UTC to still halted: 2/2 HALTED" in lines
    link = re.search(r"- Evidence: \[attachments/.*graph.png\]\(<(.*)>\), SHA-256 `[0-9a-f]{64}`", text)[1]
    assert (path.parent / link).read_bytes() == b"png"
    verdict = journal.verify(incidents.folder(incident))
    assert verdict.ok and "the last one's hash `" in text


def test_rendering_again_changes_nothing_and_new_lines_refresh_unedited_blocks(incident, path):
    write(incident, path)
    first = path.read_bytes()
    assert write(incident, path).merge.refreshed == [] and path.read_bytes() == first
    edited = path.read_text().replace("## Root Cause\n", "## Root Cause\n\nMy own words.  \n\n<!-- mine -->\n")
    path.write_text(edited)
    incidents.record(incident, "note", "note", {"text": "one more thing"})
    done = write(incident, path)
    assert sorted(done.merge.refreshed) == ["facts", "timeline"] and not done.merge.conflicts
    text = path.read_text()
    assert "one more thing" in text and "My own words.  \n\n<!-- mine -->\n" in text


def test_an_edited_block_is_kept_and_the_new_version_is_a_conflict(incident, path):
    write(incident, path)
    path.write_text(path.read_text().replace("Acknowledged by tester", "Acknowledged by tester, from the train"))
    kept = write(incident, path)
    assert kept.merge.kept == ["timeline"] and not kept.merge.conflicts
    incidents.record(incident, "note", "note", {"text": "one more thing"})
    done = write(incident, path)
    assert list(done.merge.conflicts) == ["timeline"] and done.merge.refreshed == ["facts"]
    assert any(line.startswith("+") and "one more thing" in line for line in done.merge.conflicts["timeline"])
    assert "from the train" in path.read_text() and "one more thing" not in path.read_text()
    lines = path.read_text().split("\n")
    block = postmortem.blocks(path.read_text())[0]["timeline"]
    path.write_text("\n".join(lines[: block.first + 1] + lines[block.last :]))  # emptied: filled anew
    assert write(incident, path).merge.refreshed == ["timeline"] and "one more thing" in path.read_text()


def test_line_ends_and_trailing_blanks_are_no_edit(incident, path):
    write(incident, path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"  \r\n"))
    incidents.record(incident, "note", "note", {"text": "one more thing"})
    done = write(incident, path)
    assert not done.merge.conflicts and "one more thing" in path.read_text()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda t: t.replace("<!-- andon:end timeline -->\n", ""), "no end mark"),
        (lambda t: re.sub(r"<!-- andon:begin timeline .*\n", "", t), "without its begin mark"),
        (lambda t: t + t[t.index("<!-- andon:begin timeline") : t.index("## Root")], "there twice"),
    ],
)
def test_damaged_marks_are_named_and_nothing_in_them_is_touched(incident, path, damage, why):
    write(incident, path)
    path.write_text(damage(path.read_text()))
    before = path.read_text()
    incidents.record(incident, "note", "note", {"text": "one more thing"})
    done = write(incident, path)
    assert any(why in words for words in done.merge.wrong)
    assert "one more thing" not in path.read_text()
    facts = re.compile(r"<!-- andon:begin facts.*?andon:end facts -->", re.DOTALL)
    assert facts.sub("", path.read_text()) == facts.sub("", before)


@settings(max_examples=60, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20)), max_size=3),
    old=st.lists(st.text("ab -", max_size=5), max_size=3),
    new=st.lists(st.text("ab -", max_size=5), max_size=3),
)
def test_no_edit_is_ever_lost(edits, old, new):
    """Whatever is typed wherever: each line that a person made is there after a refresh."""

    def render(rows):
        content = "\n".join(rows)
        clean = postmortem._normal(content)
        return f"# T\n<!-- andon:begin one sha256={postmortem.digest(clean)} -->\n{clean}\n<!-- andon:end one -->\nend\n"

    first = render(old)
    text = first
    for where, typed in edits:
        at = int(where * len(text))
        text = text[:at] + typed + text[at:]
    result = postmortem.merge(text, render(new)).text
    mine = [line.strip() for line in text.split("\n") if line not in first.split("\n") and line.strip()]
    after = [line.strip() for line in result.split("\n")]
    assert all(line in after for line in mine)


def test_a_file_of_another_incident_or_of_nobody_is_refused(incident, path):
    write(incident, path)
    other = incidents.open_incident("Other", 2)
    with pytest.raises(incidents.IncidentError, match="the post-mortem of " + incident):
        write(other, path)
    path.write_text("# My notes\n")
    with pytest.raises(incidents.IncidentError, match="no post-mortem that Andon wrote"):
        write(other, path)
    assert path.read_text() == "# My notes\n"


def test_a_template_of_ones_own_gets_inert_text_and_its_mistakes_are_named(incident, path, tmp_path):
    own = tmp_path / "own.j2"
    own.write_text(
        "# Incident: {{ incident.date }} - {{ incident.title }}\n{% call block('rows') %}{% for r in timeline %}{{ r.text }}\n{% endfor %}{% endcall %}\n"
    )
    write(incident, path, template=own)
    assert "&#60;/script&#62;" in path.read_text() and "<script" not in path.read_text()
    for bad, why in (("{{ nope }}", "nope"), ("a\n{% if %}", "line 2"), ("{{ ''.__class__.__mro__ }}", "mistake")):
        own.write_text(bad)
        with pytest.raises(incidents.IncidentError, match=why):
            write(incident, tmp_path / "new.md", template=own)
    with pytest.raises(incidents.IncidentError, match="cannot be read"):
        write(incident, path, template=tmp_path / "none")


class Tags(html.parser.HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def hostile_texts():
    marks = list("`*_[]()<>#|!~\\{}-+=1.&;:/\n\r\x1b$@ \"'")
    words = ["<b>", "](javascript:x)", "![", "{{", "{%", "<!--", "-->", "andon:end timeline", "http://x", "- [ ] ", "\u202e"]
    piece = st.sampled_from(marks + words)
    return st.lists(piece | st.text(max_size=3), max_size=25).map("".join)


@settings(max_examples=60, deadline=None)
@given(hostile_texts())
def test_escaped_text_is_text_in_a_list_a_heading_and_a_table(text):
    escaped = postmortem.md(text)
    assert "\n" not in escaped and "<" not in escaped and "{{" not in escaped and "{%" not in escaped
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = markdown.render(f"# Incident: {escaped}\n\n- {escaped}\n\n| a | b |\n|---|---|\n| {escaped} | end |\n")
    tags = [tag for tag, _ in Tags(page).seen]
    assert set(tags) <= {"h1", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags.count("td") == 2 and tags.count("li") == 1
    cell = re.search(r"<td>(.*?)</td>", page, re.DOTALL)[1]
    assert " ".join(html.unescape(cell).split()) == incidents.brief(text, 500)


def test_the_page_is_self_contained_and_nothing_hostile_lives_in_it(incident, path):
    write(incident, path)
    raw = fill_in(path.read_text()) + f"\n\n{HOSTILE}\n"  # a person pasted it, unescaped
    page = postmortem_page.page(raw, incidents.load(incident))
    seen = Tags(page).seen
    assert not {"script", "img", "iframe", "link", "object", "b"} & {tag for tag, _ in seen}
    assert not any(name.startswith("on") for _, attrs in seen for name in attrs)
    links = [attrs["href"] for tag, attrs in seen if tag == "a"]
    assert all(not link.lower().startswith("javascript") for link in links)
    assert "default-src 'none'" in page and "\x1b" not in postmortem_page.figure(incidents.load(incident))
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert svg.count('class="tick"') == len(postmortem.rows(incidents.load(incident)))
    assert svg.count('class="halt"') == 1 and svg.count("<polyline") == 1 and "max 40.5 errors/min" in svg
    assert "Not recorded: memory." in page and "2026-11-23" in svg
    assert "\u2610 Alert on a silent venue" in page and "<!-- andon" not in page
    assert postmortem_page.page("# Incident: x", None).count("not drawn") == 1


def test_check_passes_a_finished_one_and_names_each_thing_that_is_missing(incident, path):
    write(incident, path)
    missing = "\n".join(postmortem.check(path.read_text(), NOW))
    for words in ("blank left", "no owner", "no due date"):
        assert words in missing
    path.write_text(fill_in(path.read_text()))
    assert postmortem.check(path.read_text(), NOW) == []
    write(incident, path)  # notes when it was finished, so that CI can judge it a year later
    good = path.read_text()
    assert postmortem.check(good, NOW + 10**7) == [] and "finished=2026-11-23T02:00:00.000Z" in good
    row = "- 2026-11-22 23:51:00 - Acknowledged"
    for damage, words in (
        (lambda t: t.replace("# Incident: 2026-11-22 - ", "# Incident: "), "title is not"),
        (lambda t: t.replace("## Root Cause\n", ""), "'Root Cause' is missing"),
        (lambda t: t.replace("## Root Cause\n\nFilled in by a person.", "## Root Cause\n"), "'Root Cause' is empty"),
        (lambda t: t.replace("## Resolution\n\nFilled in by a person.", "## Resolution\n"), "'Resolution' is empty"),
        (lambda t: t.replace("(bob, 2026-12-01)", "(bob, soon)"), "no due date"),
        (lambda t: t.replace("(bob, 2026-12-01)", "(bob, 2026-02-30)"), "no due date"),
        (lambda t: t.replace("(bob, 2026-12-01)", "(Owner, 2026-12-01)"), "no owner"),
        (lambda t: t.replace("- [ ] Alert", "Alert"), "no action item"),
        (lambda t: t.replace(row, row.replace("23:51", "23:49")), "not in order"),
        (lambda t: re.sub(r"- 20.*\n", "", t), "no row"),
        (lambda t: t.replace("Monitoring improved: yes, the silent-venue alert", "Monitoring improved:"), "Monitoring improved"),
        (lambda t: re.sub(r"- Runbook updated.*\n", "", t), "Runbook updated"),
        (lambda t: re.sub(r"<!-- andon:postmortem.*\n", "", t), "comment under the title is gone"),
        (lambda t: re.sub(r" resolved=\S+", "", t), "not resolved when"),
        (lambda t: t.replace("finished=2026-11-23T02", "finished=2026-11-24T02"), "after the resolution"),
    ):
        assert damage(good) != good
        assert any(words in line for line in postmortem.check(damage(good), NOW)), words
    late = re.sub(r" finished=\S+", "", good)
    assert any("is not finished" in line for line in postmortem.check(late, NOW + 90000))
    assert postmortem.check(late, NOW + 90000, late_ok=True) == []


def test_a_step_of_the_clock_back_is_marked_and_passes_the_check(clock, path):
    name = incidents.open_incident("x", 2)
    clock.text = "2026-11-22T23:48:00.000Z"
    incidents.record(name, "resolved", "resolve", {"text": "y"})
    write(name, path)
    text = fill_in(path.read_text())
    assert "(the clock stepped back here)" in text
    assert postmortem.check(text, state.parse_utc("2026-11-22T23:59:00Z")) == []


def test_actions_over_all_post_mortems_overdue_first(tmp_path):
    def one(name, items):
        (tmp_path / f"{name}.md").write_text(f"# Incident: 2026-11-22 - {name}\n\n## Action Items\n\n{items}\n")

    one("a", "- [ ] later (ann, 2026-12-24)\n- [x] done (ann, 2020-01-01)\n- [ ] \x1b[31mno date")
    one("b", "- [ ] late (bob, 2026-11-01)\n- [ ] today (bob (ops), 2026-11-30)\n* [ ] today (bob, 2026-11-30)")
    (tmp_path / "README.md").write_text("# About\n\n## Action Items\n- [ ] none (x, 2026-01-01)\n")
    found = postmortem.actions(tmp_path, datetime.date(2026, 11, 30))
    assert [(a.incident, a.text, a.owner) for a in found] == [
        ("b", "late", "bob"),
        ("b", "today", "bob"),
        ("a", "later", "ann"),
        ("a", "no date", ""),
        ("b", "today (bob (ops), 2026-11-30)", ""),
    ]
