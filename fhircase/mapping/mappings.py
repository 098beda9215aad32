"""All mappings of a folder, loaded and checked at once.

mappings/*.yaml            mappings            mappings/codes/*.json       code tables (ConceptMap)
mappings/templates/*.yaml  what is proposed    mappings/sites/<site>/…     what differs at one site (same layout)
mappings/models.json       where models and kinds of case management differ from our own (optional)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as TableOf
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from fhircase.errors import Problem
from fhircase.fhir import jsontext
from fhircase.fhir.definitions import Release
from fhircase.mapping import codes as code_tables
from fhircase.mapping import definitions, models
from fhircase.mapping.codes import Codes
from fhircase.mapping.lines import FILE_KEYS, Line, Tables, always_members, fhir_lines, of_release, v2_lines
from fhircase.mapping.mapping import Lines, Mapping
from fhircase.mapping.mistakes import MappingErrors, Mistake, likely
from fhircase.mapping.yamltext import Node, read

OPENED = "opened"
"""The route of a template for a case that is opened by hand."""

_TEMPLATE_KEYS = ("template", "about", "kind", "routes", "goals", "services")


@dataclass(frozen=True, slots=True)
class Template:
    """What a discharge proposes (DECISIONS 9): case documents of the mappings ``goal`` and ``service``, without client, id and
    state of proposal. ``name`` is what Provenance names."""

    name: str
    goals: tuple[dict[str, Any], ...] = ()
    services: tuple[dict[str, Any], ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A named case document of a mapping file, with the FHIR resource (a file) or the v2 message that it belongs to."""

    name: str
    node: Node
    case: dict[str, Any]
    fhir: Any = None
    v2: str | None = None


@dataclass(slots=True)
class _Site:
    """One folder: the base (``name`` '') or a site."""

    name: str
    folder: Any
    shown: str
    nodes: dict[str, Node] = field(default_factory=dict)
    codes: dict[str, Codes] = field(default_factory=dict)
    lines: dict[str, tuple[Line, ...]] = field(default_factory=dict)
    mappings: dict[str, Mapping] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)


def default_folder() -> Any:
    """``fhircase/_mappings`` of an installed wheel, else the checkout's ``mappings``."""
    packed = files("fhircase").joinpath("_mappings")
    if packed.is_dir():
        return packed
    return files("fhircase").joinpath("..", "mappings")


class Mappings:
    """``folder``: where they came from. ``models``: the overrides of ``case.models`` that ``models.json`` holds; {} without one."""

    def __init__(
        self, sites: dict[str, _Site], templates: dict[tuple[str, str], Template], folder: Any, models: TableOf[str, Any]
    ) -> None:
        self._sites = sites
        self._templates = templates
        self.folder = folder
        self.models = models

    @classmethod
    def load(cls, path: Path | str | None = None) -> Mappings:
        """Read and check every file. ``path`` None: those that came with the package. A folder of which every file holds what it
        held before, byte for byte, gives the same object again: nothing in it changes. Raises MappingErrors with every mistake
        of every file; FileNotFoundError when there is no such folder."""
        folder: Any = Path(path) if path is not None else default_folder()
        if not folder.is_dir():
            raise FileNotFoundError("there is no folder of mappings at the path given")
        content = (str(folder), *_content(folder, ""))
        found = _loaded.get(content)
        if found is None:
            # All that is made here stays: a collector would look through it forty times and find nothing.
            collecting = gc.isenabled()
            gc.disable()
            try:
                found = cls._read(folder)
            finally:
                if collecting:
                    gc.enable()
            if len(_loaded) >= _MOST_LOADED:
                _loaded.clear()
            _loaded[content] = found
        return found

    @classmethod
    def _read(cls, folder: Any) -> Mappings:
        mistakes: list[Mistake] = []
        base = _Site("", folder, "mappings")
        sites = {"": base}
        above = folder.joinpath("sites")
        for one in sorted(above.iterdir(), key=lambda one: one.name) if above.is_dir() else ():
            if one.is_dir():
                sites[one.name] = _Site(one.name, one, f"mappings/sites/{one.name}")
        for site in sites.values():
            _read_codes(site, mistakes)
            _read_nodes(site, mistakes)
        for site in sites.values():
            known = {table.url: table for table in (*base.codes.values(), *site.codes.values()) if table.url}
            code_tables.follow(site.codes.values(), known, mistakes)
            site.touched = _touched(site, base)
            for name in (*site.nodes, *sorted(site.touched)):
                _build(name, site, base, mistakes)
        templates = _read_templates(folder, base, mistakes)
        differing = _read_models(folder, base, mistakes)
        if mistakes:
            raise MappingErrors(mistakes)
        return cls(sites, templates, folder, differing)

    def names(self) -> list[str]:
        return sorted(self._sites[""].mappings)

    def tables(self) -> list[str]:
        """The common code tables."""
        return sorted(self._sites[""].codes)

    def sites(self) -> list[str]:
        return sorted(name for name in self._sites if name)

    def mapping(self, name: str, site: str | None = None) -> Mapping:
        """The site's own, else the common one. Raises KeyError for a name that is not there; an unknown site has nothing
        of its own."""
        own = self._sites.get(site or "")
        if own is not None and name in own.mappings:
            return own.mappings[name]
        return self._sites[""].mappings[name]

    def codes(self, name: str, site: str | None = None) -> Codes:
        """Raises KeyError for a table that is not there."""
        own = self._sites.get(site or "")
        if own is not None and name in own.codes:
            return own.codes[name]
        return self._sites[""].codes[name]

    def mistakes(self) -> tuple[Mistake, ...]:
        """Those of the releases that ``load`` leaves until they are asked for; ``load`` has told all of R4."""
        found: set[Mistake] = set()
        for site in self._sites.values():
            for mapping in site.mappings.values():
                for release in mapping.releases:
                    try:
                        mapping.lines_of(release)
                    except MappingErrors as errors:
                        found.update(errors.mistakes)
        return tuple(sorted(found))

    def templates(self, kind: str, route: str | None) -> Template:
        """For a kind of case (``medical``) and the route of a discharge (codes/discharge-route; None: not known). A kind
        without template of its own takes the medical one; a route without one gives an empty Template."""
        wanted = route or "unknown"
        for one in (kind, "medical"):
            found = self._templates.get((one, wanted))
            if found is not None:
                return found
        return Template(f"{kind}/{wanted}")


# ------------------------------------------------------------------------------------------------ reading

#: What stands in the files of a folder → what was made of it.
_loaded: dict[tuple[Any, ...], Mappings] = {}
_MOST_LOADED = 4


def _content(folder: Any, at: str) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, by its path, and what it holds."""
    for one in sorted(folder.iterdir(), key=lambda one: str(one.name)):
        if one.name.endswith((".yaml", ".json")):
            yield f"{at}{one.name}", one.read_bytes()
        elif one.is_dir():
            yield from _content(one, f"{at}{one.name}/")


def _files(folder: Any, ending: str) -> list[Any]:
    if not folder.is_dir():
        return []
    return sorted((one for one in folder.iterdir() if one.name.endswith(ending) and one.is_file()), key=lambda one: one.name)


def _text(file: Any, shown: str, mistakes: list[Mistake]) -> str | None:
    try:
        return str(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        mistakes.append(Mistake(shown, 1, 1, "", "not UTF-8"))
        return None


def _read_codes(site: _Site, mistakes: list[Mistake]) -> None:
    for file in _files(site.folder.joinpath("codes"), ".json"):
        shown = f"{site.shown}/codes/{file.name}"
        text = _text(file, shown, mistakes)
        if text is None:
            continue
        name = file.name.removesuffix(".json")
        table = code_tables.read(text, name, shown, mistakes)
        if table is not None:
            site.codes[name] = table


def _read_models(folder: Any, base: _Site, mistakes: list[Mistake]) -> TableOf[str, Any]:
    file, shown = folder.joinpath(models.FILE), f"mappings/{models.FILE}"
    text = _text(file, shown, mistakes) if file.is_file() else None
    return models.read(text, shown, base.codes, mistakes) if text is not None else {}


def _read_nodes(site: _Site, mistakes: list[Mistake]) -> None:
    for file in _files(site.folder, ".yaml"):
        shown = f"{site.shown}/{file.name}"
        text = _text(file, shown, mistakes)
        node = read(text, shown, mistakes) if text is not None else None
        if node is None:
            continue
        if not isinstance(node.value, dict):
            mistakes.append(node.mistake("a mapping file is keys and values: mapping, fhir or v2, fields"))
            continue
        name = file.name.removesuffix(".yaml")
        for key in node.value:
            if key not in FILE_KEYS:
                mistakes.append(node.mistake(f"'{key}' is not known here{likely(key, FILE_KEYS)}", key))
        named = node.get("mapping")
        if named is None:
            mistakes.append(node.mistake(f"has no 'mapping': say mapping: {name}"))
        elif named.text != name:
            mistakes.append(named.mistake(f"'{named.text}' stands in {file.name}: the name and the file must agree"))
        site.nodes[name] = node


def _build(name: str, site: _Site, base: _Site, mistakes: list[Mistake]) -> tuple[Line, ...] | None:
    """The lines of one mapping of one site, compiled once; None when there is no such mapping or it leans on itself."""
    owner = site if name in site.nodes or name in site.touched else base
    if name in owner.lines:
        return owner.lines[name]
    if name not in (owner.nodes if name not in owner.touched else base.nodes) or name in owner.busy:
        return None
    owner.busy.add(name)
    own = owner.nodes.get(name) or base.nodes[name]
    node = _merged(name, own, owner, base, mistakes) if owner is not base else own
    if owner is base and own.get("extends") is not None:
        mistakes.append(own.mistake("only a site's mapping extends another", "extends"))

    tables = Tables(
        codes=lambda wanted: owner.codes.get(wanted) or base.codes.get(wanted),
        code_names=lambda: [*owner.codes, *base.codes],
        mapping=lambda wanted: _build(wanted, owner, base, mistakes),
        mapping_names=lambda: [*owner.nodes, *base.nodes],
        mistakes=mistakes,
        site=owner.name,
    )
    before = len(mistakes)
    fields = node.get("fields")
    v2 = node.get("v2")
    fhir = of_release(node.get("fhir"), tables)
    lines: tuple[Line, ...] = ()
    always: tuple[Any, ...] = ()
    if fields is None or not isinstance(fields.value, dict):
        mistakes.append(node.mistake("has no 'fields'") if fields is None else fields.mistake("'fields' holds lines, one per case field"))
    elif (fhir is None) == (v2 is None):
        mistakes.append(node.mistake("say either 'fhir: <resource type>' or 'v2: <message type>'"))
    elif fhir is not None:
        given = _lines(node, tables)
        if given is not None:
            lines, always = given.lines, given.always
    else:
        lines = v2_lines(fields, tables)
    owner.lines[name] = lines
    owner.busy.discard(name)
    if len(mistakes) == before and fields is not None:
        about = node.get("about")
        mapping = Mapping(
            name, lines=lines, fhir=fhir.text if fhir is not None else None, v2=v2.text if v2 is not None else None,
            about=(about.text or "") if about is not None else "", site=owner.name or None, always=always,
            releases={one: _later(node, tables, one) for one in _served(node, mistakes) if one != "R4"} if fhir is not None else None,
        )  # fmt: skip
        mapping.examples = tuple(_examples(own, mapping, owner, mistakes)) if name in owner.nodes else ()
        owner.mappings[name] = mapping
    return lines


def _lines(node: Node, tables: Tables) -> Lines | None:
    """The lines of a FHIR mapping in the release of ``tables``; what is wrong is noted there."""
    fhir, fields = of_release(node.get("fhir"), tables), node.get("fields")
    type_ = (fhir.text or "") if fhir is not None else ""
    if fields is None or not definitions.is_resource(type_, tables.release):
        what = f"'{type_}' is not a resource type of {tables.release}{likely(type_, definitions.resources(tables.release))}"
        tables.mistakes.append((fhir or node).mistake(what))
        return None
    always = tuple(always_members(node.get("always"), type_, tables))
    given = frozenset(path.choice or path.hops[0].key for path, _ in always)
    return Lines(type_, fhir_lines(fields, type_, tables, given), always)


def _later(node: Node, tables: Tables, release: Release) -> Callable[[], Lines]:
    """The lines of a release that few ask for, read when it is. Raises MappingErrors."""

    def lines() -> Lines:
        mistakes: list[Mistake] = []
        found = _lines(node, replace(tables, mistakes=mistakes, release=release))
        if mistakes or found is None:
            raise MappingErrors(mistakes)
        return found

    return lines


def _served(node: Node, mistakes: list[Mistake]) -> list[Release]:
    """``releases``: all, or those that a file says; a release left out has a ``why``."""
    named = node.get("releases")
    if named is None:
        return list(definitions.RELEASES)
    texts = named.texts() or []
    for text in texts:
        if text not in definitions.RELEASES:
            mistakes.append(named.mistake(f"'{text}' is not a release ({', '.join(definitions.RELEASES)})"))
    if "R4" not in texts:
        mistakes.append(named.mistake("R4 is always served: say releases: [R4], or leave it out for all"))
    if len(texts) < len(definitions.RELEASES) and node.get("why") is None:
        mistakes.append(named.mistake("a file that leaves a release out says 'why'"))
    return [release for release in definitions.RELEASES if release in texts]


def _touched(site: _Site, base: _Site) -> set[str]:
    """Common mappings that a site has no file for but reads through code tables or mappings of its own."""
    if site is base:
        return set()
    leans = {name: _leans(node) for name, node in base.nodes.items()}
    changed = set(site.nodes)
    touched: set[str] = set()
    while True:
        more = {name for name, (codes, uses) in leans.items() if name not in changed and (codes & site.codes.keys() or uses & changed)}
        if not more:
            return touched
        touched |= more
        changed |= more


def _leans(node: Node) -> tuple[set[str], set[str]]:
    """The code tables and the mappings that a file names."""
    codes: set[str] = set()
    uses: set[str] = set()
    for key, one in node.items():
        if key == "codes" and one.text is not None:
            codes.add(one.text)
        elif key == "use" and one.text is not None:
            uses.add(one.text)
        else:
            below = _leans(one)
            codes |= below[0]
            uses |= below[1]
    return codes, uses


def _merged(name: str, own: Node, site: _Site, base: _Site, mistakes: list[Mistake]) -> Node:
    """A site's file laid over the common one: line by line, ``drop`` takes one away."""
    extends = own.get("extends")
    if extends is None:
        return own
    under = base.nodes.get(extends.text or "")
    if under is None:
        mistakes.append(extends.mistake(f"there is no mapping '{extends.text}'{likely(extends.text or '', base.nodes)}"))
        return own
    value = {**under.value, **{key: node for key, node in own.value.items() if key not in ("extends", "fields", "always")}}
    for part in ("always", "fields"):
        below, above = under.get(part), own.get(part)
        if above is None:
            continue
        if below is None or not isinstance(above.value, dict):
            value[part] = above
        else:
            value[part] = _laid(below, above, mistakes)
    value.pop("examples", None)
    return Node(value, own.file, own.line, own.column, own.path, {**under.keys, **own.keys})


def _laid(below: Node, above: Node, mistakes: list[Mistake]) -> Node:
    value, keys = dict(below.value), dict(below.keys)
    for name, node in above.value.items():
        if node.text == "drop":
            if name not in value:
                mistakes.append(above.mistake(f"there is no '{name}' to drop{likely(name, value)}", name))
            value.pop(name, None)
            continue
        old = value.get(name)
        both = old is not None and isinstance(old.value, dict) and isinstance(node.value, dict)
        if both and old is not None and "fields" in node.value and "fhir" not in node.value and "v2" not in node.value:
            inner = old.get("fields")
            merged = {**old.value, **node.value}
            if inner is not None:
                merged["fields"] = _laid(inner, node.value["fields"], mistakes)
            value[name] = Node(merged, node.file, node.line, node.column, node.path, {**old.keys, **node.keys})
        else:
            value[name] = node
        keys[name] = above.keys[name]
    return Node(value, above.file, above.line, above.column, above.path, keys)


def _examples(node: Node, mapping: Mapping, site: _Site, mistakes: list[Mistake]) -> list[Example]:
    made: list[Example] = []
    given = node.get("examples")
    if given is None:
        return made
    if not isinstance(given.value, list):
        mistakes.append(given.mistake("'examples' is a list of {name, case, fhir or v2}"))
        return made
    for one in given.value:
        name, case = one.get("name"), one.get("case")
        for key in one.value if isinstance(one.value, dict) else ():
            if key not in ("name", "case", "fhir", "v2"):
                mistakes.append(one.mistake(f"'{key}' is not known here{likely(key, ('name', 'case', 'fhir', 'v2'))}", key))
        if name is None or name.text is None or case is None or not isinstance(case.value, dict):
            mistakes.append(one.mistake("an example has a name and a case"))
            continue
        resource = None
        fhir, v2 = one.get("fhir"), one.get("v2")
        if fhir is not None:
            file = site.folder.joinpath(fhir.text or "")
            if not file.is_file():
                mistakes.append(fhir.mistake(f"there is no file '{fhir.text}'"))
            else:
                resource = jsontext.loads(file.read_bytes())
        made.append(Example(name.text, one, mapping.example(case.plain()), resource, v2.text if v2 is not None else None))
    return made


# ------------------------------------------------------------------------------------------------ templates


def _read_templates(folder: Any, base: _Site, mistakes: list[Mistake]) -> dict[tuple[str, str], Template]:
    made: dict[tuple[str, str], Template] = {}
    routes = (
        {target.code for group in base.codes["discharge-route"].groups for target, _ in group.rows.values()}
        if "discharge-route" in base.codes
        else set()
    )
    for file in _files(folder.joinpath("templates"), ".yaml"):
        shown = f"mappings/templates/{file.name}"
        text = _text(file, shown, mistakes)
        node = read(text, shown, mistakes) if text is not None else None
        if node is None:
            continue
        for key in node.value if isinstance(node.value, dict) else ():
            if key not in _TEMPLATE_KEYS:
                mistakes.append(node.mistake(f"'{key}' is not known here{likely(key, _TEMPLATE_KEYS)}", key))
        name, kind, named = node.get("template"), node.get("kind"), node.get("routes")
        wanted = named.texts() if named is not None else None
        if name is None or name.text is None or kind is None or kind.text is None or not wanted:
            mistakes.append(node.mistake("a template has 'template' (its name), 'kind' (of case) and 'routes'"))
            continue
        about = node.get("about")
        template = Template(
            name.text,
            _documents(node.get("goals"), "goal", base, mistakes),
            _documents(node.get("services"), "service", base, mistakes),
            (about.text or "") if about is not None else "",
        )
        for route in wanted:
            if routes and route not in routes and route not in ("unknown", OPENED) and named is not None:
                mistakes.append(named.mistake(f"'{route}' is not a route of codes/discharge-route.json{likely(route, routes)}"))
            if (kind.text, route) in made:
                mistakes.append(node.mistake(f"kind '{kind.text}' and route '{route}' have a template already"))
            made[kind.text, route] = template
    return made


def _documents(node: Node | None, name: str, base: _Site, mistakes: list[Mistake]) -> tuple[dict[str, Any], ...]:
    if node is None:
        return ()
    mapping = base.mappings.get(name)
    if mapping is None or not isinstance(node.value, list):
        mistakes.append(node.mistake(f"a list of documents of the mapping '{name}' is wanted"))
        return ()
    made = []
    for one in node.value:
        if not isinstance(one.value, dict):
            mistakes.append(one.mistake("a document is wanted"))
            continue
        doc = mapping.example(one.plain())
        for problem in mapping.out(doc).problems:
            if problem.code != "required":
                place = one.get(problem.path.partition("[")[0].partition(".")[0]) or one
                mistakes.append(place.mistake(f"{problem.path}: {problem.what}"))
        made.append(doc)
    return tuple(made)


# ------------------------------------------------------------------------------------------------ for people


def check(path: Path | str | None = None) -> list[str]:
    """Load everything and run every example both ways: a line for each, the mistakes or the count last. A line that begins
    with ``ok`` is good, every other but the last is not."""
    try:
        maps = Mappings.load(path)
    except MappingErrors as errors:
        return [*(str(one) for one in errors.mistakes), f"{len(errors.mistakes)} mistakes"]
    from fhircase.mapping import examples

    mistakes = maps.mistakes()
    if mistakes:
        return [*(str(one) for one in mistakes), f"{len(mistakes)} mistakes"]
    lines: list[str] = []
    bad = 0
    for site in ("", *maps.sites()):
        for name in sorted(maps._sites[site].mappings):
            mapping = maps.mapping(name, site)
            for one in mapping.examples:
                problems = examples.run(mapping, one)
                served = f" [{', '.join(mapping.releases)}]" if mapping.releases else ""
                title = f"{name}{f' ({site})' if site else ''}: {one.name}{served}"
                lines.append(f"ok   {title}" if not problems else f"FAIL {title}")
                lines.extend(f"     {problem}" for problem in problems)
                bad += bool(problems)
    lines.append(f"{len([line for line in lines if not line.startswith(' ')])} examples, {bad} with problems")
    return lines


def show(name: str, site: str | None = None, path: Path | str | None = None, release: Release = "R4") -> list[str]:
    """The lines in force for a mapping, each with the file and line that it comes from; a code table of the site's own with its
    file. Raises KeyError for an unknown mapping, ValueError for a release that it does not serve."""
    mapping = Mappings.load(path).mapping(name, site)
    lines = [f"{mapping.name}: {mapping.about.strip() or (mapping.fhir or mapping.v2)}"]

    def told(these: Sequence[Line], indent: str) -> None:
        for line in these:
            where = (
                line.paths[0].text
                if line.paths
                else ", ".join(str(one) if not isinstance(one, dict) else " / ".join(map(str, one)) for one in line.sources)
            )
            extra = [f"codes {line.codes.name}{f' ({line.codes.file})' if '/sites/' in line.codes.file else ''}"] if line.codes else []
            extra += [f"ref {', '.join(line.ref)}"] if line.ref else []
            extra += ["need"] if line.need else []
            extra += [f"else {line.default}"] if line.default is not None else []
            extra += [f"only {line.only}"] if line.only else []
            extra += [f"when {one.text} is {' or '.join(sorted(map(str, wanted)))}" for one, wanted in line.if_]
            extra += [f"# {line.why}"] if line.why else []
            left = f"{indent}{line.name}"
            lines.append(f"{left:28} {where:60} {'; '.join(extra):40} {line.node.file}:{line.node.line}".rstrip())
            told(line.fields or (), indent + "  ")

    told(mapping.lines_of(release) if mapping.fhir is not None else mapping.lines, "  ")
    return lines


def try_(name: str, file: Path | str, path: Path | str | None = None, release: Release = "R4") -> list[str]:
    """Run one file through a mapping, there and back: a resource (JSON with resourceType) with the list of what is not read, a
    case document (JSON), or an HL7 v2 message, which is only read. Raises KeyError for an unknown mapping, ValueError for a
    release that it does not serve, Malformed for a file that cannot be read."""
    from fhircase import hl7v2

    mapping = Mappings.load(path).mapping(name)
    raw = Path(file).read_bytes()

    def problems(found: Sequence[Problem]) -> list[str]:
        return [f"{one.severity}: {one.path}: {one.what}" for one in found]

    def back(what: str, wanted: Any, got: Any) -> list[str]:
        same = jsontext.dumps(got) == jsontext.dumps(wanted)
        return [f"{what}: the same" if same else f"{what}: {jsontext.dumps(got)}"]

    if mapping.v2 is not None:
        heard = mapping.read(hl7v2.parse(raw))
        lines = [jsontext.dumps(heard.doc)]
        lines += [f"{case} <- {place.place}{' (changed)' if place.raw is not None else ''}" for case, place in heard.origins.items()]
        return lines + problems(heard.problems)
    value = jsontext.loads(raw)
    if isinstance(value, dict) and "resourceType" in value:
        read_ = mapping.into(value, release=release)
        written = mapping.out(read_.doc, onto=value, release=release)
        lines = [jsontext.dumps(read_.doc), *(f"not read: {one}" for one in read_.loss), *problems(read_.problems)]
        return lines + back("written back onto it", value, written.resource) + problems(written.problems)
    made = mapping.out(value, release=release)
    again = mapping.into(made.resource, release=release)
    lines = [jsontext.dumps(made.resource), *problems(made.problems)]
    return lines + back("read back", _ordered(value, mapping.lines_of(release)), again.doc) + problems(again.problems)


def _ordered(doc: Any, lines: Sequence[Line]) -> Any:
    """A document with its fields in the order of the lines, as reading gives them."""
    if isinstance(doc, list):
        return [_ordered(one, lines) for one in doc]
    if not isinstance(doc, dict):
        return doc
    known = {line.name: _ordered(doc[line.name], line.fields or ()) for line in lines if line.name in doc}
    return known | {name: one for name, one in doc.items() if name not in known}
