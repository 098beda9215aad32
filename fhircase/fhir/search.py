"""The search grammar of R4 (http://hl7.org/fhir/R4/search.html): pairs of a query string or a _search body become a Query.

Every problem of a search is told at once. What would silently widen a result (an empty value, a chain, an unknown modifier)
is always refused; an unknown parameter is refused when strict, else named in ``Query.ignored``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from fhircase.errors import Invalid, Malformed, Problem
from fhircase.fhir import definitions, index, refs, searchparams, times
from fhircase.fhir.query import OPEN_HIGH, OPEN_LOW, Include, IndexValue, Kind, Query, Test

MAX_COUNT = 200
MAX_PAIRS = 200
MAX_VALUES = 1_000
DEFAULT_COUNT = 50

_PREFIX = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)
_LOST_PLUS = re.compile(r"(T\d\d:\d\d(?::\d\d(?:\.\d+)?)?) (\d\d:\d\d)$")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_DAY = 86_400_000

_IGNORED = frozenset(("_format", "_pretty", "_totalMethod", "_total-method"))
_MODIFIERS = {
    "token": ("not", "text", "missing"),
    "string": ("exact", "contains", "missing"),
    "uri": ("below", "above", "missing"),
    "reference": ("identifier", "missing"),
    "date": ("missing",),
    "quantity": ("missing",),
}


class BadSearch(Invalid):
    """A search that cannot be understood: 400, as FHIR asks, and not the 422 of content."""

    status, title = 400, "The search cannot be understood"


def parse(type: str, pairs: Iterable[tuple[str, str]], *, strict: bool, base_url: str = "") -> Query:
    """A Query for ``GET /type?pairs`` (names and values already decoded). ``base_url``: our own, so that absolute references
    below it are local ones. Raises BadSearch (an Invalid, 400) with every problem; NotFound is the caller's matter."""
    return _Search(type, strict, base_url).run(list(pairs))


class _Search:
    def __init__(self, type_: str, strict: bool, base_url: str) -> None:
        self.type, self.strict, self.base_url = type_, strict, base_url
        self.table = searchparams.parameters(type_)
        self.problems: list[Problem] = []
        self.tests: list[Test] = []
        self.ids: tuple[str, ...] | None = None
        self.updated: list[tuple[str, int, int]] = []
        self.includes: list[Include] = []
        self.sort: tuple[tuple[str, bool], ...] = ()
        self.count = DEFAULT_COUNT
        self.cursor: str | None = None
        self.total = False
        self.summary = ""
        self.elements: tuple[str, ...] = ()
        self.ignored: list[str] = []
        self.used: list[tuple[str, str]] = []
        self.values = 0

    def bad(self, name: str, what: str, hint: str = "", code: str = "value") -> None:
        self.problems.append(Problem(what, name[:100], hint, code))

    def run(self, pairs: Sequence[tuple[str, str]]) -> Query:
        if not definitions.is_resource(self.type):
            raise BadSearch(Problem("no such resource type", "", code="not-supported"))
        if len(pairs) > MAX_PAIRS:
            raise BadSearch(Problem(f"more than {MAX_PAIRS} parameters", code="too-costly"))
        for name, value in pairs:
            if _UNUSABLE.search(name) or _UNUSABLE.search(value):
                self.bad(_UNUSABLE.sub("?", name), "holds a character that no text may hold (U+0000 or half of a surrogate pair)")
            elif name not in _IGNORED:
                self.one(name, value)
        if self.values > MAX_VALUES:
            self.bad("", f"more than {MAX_VALUES} values in one search", code="too-costly")
        if self.problems:
            raise BadSearch(self.problems)
        ids = self.ids if self.ids is None or self.ids else ("",)
        return Query(
            self.type,
            tuple(self.tests),
            ids or (),
            tuple(self.updated),
            tuple(dict.fromkeys(self.includes)),
            self.sort,
            self.count,
            self.cursor,
            self.total,
            self.summary,
            self.elements,
            tuple(self.ignored),
            tuple(self.used),
        )

    def one(self, name: str, value: str) -> None:
        base, _, modifier = name.partition(":")
        if base == "_cursor":
            self.cursor = value
            return
        if not value.strip():
            self.bad(name, "has no value", "Give a value or leave the parameter out")
            return
        special = getattr(self, f"p{base}", None) if base.startswith("_") and base in _RESULT else None
        if special is not None:
            special(name, modifier, value)
            self.used.append((name, value))
        elif base == "_has" or "." in name.partition("=")[0]:
            self.bad(name, "chained parameters and _has are not supported yet", "Search step by step", "not-supported")
        elif base in self.table:
            self.test(name, base, modifier, value)
            self.used.append((name, value))
        elif self.strict:
            self.bad(name, f"{self.type} has no search parameter of this name", self.near(base), "not-supported")
        else:
            self.ignored.append(name[:100])

    def near(self, name: str) -> str:
        plain = name.lower().replace("_", "").replace("-", "")
        close = [known for known in self.table if known.lower().replace("_", "").replace("-", "") == plain]
        return f"Did you mean {close[0]}?" if close else "Send Prefer: handling=lenient to have unknown parameters ignored"

    # ------------------------------------------------------------------------------------------ parameters of the result

    def p_id(self, name: str, modifier: str, value: str) -> None:
        if modifier:
            self.bad(name, "this modifier is not supported", code="not-supported")
            return
        ids = tuple(dict.fromkeys(filter(None, (_plain(part) for part in _split(value, ",")))))
        self.values += len(ids)
        self.ids = ids if self.ids is None else tuple(id_ for id_ in self.ids if id_ in ids)

    def p_lastUpdated(self, name: str, modifier: str, value: str) -> None:
        if modifier:
            self.bad(name, "this modifier is not supported", code="not-supported")
            return
        parts = _split(value, ",")
        if len(parts) > 1:
            self.bad(name, "takes one value", "Repeat the parameter to narrow the interval")
            return
        found = self.date(name, parts[0])
        if found is not None:
            self.updated.append(found)

    def p_include(self, name: str, modifier: str, value: str) -> None:
        self.include(name, modifier, value, reverse=False)

    def p_revinclude(self, name: str, modifier: str, value: str) -> None:
        self.include(name, modifier, value, reverse=True)

    def include(self, name: str, modifier: str, value: str, *, reverse: bool) -> None:
        if modifier not in ("", "iterate", "recurse"):
            self.bad(name, "this modifier is not supported", "Use :iterate", "not-supported")
            return
        if value == "*" and not reverse:
            self.includes.append(Include(self.type, "*", "", False, bool(modifier)))
            return
        source, _, rest = value.partition(":")
        param, _, target = rest.partition(":")
        if not definitions.is_resource(source):
            self.bad(name, "names no resource type", "Type:parameter or Type:parameter:TargetType")
        elif target and not definitions.is_resource(target):
            self.bad(name, "the target is no resource type", "Type:parameter:TargetType")
        elif param != "*" and (param not in (table := searchparams.parameters(source)) or table[param].kind != "reference"):
            known = sorted(p.name for p in searchparams.parameters(source).values() if p.kind == "reference")
            if self.strict:
                self.bad(name, f"{source} has no reference parameter of this name", f"One of {', '.join(known)}", "not-supported")
            else:
                self.ignored.append(f"{name}={value}"[:100])
        else:
            self.includes.append(Include(source, param, target, reverse, bool(modifier)))

    def p_sort(self, name: str, modifier: str, value: str) -> None:
        keys = []
        for part in _split(value, ","):
            key, descending = part.removeprefix("-"), part.startswith("-")
            if key not in self.table:
                if self.strict:
                    self.bad(
                        name,
                        f"{self.type} cannot be sorted by this",
                        "A search parameter of the type, _id or _lastUpdated",
                        "not-supported",
                    )
                else:
                    self.ignored.append(f"{name}={part}"[:100])
                continue
            keys.append((key, descending))
        self.sort = tuple(dict.fromkeys(keys))[:5]

    def p_count(self, name: str, modifier: str, value: str) -> None:
        if not _COUNT.fullmatch(value):
            self.bad(name, "must be a whole number, 0 or more")
            return
        self.count = min(int(value), MAX_COUNT)
        if self.count == 0:
            self.total, self.summary = True, "count"

    def p_total(self, name: str, modifier: str, value: str) -> None:
        if value not in ("none", "estimate", "accurate"):
            self.bad(name, "is none, estimate or accurate")
        self.total = self.total or value in ("estimate", "accurate")

    def p_summary(self, name: str, modifier: str, value: str) -> None:
        if value not in ("true", "false", "text", "data", "count"):
            self.bad(name, "is true, text, data, count or false")
        self.summary = self.summary if self.summary == "count" else "" if value == "false" else value
        self.total = self.total or value == "count"

    def p_elements(self, name: str, modifier: str, value: str) -> None:
        names = [part.removeprefix(f"{self.type}.").strip() for part in _split(value, ",")]
        known = definitions.elements(self.type)
        for element in names:
            if element not in known and f"{element}[x]" not in known and self.strict and "." not in element:
                self.bad(name, f"{self.type} has no element of this name", "Names of elements at the top, parted by commas")
        self.elements = (*self.elements, *(n for n in names if n))

    # ------------------------------------------------------------------------------------------ parameters of the type

    def test(self, name: str, base: str, modifier: str, value: str) -> None:
        parameter = self.table[base]
        kind: Kind = "quantity" if parameter.kind == "number" else parameter.kind
        if modifier == "missing":
            if value not in ("true", "false"):
                self.bad(name, "is true or false")
            else:
                self.tests.append(Test(base, kind, "missing", ((value, IndexValue(base, kind)),)))
            return
        type_ = ""
        if kind == "reference" and modifier and definitions.is_resource(modifier):
            if parameter.targets and modifier not in parameter.targets:
                self.bad(name, "cannot refer to that type", f"One of {', '.join(parameter.targets)}")
                return
            type_, modifier = modifier, ""
        if modifier and modifier not in _MODIFIERS[kind]:
            known = ", ".join(f":{m}" for m in _MODIFIERS[kind]) + (" or :Type" if kind == "reference" else "")
            self.bad(name, "this modifier is not supported here", f"{base} takes {known}", "not-supported")
            return
        values: list[tuple[str, IndexValue]] = []
        for part in _split(value, ","):
            if not part.strip():
                self.bad(name, "has an empty value in its list")
                continue
            made: tuple[str, IndexValue] | None
            if kind == "token":
                made = self.token(name, base, modifier, part)
            elif kind == "string":
                made = "", IndexValue(base, "string", code=index.cut(_plain(part)), text=index.fold(_plain(part)))
                if modifier != "exact" and not made[1].text:
                    self.bad(name, "holds nothing to search for")
            elif kind == "date":
                found = self.date(name, part)
                made = None if found is None else (found[0], IndexValue(base, "date", low=found[1], high=found[2]))
            elif kind == "reference":
                made = self.reference(name, parameter, modifier, part, type_)
            elif kind == "quantity":
                made = self.quantity(name, base, part)
            else:
                made = "", IndexValue(base, "uri", code=index.cut(_plain(part)))
            if made is not None:
                values.append(made)
        self.values += len(values)
        if values:
            self.tests.append(Test(base, kind, modifier, tuple(dict.fromkeys(values))))

    def token(self, name: str, base: str, modifier: str, part: str) -> tuple[str, IndexValue] | None:
        if modifier == "text":
            return "", IndexValue(base, "token", text=index.fold(_plain(part)))
        pieces = _split(part, "|")
        if len(pieces) > 2:
            self.bad(name, "is code, system|code, |code or system|")
            return None
        if len(pieces) == 1:
            return "code", IndexValue(base, "token", code=index.cut(_plain(part)))
        system, code = index.cut(_plain(pieces[0]), 400), index.cut(_plain(pieces[1]))
        if not code:
            if not system:
                self.bad(name, "is code, system|code, |code or system|")
                return None
            return "system", IndexValue(base, "token", system)
        return "both", IndexValue(base, "token", system, code)

    def reference(
        self, name: str, parameter: definitions.SearchParameter, modifier: str, part: str, type_: str
    ) -> tuple[str, IndexValue] | None:
        base = parameter.name
        if modifier == "identifier":
            pieces = _split(part, "|")
            system, value = (_plain(pieces[0]), _plain("|".join(pieces[1:]))) if len(pieces) > 1 else ("", _plain(part))
            if len(pieces) > 1 and value:
                return "both", IndexValue(base, "reference", text=index.cut(f"{system}|{value}"))
            if len(pieces) > 1:
                return "system", IndexValue(base, "reference", text=f"{system}|")
            return "code", IndexValue(base, "reference", text=f"|{value}")
        text = _plain(part)
        only = searchparams.only_type(parameter)
        found = refs.literal(text, self.base_url)
        if found is not None:
            if not found.base and not definitions.is_resource(found.type):
                self.bad(name, "names no resource type", "Type/id")
                return None
            if type_ and type_ != found.type:
                self.bad(name, "the type in the name and in the value differ")
                return None
            return "", IndexValue(base, "reference", found.type, found.id if not found.base else index.cut(text))
        if ":" in text or "|" in text:
            return "", IndexValue(base, "reference", code=index.cut(text))
        if "/" in text:
            self.bad(name, "is neither an id, Type/id nor a URL")
            return None
        return "", IndexValue(base, "reference", type_ or only, index.cut(text))

    def date(self, name: str, part: str) -> tuple[str, int, int] | None:
        prefix, text = _PREFIX.fullmatch(part.strip()).groups()  # type: ignore[union-attr]
        # A plus sign in a query string that was not escaped arrives as a space.
        text = _LOST_PLUS.sub(r"\1+\2", text)
        try:
            low, high = times.bounds(text)
        except Malformed:
            self.bad(
                name,
                "is not a date",
                "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz after an optional eq ne gt lt ge le sa eb ap; write + as %2B",
            )
            return None
        if prefix == "ap":
            # About: a tenth of its length to either side, a day at least; parsing has no clock to measure the distance from.
            margin = max(_DAY, (high - low) // 10)
            low, high = low - margin, high + margin
        return prefix or "eq", low, high

    def quantity(self, name: str, base: str, part: str) -> tuple[str, IndexValue] | None:
        pieces = [_plain(piece) for piece in _split(part, "|")]
        prefix, text = _PREFIX.fullmatch(pieces[0].strip()).groups()  # type: ignore[union-attr]
        if len(pieces) > 3 or not _NUMBER.fullmatch(text) or len(text) > 60:
            self.bad(name, "is not a number", "number, number|system|code or number||unit, after an optional eq ne gt lt ge le sa eb ap")
            return None
        number = Decimal(text)
        middle = index.scaled(number)
        if middle is None:
            self.bad(name, "is a number too large to search for")
            return None
        prefix = prefix or "eq"
        low = high = middle
        if prefix in ("eq", "ne", "ap"):
            # 100 means 99.5 up to 100.5, 100.00 means 99.995 up to 100.005 (search.html#number).
            exponent = number.as_tuple().exponent
            margin = Decimal(5).scaleb(max(-30, min(int(exponent), 15)) - 1)
            if prefix == "ap":
                margin = max(margin, abs(number) / 10)
            low = max(OPEN_LOW, int((number - margin) * index.SCALE))
            high = min(OPEN_HIGH, max(int((number + margin) * index.SCALE), low + 1))
        system, code = (pieces[1], pieces[2]) if len(pieces) == 3 else ("", pieces[1] if len(pieces) == 2 else "")
        return prefix, IndexValue(base, "quantity", index.cut(system, 400), index.cut(code), "" if system else index.fold(code), low, high)


_RESULT = frozenset(("_id", "_lastUpdated", "_include", "_revinclude", "_sort", "_count", "_total", "_summary", "_elements"))


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators that no backslash escapes; the escapes stay."""
    if "\\" not in text:
        return text.split(separator)
    parts, part, i = [], "", 0
    while i < len(text):
        char = text[i]
        if char == "\\" and i + 1 < len(text):
            part += text[i : i + 2]
            i += 2
            continue
        if char == separator:
            parts.append(part)
            part = ""
        else:
            part += char
        i += 1
    return [*parts, part]


def _plain(text: str) -> str:
    r"""Without escapes: ``\,`` ``\|`` ``\$`` ``\\``."""
    return re.sub(r"\\([,|$\\])", r"\1", text) if "\\" in text else text
