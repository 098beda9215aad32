"""Mapping lines as data: read from the YAML tree, checked against the tables of a release, the code tables and each other.

Every mistake is noted with its place; a line with a mistake is left out of the result, so that the rest can be checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.fhir.definitions import Release
from fhircase.mapping import definitions, paths
from fhircase.mapping.coder import Coder
from fhircase.mapping.codes import Codes, Group
from fhircase.mapping.mistakes import Mistake, likely, some
from fhircase.mapping.paths import BadPath, Path
from fhircase.mapping.values import MUST, typed
from fhircase.mapping.yamltext import Node

FILE_KEYS = ("mapping", "extends", "about", "case", "fhir", "v2", "releases", "why", "always", "fields", "examples")
LINE_KEYS = (
    "fhir",
    "v2",
    "codes",
    "ref",
    "use",
    "many",
    "fields",
    "key",
    "need",
    "else",
    "only",
    "pick",
    "as",
    "when",
    "unless",
    "alsoread",
    "why",
)
FHIR_KEYS = frozenset(LINE_KEYS) - {"v2", "pick", "unless"}
V2_KEYS = frozenset(LINE_KEYS) - {"fhir", "ref", "key", "only", "alsoread"}
AS_V2 = ("text", "date", "dateTime", "number", "boolean", "authority", "name", "contact", "place", "time-of-birth")
CODED = ("code", "Coding", "CodeableConcept")


@dataclass(frozen=True, slots=True)
class Source:
    """A place of HL7 v2: ``segment`` of a segment place (``PV1-36.1``, ``DG1``), or ``datatype`` of a place within the
    repetition at hand (``CX.4.1``, ``XCN``)."""

    segment: str = ""
    field: int = 0
    component: int = 0
    sub: int = 0
    datatype: str = ""

    def __str__(self) -> str:
        text = self.datatype or self.segment
        if self.field:
            text += f"-{self.field}"
        return text + "".join(f".{n}" for n in (self.component, self.sub) if n)


@dataclass(frozen=True, slots=True)
class Line:
    """One line. ``paths``: FHIR paths, all written, the first with a value read; ``alternatives``: they are types of one
    choice instead, and the value says which. ``if_``: elements and the values of which they must have one, for the line to
    read or write. ``sources``: v2 places in order; a dict gives a fixed word per place."""

    name: str
    node: Node
    paths: tuple[Path, ...] = ()
    alternatives: bool = False
    alsoread: tuple[Path, ...] = ()
    codes: Codes | None = None
    coders: tuple[Coder, ...] = ()
    ref: tuple[str, ...] = ()
    use: str | None = None
    many: bool = False
    fields: tuple[Line, ...] | None = None
    key: tuple[str, ...] = ()
    need: bool = False
    default: Any = None
    only: str | None = None
    kind: str = "text"
    sources: tuple[Source | dict[Source, str], ...] = ()
    as_: tuple[str, ...] = ("text",)
    pick: tuple[tuple[Source, frozenset[str]], ...] = ()
    when: tuple[tuple[Source, frozenset[str]], ...] = ()
    unless: tuple[tuple[Source, frozenset[str]], ...] = ()
    if_: tuple[tuple[Path, frozenset[Any]], ...] = ()
    keeps_text: bool = False
    why: str = ""


@dataclass(slots=True)
class Tables:
    """What a file's lines may lean on: code tables of its site, the mappings that ``use`` names, the FHIR release of its paths."""

    codes: Callable[[str], Codes | None]
    code_names: Callable[[], list[str]]
    mapping: Callable[[str], tuple[Line, ...] | None]
    mapping_names: Callable[[], list[str]]
    mistakes: list[Mistake] = field(default_factory=list)
    site: str = ""
    release: Release = "R4"


def of_release(node: Node | None, tables: Tables) -> Node | None:
    """What ``{R4: ..., R5: ...}`` says for this release; the node itself where it says the same for every one. None: nothing."""
    if node is None or not isinstance(node.value, dict) or not node.value or not node.value.keys() & set(definitions.RELEASES):
        return node
    for release in node.value:
        if release not in definitions.RELEASES:
            tables.mistakes.append(node.mistake(f"'{release}' is not a release ({', '.join(definitions.RELEASES)})", release))
    return node.get(tables.release)


def yes(node: Node | None, tables: Tables) -> bool:
    if node is None:
        return False
    if node.text in ("yes", "true"):
        return True
    if node.text not in ("no", "false"):
        tables.mistakes.append(node.mistake("say yes or no"))
    return False


# ------------------------------------------------------------------------------------------------ FHIR


def fhir_lines(fields: Node, type_: str, tables: Tables, always: frozenset[str] = frozenset(), *, parent: Line | None = None,
               targets: tuple[str, ...] = (), shown: str = "") -> tuple[Line, ...]:  # fmt: skip
    """The lines of ``fields``, whose paths begin at ``type_``."""
    made = []
    for name, node in fields.items():
        line = _fhir_line(name, node, fields, type_, tables, targets, shown or type_)
        if line is not None:
            made.append(line)
    _required(fields, type_, made, always, tables, shown or type_)
    _twice(fields, made, tables)
    return tuple(made)


def _fhir_line(name: str, node: Node, fields: Node, type_: str, tables: Tables, targets: tuple[str, ...], shown: str) -> Line | None:
    wrong = tables.mistakes.append
    if not isinstance(node.value, dict):
        wrong(node.mistake("a line is {fhir: path, ...}"))
        return None
    good = _keys(node, FHIR_KEYS, tables)
    if node.get("fhir") is None:
        if good:
            wrong(fields.mistake("has no 'fhir'", name))
        return None
    found = of_release(node.get("fhir"), tables)
    if found is None:
        return None
    texts = found.texts()
    if texts is None:
        wrong(found.mistake("a path, a list of paths, or {R4: path, R5: path}"))
        return None
    lines_paths = [path for text in texts if (path := _path(text, found, type_, shown, targets, tables)) is not None]
    if len(lines_paths) != len(texts) or not lines_paths:
        return None
    extra = of_release(node.get("alsoread"), tables)
    also = (
        [path for text in (extra.texts() or []) if (path := _path(text, extra, type_, shown, targets, tables))] if extra is not None else []
    )
    many, need = yes(node.get("many"), tables), yes(of_release(node.get("need"), tables), tables)
    first = lines_paths[0]
    alternatives = len(lines_paths) > 1 and all(
        p.choice and p.choice == first.choice and p.hops[:-1] == first.hops[:-1] for p in lines_paths
    )
    line = Line(
        name, node, tuple(lines_paths), alternatives, tuple(also), many=many, need=need,
        use=_text(node.get("use"), tables), why=(node.get("why") or node).text or "",
    )  # fmt: skip
    only = _text(node.get("only"), tables)
    if only not in (None, "in", "out"):
        wrong(node.get("only").mistake("'only' is in or out"))  # type: ignore[union-attr]
    elif only is not None:
        line = replace(line, only=only)
    if many and not first.element.many and not first.inside:
        wrong(fields.mistake(f"{first.element.path} is a single element, not a list: leave out 'many'", name))
        return None
    if many and not first.listed:
        wrong(fields.mistake(f"'{first.text}' names one entry; 'many' takes the whole list", name))
        return None
    when = of_release(node.get("when"), tables)
    if when is not None:
        line = replace(line, if_=_conditions(when, type_, shown, targets, tables))
    inner = node.get("fields")
    if inner is not None:
        return _group(line, inner, node, fields, tables)
    line_ = _leaf(line, node, fields, tables)
    if line_ is not None:
        line_ = _default(line_, node, tables)
    return line_


def _conditions(when: Node, type_: str, shown: str, targets: tuple[str, ...], tables: Tables) -> tuple[tuple[Path, frozenset[Any]], ...]:
    """``when``: FHIR path → the value, or one of the values, that it must have."""
    made = []
    if not isinstance(when.value, dict):
        tables.mistakes.append(when.mistake("a FHIR path and the value it must have: {status: active}"))
        return ()
    for text, values in when.items():
        path = _path(text, when, type_, shown, targets, tables)
        if path is None:
            continue
        if path.kind is None or path.hops[-1].many:
            tables.mistakes.append(when.mistake(f"{path.element.path} is {path.type}: go on to one value that can be compared", text))
            continue
        wanted = _values(values, path, tables)
        if wanted:
            made.append((path, frozenset(wanted)))
    return tuple(made)


def _values(node: Node, path: Path, tables: Tables) -> list[Any]:
    """The texts of a node as values of an element; what it cannot hold is a mistake."""
    allowed, made = path.element.codes, []
    if node.texts() is None:
        tables.mistakes.append(node.mistake("a value or a list of values is wanted here"))
    for text in node.texts() or ():
        value = typed(text, path.kind or "text")
        if value is None:
            tables.mistakes.append(node.mistake(f"'{text}' is not {MUST[path.kind or 'text']}"))
        elif allowed and value not in allowed:
            tables.mistakes.append(
                node.mistake(f"'{value}' is not a code of {path.element.path} ({some(allowed)}){likely(str(value), allowed)}")
            )
        else:
            made.append(value)
    return made


def _group(line: Line, inner: Node, node: Node, fields: Node, tables: Tables) -> Line | None:
    path = line.paths[0]
    if path.kind is not None:
        tables.mistakes.append(fields.mistake(f"{path.element.path} is {path.type} and has no parts for 'fields'", line.name))
        return None
    if not isinstance(inner.value, dict):
        tables.mistakes.append(inner.mistake("'fields' holds lines, one per case field"))
        return None
    if path.whole and not line.many:
        tables.mistakes.append(fields.mistake(f"{path.element.path} is a list: say many: yes, or name one entry [0]", line.name))
        return None
    lines = fhir_lines(inner, path.type, tables, parent=line, targets=path.element.targets, shown=path.element.path)
    key = node.get("key")
    names = tuple(key.texts() or ()) if key is not None else ()
    known = [name for name, _ in inner.items()]
    for name in names:
        if name not in known:
            tables.mistakes.append(key.mistake(f"'{name}' is not among these fields{likely(name, known)}"))  # type: ignore[union-attr]
    if names and not line.many:
        tables.mistakes.append(node.mistake("'key' tells the entries of a list apart: it needs many: yes", "key"))
    return replace(line, fields=lines, key=names, kind="group")


def _leaf(line: Line, node: Node, fields: Node, tables: Tables) -> Line | None:
    wrong = tables.mistakes.append
    path = line.paths[0]
    ref, codes = node.get("ref"), node.get("codes")
    if node.get("key") is not None:
        wrong(node.mistake("'key' belongs to a list with 'fields'", "key"))
    if ref is not None:
        return _ref(line, ref, node, tables)
    if codes is not None:
        of_here = of_release(codes, tables)
        if of_here is None:
            wrong(codes.mistake(f"names no table for {tables.release}"))
            return None
        return _coded(line, of_here, node, fields, tables)
    for one in (*line.paths, *line.alsoread):
        if one.type in ("CodeableConcept", "Coding"):
            further = ".text" if one.type == "CodeableConcept" else ".code or .display"
            wrong(fields.mistake(f"{one.element.path} is {one.type}: say codes: <map>, or go on to {further}", line.name))
            return None
        if one.type == "Reference":
            wrong(fields.mistake(f"{one.element.path} is a Reference: say ref: <type>, or go on to .display", line.name))
            return None
        if one.kind is None:
            parts = some(sorted(set(definitions.children(one.type, tables.release)) - {"id", "extension", "modifierExtension"}), 12)
            wrong(fields.mistake(f"{one.element.path} is {one.type}: go on to one of its parts ({parts}), or give 'fields'", line.name))
            return None
    kinds = {one.kind for one in line.paths}
    if len(kinds) > 1 and not line.alternatives:
        wrong(fields.mistake("its paths hold different kinds of value", line.name))
        return None
    as_ = _text(node.get("as"), tables)
    kind = path.kind or "text"
    if as_ is not None and as_ != kind and not (as_ == "number" and kind == "integer"):
        wrong(node.mistake(f"{path.element.path} is {path.type}, held as {kind}, not {as_}", "as"))
    kind = "either" if line.alternatives else kind
    return line if kind == line.kind else replace(line, kind=kind)


def _ref(line: Line, ref: Node, node: Node, tables: Tables) -> Line | None:
    wrong = tables.mistakes.append
    names = ref.texts()
    if names is None:
        wrong(ref.mistake("'ref' is a type or a list of types"))
        return None
    for path in line.paths:
        at_reference = path.type == "Reference" or (len(path.hops) == 1 and path.hops[0].key == "reference")
        if not at_reference:
            wrong(node.mistake(f"{path.element.path} is {path.type}, not a Reference", "ref"))
            return None
        allowed = path.element.targets
        if tables.release != "R4":
            # What a later release no longer lets it point to is told of the document, not of the file.
            names = [one for one in names if definitions.is_resource(one, tables.release) and (not allowed or one in allowed)]
            if not names:
                wrong(ref.mistake(f"{path.element.path} of {tables.release} can point to none of them; allowed: {some(allowed, 12)}"))
                return None
        for name in names:
            if not definitions.is_resource(name, tables.release):
                wrong(ref.mistake(f"'{name}' is not a resource type{likely(name, allowed or definitions.resources(tables.release))}"))
                return None
            if allowed and name not in allowed:
                wrong(ref.mistake(f"{path.element.path} cannot point to {name}; allowed: {some(allowed, 12)}"))
                return None
    if line.use is not None and tables.mapping(line.use) is None:
        wrong(node.mistake(f"there is no mapping '{line.use}'{likely(line.use, tables.mapping_names())}", "use"))
    return replace(line, ref=tuple(names), kind="ref")


def _coded(line: Line, node_codes: Node, node: Node, fields: Node, tables: Tables) -> Line | None:
    wrong = tables.mistakes.append
    name = node_codes.text or ""
    codes = tables.codes(name)
    if codes is None:
        wrong(node_codes.mistake(f"there is no codes/{name}.json{likely(name, tables.code_names())}"))
        return None
    every = (*line.paths, *line.alsoread)
    for path in every:
        if path.type not in CODED:
            wrong(node.mistake(f"{path.element.path} is {path.type}: a code table needs code, Coding or CodeableConcept", "codes"))
            return None
    taken: list[Group] = []
    chosen: dict[int, tuple[Group, ...]] = {}
    for at, path in enumerate(every):
        binding = path.element.binding
        if path.type == "code" and binding:
            groups = tuple(g for g in codes.groups if g.target in binding)
            if not groups:
                groups = tuple(g for g in codes.groups if all(t.code in path.element.codes for t, _ in g.rows.values()))
            if not groups:
                groups = codes.groups
            chosen[at] = groups
            taken.extend(groups)
    good = True
    for at, path in enumerate(every):
        groups = chosen.get(at) or tuple(g for g in codes.groups if g not in taken) or codes.groups
        chosen[at] = groups
        if path.element.binding:
            allowed = path.element.codes
            for group in groups:
                for word, (target, _) in group.rows.items():
                    if target.code not in allowed:
                        good = False
                        place = f"{path.element.path} ({some(allowed)}){likely(target.code, allowed)}"
                        what = f"codes/{name}.json: '{word}' -> '{target.code}' is not a code of {place}"
                        wrong(node_codes.mistake(what))
    if line.only is None and good:
        together = chosen[0] if len(line.paths) == 1 else tuple(dict.fromkeys(g for at in range(len(line.paths)) for g in chosen[at]))
        for words, lost in _clashes(together):
            good = False
            wrong(
                node_codes.mistake(
                    f"codes/{name}.json: {' and '.join(repr(w) for w in words)} both become {lost!r}; on the way back nobody can tell "
                    "which. Mark all but one 'wider', or say only: in or only: out"
                )
            )
    if not good:
        return None
    coders = tuple(Coder(codes, path.type, chosen[at]) for at, path in enumerate(every))
    return replace(line, codes=codes, coders=coders, kind="code")


def _clashes(groups: tuple[Group, ...]) -> Iterator[tuple[list[str], str]]:
    """Words that cannot be told apart in any group: a word is safe when one group gives it back, or all groups together do."""
    back = {word for group in groups for word in group.back.values()}
    pairs: dict[tuple[str, ...], list[str]] = {}
    words = dict.fromkeys(word for group in groups for word in group.rows)
    for word in words:
        pairs.setdefault(tuple(g.rows[word][0].code if word in g.rows else "" for g in groups), []).append(word)
    for target, same in pairs.items():
        lost = [word for word in same if word not in back]
        if len(same) > 1 and len(lost) == len(same):
            yield same, ", ".join(code for code in target if code)


def _default(line: Line, node: Node, tables: Tables) -> Line:
    default = node.get("else")
    if default is None:
        return line
    if default.text is None:
        tables.mistakes.append(default.mistake("'else' is one value"))
        return line
    if line.kind == "code":
        if not any(coder.targets(default.text) for coder in line.coders):
            known = line.codes.sources() if line.codes is not None else []
            tables.mistakes.append(
                default.mistake(
                    f"'{default.text}' is not in codes/{line.codes.name if line.codes else ''}.json{likely(default.text, known)}"
                )
            )
        return replace(line, default=default.text)
    value = typed(default.text, line.kind) if line.kind in MUST else default.text
    if value is None:
        tables.mistakes.append(default.mistake(f"'{default.text}' is not {MUST[line.kind]}"))
        return line
    codes = line.paths[0].element.codes
    if codes and value not in codes:
        tables.mistakes.append(
            default.mistake(f"'{value}' is not a code of {line.paths[0].element.path} ({some(codes)}){likely(str(value), codes)}")
        )
    return replace(line, default=value)


def _required(fields: Node, type_: str, lines: list[Line], always: frozenset[str], tables: Tables, shown: str) -> None:
    def top(path: Path) -> str:
        return path.choice if path.choice and len(path.hops) == 1 else path.hops[0].key

    written: dict[str, int] = {}
    sure = set()
    for line in lines:
        if line.only != "in":
            for name in {top(path) for path in line.paths}:
                written[name] = written.get(name, 0) + 1
                if line.need or line.default is not None:
                    sure.add(name)
    given = {name for name, node in fields.items() if of_release(node.get("fhir"), tables) is not None}
    for name, element in definitions.children(type_, tables.release).items():
        # Where several lines write parts of it, any of them may; where a line has a mistake of its own, it may be the one.
        parts = sum(count for key, count in written.items() if key == name or (element.choice and key.startswith(name)))
        if not element.needed or name in always or name in sure or parts > 1 or (len(given) != len(lines) and not parts):
            continue
        by = "FHIR" if tables.release == "R4" else f"FHIR {tables.release}"
        what = f"{shown}.{name} is required by {by} but no field with 'need: yes' or 'else', nor 'always', writes it"
        tables.mistakes.append(fields.mistake(what))


def _twice(fields: Node, lines: list[Line], tables: Tables) -> None:
    """Two case fields that write one place would overwrite each other; "the first entry" of a list whose entries other
    lines name by where() would be one of theirs."""
    seen: dict[str, list[Line]] = {}
    named = {(path.hops[at].key, at): line.name for line in lines for path in line.paths for at, hop in enumerate(path.hops) if hop.fixed}
    for line in lines:
        for path in line.paths:
            for at, hop in enumerate(path.hops[:-1]):
                other = named.get((hop.key, at))
                if hop.many and not hop.fixed and other is not None and other != line.name:
                    what = (
                        f"'{path.text}' takes the first entry of a list whose entries '{other}' names by where(): "
                        "name yours by where(), or take the list with 'fields'"
                    )
                    tables.mistakes.append(fields.mistake(what, line.name))
    for line in lines:
        if line.only == "in" or line.kind == "group":
            continue
        for path in line.paths:
            before = seen.setdefault(path.text, [])
            for earlier in before:
                if not path.whole and not _apart(line, earlier):
                    tables.mistakes.append(fields.mistake(f"'{path.text}' is already written by '{earlier.name}'", line.name))
                    break
            before.append(line)


def _apart(line: Line, other: Line) -> bool:
    """Whether ``when`` keeps two lines from ever acting on one resource."""
    there = {path.text: wanted for path, wanted in other.if_}
    return any(path.text in there and not wanted & there[path.text] for path, wanted in line.if_)


def _path(text: str, node: Node, type_: str, shown: str, targets: tuple[str, ...], tables: Tables) -> Path | None:
    try:
        return paths.resolve(text, type_, shown, targets, tables.release)
    except BadPath as error:
        tables.mistakes.append(node.mistake(str(error)))
        return None


def _text(node: Node | None, tables: Tables) -> str | None:
    if node is None:
        return None
    if node.text is None:
        tables.mistakes.append(node.mistake("one word is wanted here"))
    return node.text


def _keys(node: Node, known: frozenset[str], tables: Tables) -> bool:
    good = True
    for key in node.value:
        if key not in known:
            hint = likely(key, known)
            reason = "does not belong on this line" if key in LINE_KEYS else "is not known here"
            tables.mistakes.append(node.mistake(f"'{key}' {reason}{hint}", key))
            good = False
    return good


def always_members(node: Node | None, type_: str, tables: Tables) -> list[tuple[Path, Any]]:
    """``always``: path → fixed value, as (path, value)."""
    made: list[tuple[Path, Any]] = []
    if node is None:
        return made
    if not isinstance(node.value, dict):
        tables.mistakes.append(node.mistake("'always' holds FHIR paths and values"))
        return made
    for text, value_ in node.items():
        value = of_release(value_, tables)
        if value is None:
            continue
        path = _path(text, node, type_, type_, (), tables)
        if path is None:
            continue
        if path.kind is None:
            tables.mistakes.append(node.mistake(f"{path.element.path} is {path.type}: go on to one of its parts", text))
            continue
        if value.texts() is None or (not path.whole and isinstance(value.value, list)):
            tables.mistakes.append(value.mistake("one value is wanted here" if not path.whole else "a list of values"))
            continue
        values = _values(value, path, tables)
        if values:
            made.append((path, values if path.whole else values[0]))
    return made


# ------------------------------------------------------------------------------------------------ v2

DATATYPES = frozenset({"CX", "XPN", "XAD", "XTN", "XCN", "XON", "CWE", "CE", "CNE", "PL", "HD", "EI", "FN", "SAD", "DLD", "PPN"})
_SEGMENT = re.compile(r"([A-Z][A-Z0-9]{2})(?:-([1-9]\d{0,2})(?:\.([1-9]\d?)(?:\.([1-9]\d?))?)?)?")
_WITHIN = re.compile(r"([A-Z]{2,3})(?:\.([1-9]\d?)(?:\.([1-9]\d?))?)?")


def source(text: str) -> Source | None:
    """A v2 place; None when it is none."""
    within = _WITHIN.fullmatch(text)
    if within is not None and within[1] in DATATYPES:
        return Source(datatype=within[1], component=int(within[2] or 0), sub=int(within[3] or 0))
    found = _SEGMENT.fullmatch(text)
    if found is None:
        return None
    return Source(found[1], int(found[2] or 0), int(found[3] or 0), int(found[4] or 0))


def v2_lines(fields: Node, tables: Tables, *, used: tuple[Line, ...] | None = None, use: str = "", within: str = "") -> tuple[Line, ...]:
    """``used``: the lines of the mapping whose documents these fields make; ``within``: ``segment`` or ``datatype`` of the
    enclosing group."""
    made = []
    known = {line.name: line for line in used} if used is not None else None
    for name, node in fields.items():
        like = None
        if known is not None:
            like = known.get(name)
            if like is None:
                owner = f"mapping '{use}' of site '{tables.site}'" if tables.site else f"mapping '{use}'"
                tables.mistakes.append(fields.mistake(f"{owner} has no field '{name}'{likely(name, known)}", name))
                continue
        line = _v2_line(name, node, fields, tables, like, use, within)
        if line is not None:
            made.append(line)
    return tuple(made)


def _v2_line(name: str, node: Node, fields: Node, tables: Tables, like: Line | None, use: str, within: str) -> Line | None:
    wrong = tables.mistakes.append
    if not isinstance(node.value, dict):
        wrong(node.mistake("a line is {v2: place, ...}"))
        return None
    good = _keys(node, V2_KEYS, tables)
    sources = _sources(node.get("v2"), tables)
    if sources is None:
        return None
    line = Line(name, node, sources=sources, many=yes(node.get("many"), tables), need=yes(node.get("need"), tables),
                why=(node.get("why") or node).text or "")  # fmt: skip
    if node.value.keys() & {"pick", "when", "unless"}:
        line = replace(
            line, pick=_match(node.get("pick"), tables), when=_match(node.get("when"), tables), unless=_match(node.get("unless"), tables)
        )
    inner = node.get("fields")
    if inner is not None:
        used, name_used = (like.fields if like is not None else None), use
        named = _text(node.get("use"), tables)
        if named is not None:
            used, name_used = tables.mapping(named), named
            if used is None:
                wrong(node.mistake(f"there is no mapping '{named}'{likely(named, tables.mapping_names())}", "use"))
                return None
        if not isinstance(inner.value, dict):
            wrong(inner.mistake("'fields' holds lines, one per case field"))
            return None
        if line.many and not sources:
            wrong(fields.mistake("a list is read from a segment or a field: say v2", name))
            return None
        if sources and any(isinstance(one, dict) for one in sources):
            wrong(node.mistake("a group is read from segments or fields, not from fixed words", "v2"))
            return None
        kinds = {_repeats(one) for one in sources if isinstance(one, Source)}
        if len(kinds) > 1:
            wrong(node.mistake("name either segments or fields, not both", "v2"))
            return None
        return replace(
            line, fields=v2_lines(inner, tables, used=used, use=name_used, within=next(iter(kinds), within)), kind="group", use=named
        )
    if not sources and node.get("else") is None:
        if good:
            wrong(fields.mistake("has neither 'v2' nor 'else'", name))
        return None
    as_ = node.get("as")
    kinds_ = tuple(as_.texts() or ()) if as_ is not None else ("text",)
    for one in kinds_:
        if one not in AS_V2:
            wrong(node.mistake(f"'{one}' is not one of {', '.join(AS_V2)}{likely(one, AS_V2)}", "as"))
            return None
    if len(kinds_) not in (1, len(sources)) or not kinds_:
        wrong(node.mistake("say 'as' once, or once per place", "as"))
        return None
    for place in sources:
        for spot in place if isinstance(place, dict) else (place,):
            if spot.segment and not spot.field and not isinstance(place, dict):
                wrong(node.mistake(f"'{spot}' is a whole segment: name a field of it", "v2"))
                return None
            if spot.datatype and within != "datatype":
                wrong(node.mistake(f"'{spot}' is a place within a repetition: it belongs into a list over a field", "v2"))
                return None
    codes = node.get("codes")
    table = None
    if codes is not None:
        table = tables.codes(codes.text or "")
        if table is None:
            wrong(codes.mistake(f"there is no codes/{codes.text}.json{likely(codes.text or '', tables.code_names())}"))
            return None
        if like is not None and like.kind == "code":
            for group in table.groups:
                for code, (target, _) in group.rows.items():
                    if not any(coder.targets(target.code) for coder in like.coders):
                        wrong(
                            codes.mistake(
                                f"codes/{codes.text}.json: '{code}' -> '{target.code}' is not a word of "
                                f"codes/{like.codes.name if like.codes else ''}.json"
                            )
                        )
    kind = like.kind if like is not None else {"number": "number", "boolean": "boolean"}.get(kinds_[0], "text")
    default: Any = None
    given = node.get("else")
    if given is not None:
        default = typed(given.text or "", kind) if kind in MUST else given.text
        if default is None or (like is not None and like.kind == "code" and not any(c.targets(str(default)) for c in like.coders)):
            wrong(given.mistake(f"'{given.text}' does not fit '{name}' of mapping '{use}'"))
    return replace(
        line, codes=table, as_=kinds_, default=default, kind=kind,
        keeps_text=like is None or (like.kind == "code" and like.coders[0].shape != "code"),
    )  # fmt: skip


def _repeats(one: Source) -> str:
    return "segment" if one.segment and not one.field else "datatype"


def _sources(node: Node | None, tables: Tables) -> tuple[Source | dict[Source, str], ...] | None:
    if node is None:
        return ()
    made: list[Source | dict[Source, str]] = []
    for one in node.value if isinstance(node.value, list) else [node]:
        if isinstance(one.value, dict):
            words: dict[Source, str] = {}
            for text, word in one.items():
                place = source(text)
                if place is None or word.text is None:
                    tables.mistakes.append(one.mistake(f"'{text}' is not a place of HL7 v2 (PV1-36.1)", text))
                    return None
                words[place] = word.text
            made.append(words)
            continue
        place = source(one.text or "")
        if place is None:
            tables.mistakes.append(one.mistake(f"'{one.text}' is not a place of HL7 v2 (PID-5.1, DG1, or CX.1 within a list)"))
            return None
        made.append(place)
    return tuple(made)


def _match(node: Node | None, tables: Tables) -> tuple[tuple[Source, frozenset[str]], ...]:
    if node is None:
        return ()
    made = []
    if not isinstance(node.value, dict):
        tables.mistakes.append(node.mistake("a place and the value it must have: {PV1-2: P}"))
        return ()
    for text, values in node.items():
        place, wanted = source(text), values.texts()
        if place is None or wanted is None:
            tables.mistakes.append(node.mistake(f"'{text}' is not a place of HL7 v2 with a value or a list of values", text))
            continue
        made.append((place, frozenset(wanted)))
    return tuple(made)
