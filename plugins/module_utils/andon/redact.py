"""Takes secrets out of logs, on the host, before anything is transferred.

Bytes in, bytes out, in one pass and constant memory. Every secret becomes C([REDACTED:<12 hex digits>]): an HMAC under a key that
is made for one run and thrown away, so the same secret is the same token in every file of every host, and the token
says nothing about the secret. Standard library only, Python 3.8: this runs on hosts.

How it is fast: one block of many lines is searched for telling words by a handful of patterns that each begin with a literal,
because such a search runs at the speed of memchr (measured: 0.3 ns a byte each; all words in one alternation: 14 ns). Only the
places where a word stands meet a further regular expression, which starts there and ends with the line, so that a hostile line
cannot make it slow. The commonest shapes (name=value, "name": "value") meet a simpler one first, which takes only what the full
one would take as well.

What it cannot know: a secret whose line names it by no word in C(STEMS), which has no known shape and is not the value of a
secret-looking environment variable or argument of a container on that host. Add such values or patterns by hand (C(known)).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from urllib.parse import quote, quote_plus, unquote

# Where Docker cuts a long line into pieces (daemon/logger/copier.go: a 16 KB buffer).
PIECE = 16384
# A longer line is replaced as a whole: it can be no reader's evidence, and it would need unbounded memory.
MAX_LINE = 1 << 20
# Known values shorter than this are not searched for everywhere: "test" or "1234" would shred every log.
MIN_KNOWN = 6
# Values that are no secret whatever their name is.
NOTHING = (b"null", b"none", b"nil", b"true", b"false", b"undefined", b"<nil>")
# What a name says of its value: a secret, none, or only the value can tell.
SECRET, HARMLESS, SPECIAL = "secret", "harmless", "special"
# How many tokens and names are remembered, and how long a secret may be for that (bytes): the same ones come in line after line.
REMEMBERED = 4096
REMEMBERED_SIZE = 256
# How many line numbers a report keeps per rule and item.
REPORT_LINES = 50
# A private key of 16384 bits has 200 lines of 64 characters; more lines than this are not one key.
PEM_LINES = 260

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) ")
ANSI = re.compile(rb"\x1b\[[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b\][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]?")
TOKEN = re.compile(rb"\[REDACTED:[0-9a-f]{12}\]")

# Names that hold a secret's circumstances, not the secret: tokens_total=5, PASSWORD_FILE=/run/secrets/x.
_HARMLESS = re.compile(rb"(?:[_.\-](?:types?|counts?|total|ttl|expir\w*|file|path|name|len|length|limit|max|min|used|left|age|version))\Z", re.I)
# What stands before "key" (after folding) when it is a secret's name.
_KEY_BEFORE = tuple(
    word + joint
    for word in (b"api", b"access", b"secret", b"private", b"sign", b"signing", b"encryption", b"auth", b"session", b"client", b"master", b"shared",
                 b"listen", b"hmac", b"account", b"storage", b"license", b"licence", b"ssh", b"aes", b"ops")
    for joint in (b"", b"_")
)  # fmt: skip
# Folding makes one search out of many: lower case; blanks, dots and dashes are "_"; what may follow a name is "=".
_FOLD = bytearray(range(256)).lower()
for _byte in b"-. \t":
    _FOLD[_byte] = ord("_")
for _byte in b":\"'\\%>]":
    _FOLD[_byte] = ord("=")
_FOLD = bytes(_FOLD)

# Between a name and its value: = : := => %3D, with quotes (also escaped ones, JSON in JSON), ", " in pairs, > in XML.
_SEP = rb"(?:[\"'\\]{0,8}\]?[ \t]{0,4}(?:=>|:=|[:=]|%3[dD])[ \t]{0,4}|[\"'][ \t]?,[ \t]?(?=[bu]?[\"'])|>(?=[^<\s]))"
# The end of a value without quotes: a closing quote, the next name=, a closing bracket at the end of a word, a tag.
_STOP = rb"(?:\\{0,8}[\"'](?:[,}\]):\s]|$)|\\{1,8}\"|[,;&|][ \t]?\\{0,8}[\"']?[\w.\-]{1,64}\\{0,8}[\"']?[ \t]?[=:]|[)}\]]{1,4}(?:[\s,;.]|$)|</|\x01)"
_QUOTED = rb"[bu]?(?P<e>\\{1,8}[\"'])(?P<v1>.*?)(?P=e)|[bu]?\"(?P<v2>(?:[^\"\\\n]|\\.)*)(?:\"|\\?$)|[bu]?'(?P<v3>(?:[^'\\\n]|\\.)*)(?:'|\\?$)"
_VALUE = rb"(?:" + _QUOTED + rb"|(?P<v4>(?:(?!" + _STOP + rb")[^\s])+))"
_NAME = rb"(?P<name>[\w.\-]{2,60})(?<![.\-])(?![\w.\-])"

_KEYVALUE = re.compile(_NAME + _SEP + _VALUE)
_ARGUMENT = re.compile(_NAME + rb"[ \t]{1,4}" + _VALUE)
# A quick look at the commonest shapes. What it takes, _KEYVALUE takes with the same borders: a value of these characters, which end no
# value, up to a blank or to the quote that opened it. A word with a blank and another word after it (prose) is no name=value at all, and
# without a dash before it no option. Everything else is left to the full patterns.
_QUICK = re.compile(rb"([\w.\-]{1,59}\w)(?:[=:]([A-Za-z0-9+/_\-.~%]+)(?=[ \n])|[\"']?[:=] ?\"([A-Za-z0-9+/_\-.~%]+)\"| (?=[^ \t=:%]))")
# How far before its telling word (bytes) an option may begin.
REACH = 44
_OPTION = re.compile(rb"(?:^|[\s\"'=(\[,])--?[\w\-]{0,40}\Z")
# What takes the rest of the line: several words may belong to it.
_REST = re.compile(_NAME + _SEP + rb"(?:" + _QUOTED + rb"|(?P<v4>(?i:digest|hmac|aws4-hmac-sha256)[ \t][^\r\n]+|[^\r\n\"']+))")
_SCHEME = re.compile(rb"(?:bearer|basic|token|apikey|negotiate)[ \t]{1,4}(?P<v1>[^\s\"',;]+)|(?:digest|hmac|aws4-hmac-sha256)[ \t]{1,4}(?P<v2>.+)", re.I)
_BEARER = re.compile(rb"(?P<s>bearer|basic)[ \t]{1,4}(?P<v1>[A-Za-z0-9._~+/\-]{8,}={0,2})", re.I)
_PROSE = (b"authentication", b"authorization", b"credentials")
# The password may hold anything but blanks and quotes; a port (digits, then / or the end) is none.
_URL = re.compile(rb"://(?:[^\s/?#\"'<>@:]{0,512}:(?!\d{2,5}(?:[/?#]|$))(?P<v1>[^\s\"'<>]{1,1024})|(?P<v2>[^\s/?#\"'<>@:]{1,512}))@(?=[\w\[.\-])")
# Go's form of a database's address: user:password@tcp(host:port)/name.
_ADDRESS = re.compile(rb"[^\s:\"'=@/]{1,64}:(?P<v1>[^\s\"']{1,256})@(?:tcp|unix)\(")
# The logon fields of FIX: Password, NewPassword, EncryptedPassword, EncryptedNewPassword, RawData.
_FIX = re.compile(rb"(?:[\x01|;\s]|\^A)(?:554|925|1402|1404|96)=(?P<v1>[^\x01|;\s^]+)")
_RANDOM = re.compile(rb"[Kk][Ee][Yy][\"'\\]{0,4}[ \t]?[:=][ \t]?[\"'\\]{0,4}(?P<v1>[A-Za-z0-9+/_\-]{20,}={0,2})")
_JWT = re.compile(rb"(?P<v1>eyJ[A-Za-z0-9_\-]{6,}\.[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*)?)")
_AWS = re.compile(rb"(?<![A-Za-z0-9])(?P<v1>A[KS]IA[A-Z0-9]{16})(?![A-Za-z0-9])")
_VENDOR = re.compile(
    rb"(?P<v1>ghp_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w\-]{20,}|xox[abeprs]-[\w\-]{10,}|[rs]k_live_\w{10,})"
    rb"|(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/(?P<v2>[^\s\"'<>]+)|api\.telegram\.org/(?:file/)?bot(?P<v3>[^\s\"'<>/]+)"
)
_PEM_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z0-9+/]+={0,2}(?=[\"'\\n,}\s]{0,8}$)")


def _key_value(block, at, start, end):
    """name=value, "name": "value", --name value; C(at) is where the telling word of the name starts."""
    match = _KEYVALUE.match(block, at, end)
    rule = "key=value"
    if not match:
        # Most words in prose are given up here: an option begins with a dash.
        first = max(start, at - REACH)
        if block.find(b"-", first, at) < 0 or not _OPTION.search(block[first:at]):
            return
        match, rule = _ARGUMENT.match(block, at, end), "argument"
        if not match:
            return
    name = match.group("name")
    if _HARMLESS.search(name):
        return
    for group in ("v1", "v2", "v3", "v4"):
        value = match.group(group)
        if value and not (value.isdigit() and name.lower() == b"tokens"):
            yield match.start(group), match.end(group), rule


def _key(block, at, start, end):
    """A lone key= whose value looks random; C(spans) has seen that no word like api stands before it."""
    if not block[max(start, at - 1) : at].isalpha():
        match = _RANDOM.match(block, at, end)
        if match:
            yield match.start("v1"), match.end("v1"), "key"


def _rest(block, at, start, end):
    """Authorization, cookies, passphrases: everything up to the closing quote or the line's end, less the scheme's name."""
    match = _REST.match(block, at, end)
    if not match or _HARMLESS.search(match.group("name")):
        return
    for group in ("v1", "v2", "v3", "v4"):
        if match.group(group):
            first, last = match.span(group)
            scheme = _SCHEME.match(block, first, last)
            if scheme:
                first, last = scheme.span("v1" if scheme.group("v1") else "v2")
            yield first, last, "header"


def _bearer(block, at, start, end):
    match = _BEARER.match(block, at, end)
    if match:
        value = match.group("v1")
        if not value.lower().startswith(_PROSE) and not (match.group("s").lower() == b"basic" and value.isalpha() and value.islower()):
            yield match.start("v1"), match.end("v1"), "authorization"


def _search(pattern, rule, back=0):
    """A finder that looks for C(pattern) from C(back) bytes before the place to the line's end."""

    def find(block, at, start, end):
        for match in pattern.finditer(block, max(start, at - back), end):
            for group, value in match.groupdict().items():
                if value:
                    yield match.start(group), match.end(group), rule

    return find


_vendor, _vendor_1, _vendor_12 = (_search(_VENDOR, "vendor", back) for back in (0, 1, 12))
_aws, _fix, _jwt = _search(_AWS, "aws", 1), _search(_FIX, "fix"), _search(_JWT, "jwt")
# Where telling words stand in the folded text. Each pattern begins with a literal, the rarest that its words share; by the number of its
# last group: how many bytes before that literal the word begins, and the finder.
WORDS = (
    (
        rb"ss(?:(?<=pass)(w|_?ph|_?code|(?<!bypass)(?<!compass)(?<!trespass)(?<!surpass)[_=])|(?<=sess)(ion_?(?:id|key)))",
        ((2, _key_value), (2, _key_value)),
    ),
    (
        rb"k(?:(ey[_=a-z0-9])|(en)(?<=token)|(ie)(?<=cookie)|(ia)(?<=akia)|(_live_))",
        ((0, _key), (2, _key_value), (3, _rest), (1, _aws), (0, _vendor_1)),
    ),
    (rb"(wd)(?<=pwd)", ((1, _key_value),)),
    (rb"(secret)", ((0, _key_value),)),
    (rb"(credential)", ((0, _key_value),)),
    (rb"(sign)(?:ature|=|(?<=api_sign)|(?<=apisign)|(?<=access_sign)|(?<=accesssign))", ((0, _key_value),)),
    (rb"z(ation)(?<=authorization)", ((7, _rest),)),
    (rb"(mnemonic)", ((0, _rest),)),
    (rb"(phrase)", ((0, _rest),)),
    (rb"b(earer_|asic_)", ((0, _bearer),)),
    (rb"x(?:(ox)|(?<=8=fix)())", ((0, _vendor), (4, _fix))),
    (rb"(j)(?<=eyj)", ((2, _jwt),)),
    (rb"(asia)", ((0, _aws),)),
    (rb"(ghp_)", ((0, _vendor),)),
    (rb"(pat)(?:(?<=github_pat)|(?<=glpat))_", ((0, _vendor_12),)),
    (rb"(=//)(?:hooks_slack|api_telegram|discord)", ((0, _vendor),)),
)
_WORDS = tuple((re.compile(pattern), (None,) + finders) for pattern, finders in WORDS)
_url = _search(_URL, "url")
_address = _search(_ADDRESS, "url")


def looks_secret(name):
    """True if a variable, option or JSON key of this name (str) holds a secret."""
    raw = name.encode("utf-8", "surrogateescape") + b"=x"
    folded = raw.translate(_FOLD)
    if _HARMLESS.search(raw[:-2]):
        return False
    for pattern, finders in _WORDS:
        for match in pattern.finditer(folded):
            if finders[match.lastindex][1] in (_key_value, _rest):
                return True
    at = folded.find(b"key")
    while at >= 0:
        if folded.endswith(_KEY_BEFORE, 0, at):
            return True
        at = folded.find(b"key", at + 1)
    return False


def _variants(value):
    """The forms in which one known value may stand in a log: as it is, escaped in JSON, in a URL, in Base64."""
    text = value.decode("utf-8", "surrogateescape")
    forms = {value}
    for form in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]):
        forms.add(form.encode("utf-8", "surrogateescape"))
    for quoter in (quote, quote_plus):
        forms.add(quoter(value, safe="").encode())
    forms.add(base64.b64encode(value).rstrip(b"="))
    forms.add(base64.urlsafe_b64encode(value).rstrip(b"="))
    for line in value.splitlines():
        # A value of several lines is logged as several lines.
        if len(line) >= 2 * MIN_KNOWN:
            forms.add(line)
    return {form for form in forms if len(form) >= MIN_KNOWN and b"\n" not in form}


class Redactor:
    """What one run knows of secrets. Streams of one run share it.

    Args:
        key: bytes, this run's key; the same on all hosts, thrown away at the end.
        known: values (str or bytes) that are secrets whatever stands around them.
    """

    def __init__(self, key, known=()):
        self._key = key
        self._known = {}
        self._made = {}
        self._kinds = {}
        self.needles = ()
        self.add_known(known)

    def add_known(self, values):
        """More values that are secrets; those shorter than MIN_KNOWN are left to the rules."""
        for value in values:
            raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
            if len(raw) < MIN_KNOWN or raw.lower() in NOTHING or TOKEN.fullmatch(raw):
                continue
            for form in _variants(raw):
                self._known.setdefault(form, self.token(raw))
        self.needles = tuple(self._known)

    def token(self, secret):
        """What stands in a secret's place (bytes): the same for the same secret, in this run only."""
        found = self._made.get(secret)
        if found is None:
            found = b"[REDACTED:" + hmac.new(self._key, secret, hashlib.sha256).hexdigest()[:12].encode() + b"]"
            if len(secret) <= REMEMBERED_SIZE and not self._is_nothing(secret):
                if len(self._made) >= REMEMBERED:
                    self._made.clear()
                self._made[secret] = found
        return found

    def _kind(self, name):
        """What a name with a telling word in it (bytes) says of its value; remembered, because a log has the same names again and again."""
        kind = HARMLESS if _HARMLESS.search(name) else SPECIAL if name.lower() == b"tokens" else SECRET
        if len(self._kinds) >= REMEMBERED:
            self._kinds.clear()
        self._kinds[name] = kind
        return kind

    def spans(self, block):
        """Where the secrets of a block of lines are.

        Args:
            block: bytes; the last line may lack its line break.

        Returns:
            list of (start, end, rule, token or None), sorted; they may overlap.
        """
        found, folded = [], block.translate(_FOLD)
        kinds = self._kinds
        for pattern, finders in _WORDS:
            named = -1
            for match in pattern.finditer(folded):
                back, find = finders[match.lastindex]
                at = match.start() - back
                if find is _key and folded.endswith(_KEY_BEFORE, 0, at):
                    find = _key_value
                if find is _key_value:
                    if at < named:
                        # A second word in a name whose value was found.
                        continue
                    quick = _QUICK.match(block, at)
                    if quick is not None and quick.lastindex == 1:
                        if block.find(b"-", at - REACH if at > REACH else 0, at) < 0:
                            continue
                    elif quick is not None:
                        kind = kinds.get(quick[1]) or self._kind(quick[1])
                        if kind is not SPECIAL:
                            named, end = quick.span(quick.lastindex)
                            if kind is SECRET:
                                found.append((named, end, "key=value", None))
                            continue
                end = block.find(b"\n", at)
                for span in find(block, at, block.rfind(b"\n", 0, at) + 1, len(block) if end < 0 else end):
                    found.append(span + (None,))
        for form in self.needles:
            at = block.find(form)
            while at >= 0:
                found.append((at, at + len(form), "known", self._known[form]))
                at = block.find(form, at + 1)
        at = block.find(b"@")
        while at >= 0:
            start, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
            end = len(block) if end < 0 else end
            if block.find(b"(", at, at + 6) > 0:
                found += [span + (None,) for span in _address(block, start, start, end)]
            at = block.find(b"://", start, at)
            if at >= 0:
                found += [span + (None,) for span in _url(block, at, start, end)]
            at = block.find(b"@", end)
        known = self._made
        found = [span for span in found if block[span[0] : span[1]] in known or not self._is_nothing(block[span[0] : span[1]])]
        found.sort()
        return found

    @staticmethod
    def _is_nothing(value):
        return not value.strip(b"*") or value.lower().rstrip(b",;}] ") in NOTHING or TOKEN.fullmatch(value) is not None

    def replace(self, block, spans, note=None):
        """The block with tokens in place of the spans.

        Args:
            block, spans: as C(spans) takes and gives them.
            note: called with (rule, position) for each.
        """
        pieces, position, index, count, made = [], 0, 0, len(spans), self._made
        while index < count:
            start, end, rule, token = spans[index]
            index += 1
            if index == count or spans[index][0] >= end:
                value = block[start:end]
                pieces += (block[position:start], token or made.get(value) or self.token(value))
            else:
                group = [spans[index - 1]]
                # Spans that overlap are one secret, except that a known value keeps its own token inside.
                while index < count and spans[index][0] < end:
                    group.append(spans[index])
                    end = max(end, spans[index][1])
                    index += 1
                pieces += (block[position:start], self._tokens(block, start, end, group))
                # The widest one names the rule; a known value is always said.
                rule = "known" if any(span[3] for span in group) else max(group, key=lambda span: span[1] - span[0])[2]
            position = end
            if note:
                note(rule, start)
        pieces.append(block[position:])
        return b"".join(pieces)

    def _tokens(self, block, start, end, group):
        pieces, position = [], start
        for first, last, _rule, token in sorted((span for span in group if span[3]), key=lambda span: (span[0], -span[1])):
            if first < position:
                if last > position:
                    # Two known values overlap: what sticks out gets a token of its own.
                    pieces.append(self.token(block[position:last]))
                    position = last
                continue
            if first > position:
                pieces.append(self.token(block[position:first]))
            pieces.append(token)
            position = last
        if position < end:
            pieces.append(self.token(block[position:end]))
        return b"".join(pieces)

    def text(self, value):
        """A name, a command or an error (str) without its secrets."""
        raw = ANSI.sub(b"", str(value).encode("utf-8", "surrogateescape"))
        stream = self.stream()
        return (stream.feed(raw) + stream.finish()).decode("utf-8", "replace")

    def words(self, argv):
        """A command's arguments (list of str) without secrets; the argument after --password is one."""
        result, before = [], ""
        for word in argv:
            text = str(word)
            if before.startswith("-") and "=" not in before and looks_secret(before.lstrip("-")):
                result.append(self.token(text.encode("utf-8", "surrogateescape")).decode())
            else:
                result.append(self.text(text))
            before = text
        return result

    def stream(self, docker=False):
        """A new C(Stream) for one item.

        Args:
            docker: the text comes from C(docker logs --timestamps): long lines are joined first.
        """
        return Stream(self, docker)


def environment_secrets(environment, argv=()):
    """The values of a container's environment ("NAME=value" strings) and arguments whose names look secret.

    Returns:
        list of str; of a URL with credentials the password (and its decoded form) as well.
    """
    found = []
    for entry in environment:
        name, _, value = str(entry).partition("=")
        if value and looks_secret(name):
            found.append(value)
        for password in re.findall(r"://[^\s/?#@:]*:([^\s@]+)@", value):
            found += [password, unquote(password)]
    argv = [str(word) for word in argv]
    for index, word in enumerate(argv):
        name, is_pair, value = word.partition("=")
        following = argv[index + 1] if index + 1 < len(argv) else ""
        if name.startswith("-") and looks_secret(name.lstrip("-")):
            found.append(value if is_pair else following)
    return [value for value in found if value and not value.startswith("-")]


class Stream:
    """Redacts one item piece by piece.

    Attributes:
        lines: lines seen so far; first, last: the first and last line start with a time (docker only), as bytes or None;
        replaced: lines that were too long; joined: pieces of split lines that were joined; escapes: escape sequences removed.
    """

    def __init__(self, redactor, docker):
        self._redactor = redactor
        self._docker = docker
        self._rest = b""
        self._skipping = 0
        self._pem = 0
        self._pem_token = b""
        self._report = {}
        self.lines = 0
        self.first = None
        self.last = None
        self.replaced = 0
        self.joined = 0
        self.escapes = 0

    def feed(self, data):
        """Takes a piece of the text, returns what of it (and of what came before) is ready."""
        if self._skipping:
            cut = data.find(b"\n")
            if cut < 0:
                self._skipping += len(data)
                return b""
            out = self._overlong(self._skipping + cut) + b"\n"
            self.lines += 1
            self._skipping = 0
            return out + self.feed(data[cut + 1 :])
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        out = self._block(data[:cut]) if cut else b""
        if len(self._rest) > MAX_LINE:
            self._skipping, self._rest = len(self._rest), b""
        return out

    def finish(self):
        """The end of the text: what was waiting for its line break."""
        if self._skipping:
            out, self._skipping = self._overlong(self._skipping), 0
            self.lines += 1
            return out
        rest, self._rest = self._rest, b""
        return self._block(rest + b"\n")[:-1] if rest else b""

    def report(self):
        """What was taken out: a list of {rule, count, lines (the first ones)}; never a value."""
        return [{"rule": rule, "count": entry[0], "lines": entry[1]} for rule, entry in sorted(self._report.items())]

    def _overlong(self, size, before=0):
        """What stands in an overlong line's place; C(before) lines of the same block come first."""
        self.replaced += 1
        self._note("overlong", self.lines + before + 1)
        return b"[andon: a line of %d bytes was left out: it is longer than %d]" % (size, MAX_LINE)

    def _shorten(self, block):
        """Replaces the overlong lines of a block."""
        pieces, start, done = [], 0, 0
        while start + MAX_LINE < len(block):
            jump = block.rfind(b"\n", start, start + MAX_LINE + 1)
            if jump >= 0:
                start = jump + 1
                continue
            end = block.find(b"\n", start)
            pieces += [block[done:start], self._overlong(end - start, block.count(b"\n", 0, start))]
            done = end
            start = end + 1
        return b"".join(pieces) + block[done:]

    def _note(self, rule, line):
        entry = self._report.setdefault(rule, [0, []])
        entry[0] += 1
        if len(entry[1]) < REPORT_LINES and line not in entry[1][-1:]:
            entry[1].append(line)

    def _join(self, block):
        """Takes out the times that the engine puts before every further piece of a line longer than 16 KB."""
        pieces, start, done, size = [], 0, 0, len(block)
        while start + PIECE < size:
            # Jumps from line start to line start, up to 16 KB at once: no shorter line is looked at.
            jump = block.rfind(b"\n", start, start + PIECE + 1)
            if jump >= 0:
                start = jump + 1
                continue
            end = block.find(b"\n", start)
            line = block[start:end]
            stamp = STAMP.match(line)
            head = stamp.end() if stamp else 0
            body, count = STAMP.subn(b"", line[head:])
            if count:
                self.joined += count
                pieces += [block[done:start], line[:head], body]
                done = end
            start = end + 1
        return b"".join(pieces) + block[done:] if pieces else block

    def _block(self, block):
        """Whole lines, each ended by a line break."""
        if len(block) > MAX_LINE:
            block = self._shorten(block)
        if self._docker:
            block = self._join(block)
            stamp = STAMP.match(block)
            if stamp and self.first is None:
                self.first = stamp.group()[:-1]
            stamp = STAMP.match(block, block.rfind(b"\n", 0, len(block) - 1) + 1)
            if stamp:
                self.last = stamp.group()[:-1]
        if b"\x1b" in block:
            # A colour between a name and its value hides a secret, and the file must be safe to `cat`.
            block, count = ANSI.subn(b"", block)
            self.escapes += count
        out = self._redact(block)
        self.lines += block.count(b"\n")
        return out

    def _redact(self, block):
        """The block without its secrets; what has none is copied as it is."""
        spans = self._redactor.spans(block)
        if self._pem or b"PRIVATE KEY" in block:
            spans = sorted(spans + self._pem_spans(block), key=lambda span: span[:2])
        if not spans:
            return block
        seen, report = [self.lines, 0], self._report

        def note(rule, position):
            entry = report.get(rule)
            if entry and len(entry[1]) >= REPORT_LINES:
                # Enough lines are named, so which one it is need not be counted.
                entry[0] += 1
                return
            seen[0] += block.count(b"\n", seen[1], position)
            seen[1] = position
            self._note(rule, seen[0] + 1)

        return self._redactor.replace(block, spans, note)

    def _pem_spans(self, block):
        """The secrets in the lines from BEGIN to END of private keys; remembers an open one for the next block."""
        spans, start = [], 0
        while start < len(block):
            end = block.find(b"\n", start)
            if not self._pem:
                # Not in a key: go to the next line that says so.
                mark = block.find(b"PRIVATE KEY", start)
                if mark < 0:
                    break
                start, end = block.rfind(b"\n", 0, mark) + 1, block.find(b"\n", mark)
            end = len(block) if end < 0 else end
            marks = sorted(
                [(match.start(), match.end(), True) for match in _PEM_BEGIN.finditer(block, start, end)]
                + [(match.start(), match.end(), False) for match in _PEM_END.finditer(block, start, end)]
            )
            inside, position = self._pem > 0, start
            for first, last, begins in marks:
                if inside and not begins:
                    spans += self._base64(block, position, first, whole=position != start)
                elif not begins:
                    # An END whose BEGIN is not in the window: the key's lines before it.
                    spans += self._before_end(block, start, first)
                inside, position = begins, last
            if inside:
                spans += self._base64(block, position, end)
            self._pem = (self._pem + 1 if self._pem <= PEM_LINES else 0) if inside else 0
            start = end + 1
        return spans

    @staticmethod
    def _base64(block, start, end, whole=False):
        """Everything in a part of a key's line that is Base64; what stands before (a time, a level) stays.

        Args:
            whole: BEGIN and END are in one line: all between them is the key.
        """
        if whole:
            return [(start, end, "pem", None)] if end > start else []
        stamp = STAMP.match(block, start)
        start = stamp.end() if stamp else start
        return [match.span() + ("pem", None) for match in _BASE64_RUN.finditer(block, start, end)]

    def _before_end(self, block, start, mark):
        spans = self._base64(block, start, mark)
        for number in range(PEM_LINES):
            if start <= 0:
                break
            previous = block.rfind(b"\n", 0, start - 1) + 1
            found = self._base64(block, previous, start - 1)
            # A key's lines have 64 characters, except the last.
            if not found or (number and max(span[1] - span[0] for span in found) < 40):
                break
            spans += found
            start = previous
        return spans
