"""FHIR ↔ case: the lines of a mapping compiled to closures, once, at load.

A *scope* is a set of lines over one JSON object (the resource, or one entry of a list). Each line knows four things: ``get``
its value, ``put`` it into a fresh object, ``edit`` it in an object that is already there, and ``drop`` it. ``edit`` is only
called where the value differs, so that what was sent stays as it was sent (GetPut)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhircase.errors import Problem
from fhircase.mapping import definitions
from fhircase.mapping.coder import Coder
from fhircase.mapping.lines import Line
from fhircase.mapping.mistakes import likely
from fhircase.mapping.paths import Hop, Path
from fhircase.mapping.values import FITS, MUST, copied, target_of

Json = dict[str, Any]
Problems = list[Problem]
Skip = Callable[[Any], bool]

#: Data types whose entry is one value in a message: a new address does not keep the old one's district.
_VALUES = frozenset({"Address", "HumanName", "ContactPoint", "CodeableConcept", "Coding", "Period", "Quantity", "Annotation"})


@dataclass(frozen=True, slots=True)
class Unit:
    """One compiled line."""

    name: str
    line: Line
    get: Callable[[Json, Problems], Any]
    put: Callable[[Json, Any, Problems], None]
    edit: Callable[[Json, Any, Any, Problems, bool], None]
    drop: Callable[[Json], None]
    need: bool
    default: Any
    scope: Scope | None = None
    holds: Callable[[Json], bool] | None = None


# ------------------------------------------------------------------------------------------------ cursors


def _entry(items: Any, hop: Hop) -> Json | None:
    if type(items) is not list:
        return None
    if hop.fixed:
        for item in items:
            if type(item) is dict and all(item.get(name) == value for name, value in hop.fixed):
                return item
        return None
    if hop.index < len(items):
        item = items[hop.index]
        return item if type(item) is dict else None
    return None


def finder(hops: Sequence[Hop]) -> Callable[[Json], Json | None]:
    """Down to the object at the last hop; None where there is none."""
    if not hops:
        return lambda node: node
    if len(hops) == 1 and not hops[0].many:
        key = hops[0].key

        def find_one(node: Json) -> Json | None:
            child = node.get(key)
            return child if type(child) is dict else None

        return find_one
    steps = tuple(hops)

    def find(node: Json) -> Json | None:
        here: Json | None = node
        for hop in steps:
            child = here.get(hop.key)  # type: ignore[union-attr]
            here = _entry(child, hop) if hop.many else child if type(child) is dict else None
            if here is None:
                return None
        return here

    return find


def maker(hops: Sequence[Hop]) -> Callable[[Json], Json]:
    """Down to the object at the last hop, made where there is none."""
    if not hops:
        return lambda node: node
    if len(hops) == 1 and not hops[0].many:
        key = hops[0].key

        def make_one(node: Json) -> Json:
            child = node.get(key)
            if type(child) is not dict:
                child = node[key] = {}
            return child

        return make_one
    steps = tuple(hops)

    def make(node: Json) -> Json:
        here = node
        for hop in steps:
            child = here.get(hop.key)
            if not hop.many:
                if type(child) is not dict:
                    child = here[hop.key] = {}
                here = child
                continue
            if type(child) is not list:
                child = here[hop.key] = []
            entry = _entry(child, hop)
            if entry is None:
                if hop.fixed:
                    entry = dict(hop.fixed)
                    child.append(entry)
                else:
                    while len(child) <= hop.index:
                        child.append({})
                    entry = child[hop.index]
                    if type(entry) is not dict:
                        entry = child[hop.index] = {}
            here = entry
        return here

    return make


def prune(node: Json, hops: Sequence[Hop]) -> None:
    """Take away what a removal left empty on the way."""
    if not hops:
        return
    hop = hops[0]
    child = node.get(hop.key)
    if hop.many:
        entry = _entry(child, hop)
        if entry is None:
            return
        prune(entry, hops[1:])
        if not entry or entry.keys() <= {name for name, _ in hop.fixed}:
            child.remove(entry)  # type: ignore[union-attr]
        if not child:
            del node[hop.key]
    elif type(child) is dict:
        prune(child, hops[1:])
        if not child:
            del node[hop.key]


# ------------------------------------------------------------------------------------------------ items


@dataclass(frozen=True, slots=True)
class Item:
    """How one element is read and written, wherever it stands. ``read`` gives None for what cannot be read as a case value;
    ``fresh`` None when it cannot be written; ``update`` changes an element that is there; ``rest`` gives what stays of an element
    whose value goes (another line's part)."""

    read: Callable[[Any, Problems, str], Any]
    fresh: Callable[[Any, Problems, str], Any]
    update: Callable[[Any, Any, Any, Problems, str], Any]
    knows: Callable[[Any], bool] = lambda element: True
    rest: Callable[[Any], Any] | None = None


def _bad(problems: Problems, name: str, what: str, hint: str = "") -> None:
    problems.append(Problem(what, name, hint, "value"))


def _apart(item: Item, owned: Sequence[tuple[tuple[str, str], ...]]) -> Item:
    """An item over a CodeableConcept some of whose codings are another line's, who names them by where()."""

    def theirs(coding: Any) -> bool:
        return type(coding) is dict and any(all(coding.get(name) == value for name, value in fixed) for fixed in owned)

    def split(element: Any) -> tuple[Any, list[Any]]:
        codings = element.get("coding") if type(element) is dict else None
        if type(codings) is not list:
            return element, []
        others = [one for one in codings if theirs(one)]
        if not others:
            return element, others
        ours = [one for one in codings if not theirs(one)]
        return {**{key: value for key, value in element.items() if key != "coding"}, **({"coding": ours} if ours else {})}, others

    def update(element: Any, value: Any, before: Any, problems: Problems, at: str) -> Any:
        ours, others = split(element)
        made = item.update(ours, value, before, problems, at) if ours else item.fresh(value, problems, at)
        if made is not None and others:
            made = {**made, "coding": [*made.get("coding", []), *others]}
        return made

    def rest(element: Any) -> Any:
        others = split(element)[1]
        return {"coding": others} if others else None

    return Item(lambda element, problems, at: item.read(split(element)[0], problems, at), item.fresh, update, item.knows, rest)


def primitive_item(path: Path, name: str) -> Item:
    kind = path.kind or "text"
    fits, must = FITS[kind], MUST[kind]
    allowed = frozenset(path.element.codes)
    where = path.text
    if kind == "text":
        # Whatever text was sent is read, and kept, as it is; what a document says must be worth writing.
        held: Callable[[Any], bool] = lambda value: type(value) is str  # noqa: E731
    elif kind in ("date", "dateTime", "instant"):
        held = lambda value: type(value) is str  # noqa: E731
    else:
        held = fits

    def read(element: Any, problems: Problems, at: str) -> Any:
        if held(element):
            return element
        if element is not None:
            problems.append(Problem(f"is not {must}", where, "", "value", "warning"))
        return None

    def fresh(value: Any, problems: Problems, at: str) -> Any:
        if not fits(value):
            _bad(problems, at, f"must be {must}")
            return None
        if allowed and value not in allowed:
            problems.append(Problem("is not a code that FHIR allows here", at, "one of " + ", ".join(sorted(allowed)), "code-invalid"))
            return None
        return value

    return Item(read, fresh, lambda element, value, before, problems, at: fresh(value, problems, at))


def code_item(coder: Coder, path: Path) -> Item:
    table = f"codes/{coder.codes.name}"
    what = f"code not in {table}"
    lost = coder.shape == "code"

    def read(element: Any, problems: Problems, at: str) -> Any:
        word, known = coder.read(element)
        if not known and element is not None:
            problems.append(Problem(what, path.text, f"add it to mappings/{table}.json", "code-invalid", "warning"))
        return word

    def told(known: bool, problems: Problems, at: str) -> None:
        if not known:
            severity = "error" if lost else "warning"
            problems.append(Problem(what, at, f"use a word of mappings/{table}.json, or add it there", "code-invalid", severity))

    def fresh(value: Any, problems: Problems, at: str) -> Any:
        if type(value) is not str or not value.strip():
            _bad(problems, at, "must be a text")
            return None
        made, known = coder.write(value)
        told(known, problems, at)
        return made

    def update(element: Any, value: Any, before: Any, problems: Problems, at: str) -> Any:
        if type(value) is not str or not value.strip():
            _bad(problems, at, "must be a text")
            return None
        made, known = coder.update(element, value, before)
        told(known, problems, at)
        return made

    return Item(read, fresh, update, lambda element: coder.read(element)[1])


def _checked(types: tuple[str, ...]) -> Callable[[Any, Problems, str], str | None]:
    allowed = frozenset(types)
    hint = "write Type/id with one of " + ", ".join(types)

    def check(value: Any, problems: Problems, at: str) -> str | None:
        if type(value) is not str:
            _bad(problems, at, "must be a reference", hint)
            return None
        target = target_of(value)
        if target is None:
            _bad(problems, at, "is not a reference", hint)
            return None
        if target and target not in allowed:
            _bad(problems, at, f"cannot point to {target}", hint)
            return None
        return value

    return check


def reference_item(line: Line) -> Item:
    check = _checked(line.ref)

    def read(element: Any, problems: Problems, at: str) -> Any:
        reference = element.get("reference") if type(element) is dict else None
        return reference if type(reference) is str else None

    def fresh(value: Any, problems: Problems, at: str) -> Any:
        good = check(value, problems, at)
        return None if good is None else {"reference": good}

    return Item(read, fresh, lambda element, value, before, problems, at: fresh(value, problems, at))


# ------------------------------------------------------------------------------------------------ lines


def _single(path: Path, item: Item, name: str) -> tuple[Any, Any, Any, Any]:
    """One element, or the entry of a list that a path names."""
    *above, last = path.hops
    find, make = finder(above), maker(above)
    key, shadow = last.key, "_" + last.key
    rivals: tuple[str, ...] = ()
    if path.choice:
        rivals = tuple(k for t in path.element.types if (k := definitions.choice_key(path.choice, t)) != key)
    read, fresh, update = item.read, item.fresh, item.update
    if last.many:
        return _first(path, item, name)

    def get(node: Json, problems: Problems) -> Any:
        holder = find(node)
        if holder is None:
            return None
        element = holder.get(key)
        return None if element is None else read(element, problems, name)

    rest = item.rest

    def put(node: Json, value: Any, problems: Problems) -> None:
        element = fresh(value, problems, name)
        if element is not None:
            make(node)[key] = element

    def put_beside(node: Json, value: Any, problems: Problems) -> None:
        """Another line may have begun the element."""
        holder = make(node)
        element = update(holder.get(key), value, None, problems, name)
        if element is not None:
            holder[key] = element

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        holder = find(node)
        old = None if holder is None else holder.get(key)
        element = fresh(value, problems, name) if old is None else update(old, value, before, problems, name)
        if element is None:
            return
        holder = make(node)
        holder[key] = element
        for rival in rivals:
            holder.pop(rival, None)
            holder.pop("_" + rival, None)
        _present(holder, shadow)

    def drop(node: Json) -> None:
        holder = find(node)
        if holder is not None and (key in holder or shadow in holder):
            kept = rest(holder.get(key)) if rest is not None else None
            holder.pop(key, None)
            holder.pop(shadow, None)
            if kept is not None:
                holder[key] = kept
            prune(node, above)

    return get, put_beside if rest is not None else put, edit, drop


_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def _present(holder: Json, shadow: str) -> None:
    """A value was given: what said that there is none goes."""
    beside = holder.get(shadow)
    if type(beside) is dict and type(beside.get("extension")) is list:
        kept = [one for one in beside["extension"] if not (type(one) is dict and one.get("url") == _ABSENT)]
        if len(kept) != len(beside["extension"]):
            if kept:
                beside["extension"] = kept
            else:
                del beside["extension"]
            if not beside:
                del holder[shadow]


def _first(path: Path, item: Item, name: str) -> tuple[Any, Any, Any, Any]:
    """One value in a list: the entry that the item knows (a coding of ours among others), else at the index."""
    *above, last = path.hops
    find, make = finder(above), maker(above)
    key = last.key
    coded = path.type in ("CodeableConcept", "Coding", "code") and path.whole
    read, fresh, update, knows = item.read, item.fresh, item.update, item.knows

    def at(items: Any) -> int | None:
        if type(items) is not list:
            return None
        if not coded:
            return last.index if last.index < len(items) else None
        for index, element in enumerate(items):
            if knows(element) and read(element, [], name) is not None:
                return index
        return None

    def get(node: Json, problems: Problems) -> Any:
        holder = find(node)
        if holder is None:
            return None
        items: list[Any] = holder.get(key) or []
        index = at(items)
        return None if index is None else read(items[index], problems, name)

    def put(node: Json, value: Any, problems: Problems) -> None:
        element = fresh(value, problems, name)
        if element is not None:
            make(node).setdefault(key, []).append(element)

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        holder = find(node)
        items: list[Any] = (holder or {}).get(key) or []
        index = at(items)
        if index is None:
            put(node, value, problems)
            return
        element = update(items[index], value, before, problems, name)
        if element is None:
            return
        items[index] = element
        if coded and type(element) is dict and "coding" in element and not knows(element):
            # A text of its own beside codings of others would be read as theirs: it gets an entry to itself.
            items[index] = {member: part for member, part in element.items() if member != "text"}
            items.insert(index, fresh(value, [], name))

    def drop(node: Json) -> None:
        holder = find(node)
        if holder is None:
            return
        items: list[Any] = holder.get(key) or []
        while (index := at(items)) is not None:
            del items[index]
            if not coded:
                holder.pop("_" + key, None)
                break
        if key in holder and items == []:
            del holder[key]
            prune(node, above)

    return get, put, edit, drop


def _inside(item: Item, part: str) -> Item:
    """An entry of a list of which the line takes one part (CodeableReference: ``reference`` or ``concept``)."""

    def read(element: Any, problems: Problems, at: str) -> Any:
        held = element.get(part) if type(element) is dict else None
        return None if held is None else item.read(held, problems, at)

    def fresh(value: Any, problems: Problems, at: str) -> Any:
        made = item.fresh(value, problems, at)
        return None if made is None else {part: made}

    return Item(read, fresh, lambda element, value, before, problems, at: fresh(value, problems, at))


def _remains(part: str) -> Callable[[Any], Any]:
    """What stays of an entry whose value goes: nothing, or where a line takes only ``part`` of it, the rest."""
    if not part:
        return lambda entry: None
    return lambda entry: {key: one for key, one in entry.items() if key != part} or None


def _list(path: Path, item: Item, name: str, skip: Skip | None) -> tuple[Any, Any, Any, Any]:
    """A list of plain values, codes or references. Entries that stay are kept as they were sent; those that cannot be
    read (a reference by identifier alone) are not ours to remove."""
    *above, last = path.hops
    remains = _remains(last.key if path.inside else "")
    if path.inside:
        item = _inside(item, last.key)
        last = above.pop()
    find, make = finder(above), maker(above)
    key = last.key
    read, fresh = item.read, item.fresh

    def values(items: Any, problems: Problems) -> list[Any]:
        if type(items) is not list:
            return []
        return [None if skip is not None and skip(one) else read(one, problems, name) for one in items]

    def get(node: Json, problems: Problems) -> Any:
        holder = find(node)
        if holder is None:
            return None
        found = [one for one in values(holder.get(key), problems) if one is not None]
        return found or None

    def elements(given: Any, problems: Problems, held: Iterable[Any] = ()) -> list[tuple[Any, Any]]:
        """What is ``held`` already stays as it is, a target that the line would not write among it; it is not made."""
        if type(given) is not list:
            _bad(problems, name, "must be a list")
            return []
        left = Counter(held)
        made: list[tuple[Any, Any]] = []
        for i, value in enumerate(given):
            if left and isinstance(value, Hashable) and left[value]:
                left[value] -= 1
                made.append((value, None))
            elif (element := fresh(value, problems, f"{name}[{i}]")) is not None:
                made.append((value, element))
        return made

    def put(node: Json, value: Any, problems: Problems) -> None:
        made = [element for _, element in elements(value, problems)]
        if made:
            make(node).setdefault(key, []).extend(made)

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        holder = find(node)
        items = holder.get(key) if holder is not None else None
        items = items if type(items) is list else []
        olds = values(items, [])
        made = elements(value, problems, [old for old in olds if old is not None])
        if type(value) is not list or (not made and value):
            return
        pool: dict[Any, deque[int]] = {}
        for index, old in enumerate(olds):
            if old is not None:
                pool.setdefault(old, deque()).append(index)
        result: list[Any] = []
        order: list[tuple[int | None, Any]] = []
        for word, element in made:
            kept = pool.get(word)
            found = kept.popleft() if kept else None
            order.append((found, element if found is None else items[found]))
        stay = _staying(items, [old is not None for old in olds], {found for found, _ in order}, remains)
        others = deque(stay)
        for at, element in _placed(order, [index for index, old in enumerate(olds) if old is not None]):
            while others and at is not None and others[0] < at:
                result.append(stay[others.popleft()])
            result.append(element)
        result.extend(stay[index] for index in others)
        if result:
            target = make(node)
            target[key] = result
            target.pop("_" + key, None)
        else:
            drop(node)

    def drop(node: Json) -> None:
        holder = find(node)
        if holder is None or key not in holder:
            return
        items = holder[key] if type(holder[key]) is list else []
        kept = list(_staying(items, [old is not None for old in values(items, [])], (), remains).values())
        holder.pop("_" + key, None)
        if kept:
            holder[key] = kept
        else:
            del holder[key]
            prune(node, above)

    return get, put, edit, drop


def _staying(items: Sequence[Any], ours: Sequence[bool], used: Container[int | None], remains: Callable[[Any], Any]) -> dict[int, Any]:
    """Index → what stays of the entries that an edit does not write: those that are not ours, and what remains of ours."""
    made = {}
    for index, item in enumerate(items):
        if index not in used:
            rest = remains(item) if ours[index] else item
            if rest is not None or not ours[index]:
                made[index] = rest
    return made


def _placed(order: Sequence[tuple[int | None, Any]], places: Sequence[int]) -> list[tuple[int | None, Any]]:
    """A new entry stands where the one stood that it takes the place of, so that entries of others do not move."""
    if len(order) != len(places):
        return list(order)
    taken = {at for at, _ in order}
    return [(place if at is None and place not in taken else at, entry) for (at, entry), place in zip(order, places, strict=True)]


def _reference(path: Path, line: Line, beside: frozenset[str]) -> tuple[Any, Any, Any, Any]:
    """A Reference whose other members may have lines of their own (``display``, ``identifier``)."""
    hops = path.hops[:-1] if path.hops[-1].key == "reference" and path.type != "Reference" else path.hops
    find, make = finder(hops), maker(hops)
    check, name = _checked(line.ref), line.name

    def get(node: Json, problems: Problems) -> Any:
        element = find(node)
        reference = element.get("reference") if element is not None else None
        return reference if type(reference) is str else None

    def put(node: Json, value: Any, problems: Problems) -> None:
        good = check(value, problems, name)
        if good is not None:
            make(node)["reference"] = good

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        good = check(value, problems, name)
        if good is None:
            return
        element = make(node)
        element["reference"] = good
        for member in ("type", "identifier", "display"):
            # They named the old target. On a reference that had none they say who it is, and stay.
            if member not in beside and before is not None:
                element.pop(member, None)

    def drop(node: Json) -> None:
        element = find(node)
        if element is None or "reference" not in element:
            return
        for member in list(element):
            if member not in beside:
                del element[member]
        prune(node, hops)

    return get, put, edit, drop


def _either(line: Line) -> tuple[Any, Any, Any, Any]:
    """Types of one choice: the value says which."""
    ways = [(FITS[path.kind or "text"], _single(path, primitive_item(path, line.name), line.name)) for path in line.paths]
    musts = " or ".join(MUST[path.kind or "text"] for path in line.paths)
    name = line.name

    def get(node: Json, problems: Problems) -> Any:
        for _, (read, _, _, _) in ways:
            value = read(node, problems)
            if value is not None:
                return value
        return None

    def put(node: Json, value: Any, problems: Problems) -> None:
        for fits, (_, write, _, _) in ways:
            if fits(value):
                write(node, value, problems)
                return
        _bad(problems, name, f"must be {musts}")

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        for fits, (_, _, change, _) in ways:
            if fits(value):
                change(node, value, before, problems, partial)
                return
        _bad(problems, name, f"must be {musts}")

    def drop(node: Json) -> None:
        for _, (_, _, _, remove) in ways:
            remove(node)

    return get, put, edit, drop


def _several(line: Line) -> tuple[Any, Any, Any, Any]:
    """Several paths: all are written, the first that has a value is read; with a code table, all of them together first."""
    ways = []
    coders = line.coders or (None,) * (len(line.paths) + len(line.alsoread))
    for path, coder in zip((*line.paths, *line.alsoread), coders):
        if line.ref:
            ways.append(_reference(path, line, frozenset()))
        else:
            item = code_item(coder, path) if coder is not None else primitive_item(path, line.name)
            ways.append(_single(path, item, line.name) if not line.many else _list(path, item, line.name, None))
    written = len(line.paths)
    together = _together(line) if line.codes is not None and written > 1 else None

    def get(node: Json, problems: Problems) -> Any:
        if together is not None:
            word = together(node)
            if word is not None:
                return word
        for read, _, _, _ in ways:
            value = read(node, problems)
            if value is not None:
                return value
        return None

    def put(node: Json, value: Any, problems: Problems) -> None:
        for at, (_, write, _, _) in enumerate(ways[:written]):
            if (
                line.codes is not None
                and written > 1
                and not line.coders[at].targets(value)
                and any(c.targets(value) for c in line.coders[:written])
            ):
                continue
            write(node, value, problems)

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        for at, (read, _, change, remove) in enumerate(ways[:written]):
            if (
                line.codes is not None
                and written > 1
                and not line.coders[at].targets(value)
                and any(c.targets(value) for c in line.coders[:written])
            ):
                remove(node)
                continue
            change(node, value, read(node, []), problems, partial)

    def drop(node: Json) -> None:
        for _, _, _, remove in ways:
            remove(node)

    return get, put, edit, drop


def _together(line: Line) -> Callable[[Json], str | None]:
    """The word whose codes stand at every one of its paths."""
    raw = [(finder(path.hops[:-1]), path.hops[-1].key) for path in line.paths]
    words = line.codes.sources() if line.codes is not None else []
    expected = [(word, [coder.targets(word) for coder in line.coders[: len(line.paths)]]) for word in words]
    full = [(word, targets) for word, targets in expected if sum(1 for one in targets if one) > 1]

    def holds(element: Any, targets: Any) -> bool:
        if not targets:
            return True
        if type(element) is list:
            return any(holds(one, targets) for one in element)
        if type(element) is str:
            return bool(element == targets[0].code)
        if type(element) is dict:
            codings = element.get("coding", [element])
            return any(type(c) is dict and c.get("code") == targets[0].code and c.get("system", "") == targets[0].system for c in codings)
        return False

    def read(node: Json) -> str | None:
        elements = [holder.get(key) if (holder := find(node)) is not None else None for find, key in raw]
        for word, targets in full:
            if all(holds(element, wanted) for element, wanted in zip(elements, targets)):
                return word
        return None

    return read


# ------------------------------------------------------------------------------------------------ groups


def _hashed(value: Any) -> Any:
    return repr(value) if isinstance(value, list | dict) else value


class _Part:
    """The lines over one part of an entry, as lines over the entry."""

    def __init__(self, scope: Scope, part: str) -> None:
        self.scope = scope
        self.part = part
        self.names = scope.names

    def read(self, node: Json, problems: Problems) -> Json:
        held = node.get(self.part)
        return self.scope.read(held, problems) if type(held) is dict else {}

    def put(self, doc: Json, node: Json, problems: Problems) -> None:
        held: Json = {}
        self.scope.put(doc, held, problems)
        if held:
            node[self.part] = held

    def edit(self, doc: Json, node: Json, problems: Problems, partial: bool) -> None:
        self.scope.edit(doc, node[self.part], problems, partial)


def _group_list(path: Path, line: Line, lines: Scope, skip: Skip | None) -> tuple[Any, Any, Any, Any]:
    *above, last = path.hops
    scope: Scope | _Part = lines
    remains = _remains(last.key if path.inside else "")
    if path.inside:
        scope = _Part(lines, last.key)
        last = above.pop()
    find, make = finder(above), maker(above)
    list_key, name = last.key, line.name
    key = line.key or tuple(scope.names)
    keyed = bool(line.key)
    values = path.type in _VALUES

    def mark(doc: Json) -> tuple[Any, ...]:
        return tuple(_hashed(doc.get(one)) for one in key)

    def docs(items: Any, problems: Problems) -> list[Json | None]:
        made: list[Json | None] = []
        for index, item in enumerate(items if type(items) is list else ()):
            if type(item) is not dict or (skip is not None and skip(item)):
                made.append(None)
                continue
            had = len(problems)
            made.append(scope.read(item, problems))
            if len(problems) > had:
                _below(problems, had, f"{path.text}[{index}].")
        return made

    def get(node: Json, problems: Problems) -> Any:
        holder = find(node)
        if holder is None or list_key not in holder:
            return None
        found = [doc for doc in docs(holder[list_key], problems) if doc]
        return found or None

    def good(value: Any, problems: Problems) -> bool:
        if type(value) is not list:
            _bad(problems, name, "must be a list")
            return False
        return True

    def fresh(doc: Any, index: int, problems: Problems) -> Json | None:
        had = len(problems)
        entry: Json = {}
        if type(doc) is dict:
            scope.put(doc, entry, problems)
        else:
            _bad(problems, "", "must be an object")
        if len(problems) > had:
            _below(problems, had, f"{name}[{index}].")
        return entry or None

    def put(node: Json, value: Any, problems: Problems) -> None:
        if not good(value, problems):
            return
        made = [entry for index, doc in enumerate(value) if (entry := fresh(doc, index, problems)) is not None]
        if made:
            make(node).setdefault(list_key, []).extend(made)

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        if not good(value, problems):
            return
        holder = find(node)
        items = holder.get(list_key) if holder is not None else None
        items = items if type(items) is list else []
        olds = docs(items, [])
        upsert = partial and keyed
        pool: dict[tuple[Any, ...], deque[int]] = {}
        for index, old in enumerate(olds):
            if old:
                pool.setdefault(mark(old), deque()).append(index)
        named = {mark(doc) for doc in value if type(doc) is dict}
        matched: dict[int, Json] = {}
        order: list[tuple[int | None, Json | None]] = []
        for index, doc in enumerate(value):
            waiting = pool.get(mark(doc)) if type(doc) is dict else None
            if waiting:
                at = _likest(waiting, doc, olds)
                entry = copied(items[at])
                had = len(problems)
                scope.edit(doc, entry, problems, partial and not values)
                if len(problems) > had:
                    _below(problems, had, f"{name}[{index}].")
                matched[at] = entry
                order.append((at, entry))
            else:
                order.append((None, fresh(doc, index, problems)))
        result: list[Any] = []
        if upsert:
            for index, item in enumerate(items):
                if index in matched:
                    result.append(matched[index])
                elif not olds[index] or mark(olds[index] or {}) not in named:
                    result.append(item)
                elif (rest := remains(item)) is not None:
                    result.append(rest)
            result.extend(entry for at, entry in order if at is None and entry)
        else:
            stay = _staying(items, [bool(old) for old in olds], matched, remains)
            others = deque(stay)
            for at_, entry in _placed(order, [index for index, old in enumerate(olds) if old]):
                while others and at_ is not None and others[0] < at_:
                    result.append(stay[others.popleft()])
                if entry:
                    result.append(entry)
            result.extend(stay[index] for index in others)
        if result:
            make(node)[list_key] = result
        elif holder is not None:
            holder.pop(list_key, None)
            prune(node, above)

    def drop(node: Json) -> None:
        holder = find(node)
        if holder is None or list_key not in holder:
            return
        items = holder[list_key] if type(holder[list_key]) is list else []
        kept = list(_staying(items, [bool(doc) for doc in docs(items, [])], (), remains).values())
        if kept:
            holder[list_key] = kept
        else:
            del holder[list_key]
            prune(node, above)

    return get, put, edit, drop


def _likest(waiting: deque[int], doc: Json, olds: Sequence[Json | None]) -> int:
    """Of several entries of one key the one that already says the same, else the first."""
    if len(waiting) > 1:
        for at in waiting:
            if olds[at] == doc:
                waiting.remove(at)
                return at
    return waiting.popleft()


def _group_single(path: Path, line: Line, scope: Scope) -> tuple[Any, Any, Any, Any]:
    find, make = finder(path.hops), maker(path.hops)
    name = line.name

    def get(node: Json, problems: Problems) -> Any:
        element = find(node)
        if element is None:
            return None
        had = len(problems)
        doc = scope.read(element, problems)
        if len(problems) > had:
            _below(problems, had, f"{path.text}.")
        return doc or None

    def put(node: Json, value: Any, problems: Problems) -> None:
        if type(value) is not dict:
            _bad(problems, name, "must be an object")
            return
        had = len(problems)
        made: Json = {}
        scope.put(value, made, problems)
        if len(problems) > had:
            _below(problems, had, f"{name}.")
        if made:
            make(node).update(made)

    def edit(node: Json, value: Any, before: Any, problems: Problems, partial: bool) -> None:
        if type(value) is not dict:
            _bad(problems, name, "must be an object")
            return
        element = find(node)
        if element is None:
            put(node, value, problems)
            return
        had = len(problems)
        scope.edit(value, element, problems, partial)
        if len(problems) > had:
            _below(problems, had, f"{name}.")
        prune(node, path.hops)

    def drop(node: Json) -> None:
        element = find(node)
        if element is not None:
            scope.clear(element)
            prune(node, path.hops)

    return get, put, edit, drop


def _below(problems: Problems, since: int, prefix: str) -> None:
    for index in range(since, len(problems)):
        one = problems[index]
        problems[index] = replace(one, path=(prefix + one.path).rstrip("."))


# ------------------------------------------------------------------------------------------------ scopes


class Scope:
    """Compiled lines over one object. ``others``: the lines of R4, where these are those of a later release, which may not
    have a place for each of their fields."""

    __slots__ = ("units", "names", "_known", "_read", "_plain", "_guarded", "_fresh", "_rivals", "_homeless")

    def __init__(self, lines: Iterable[Line], others: Iterable[Line] = ()) -> None:
        lines = tuple(lines)
        there = {line.name: line for line in others}
        self.units = tuple(_unit(line, lines, there.get(line.name)) for line in lines)
        self.names = tuple(line.name for line in lines)
        self._known = frozenset(self.names)
        self._homeless = frozenset(there) - self._known
        self._read = tuple((unit.name, unit.get) for unit in self.units if unit.line.only != "out")
        writes = [unit for unit in self.units if unit.line.only != "in"]
        # What stands under a condition comes last: the other lines may write the element that it looks at.
        self._plain = tuple(unit for unit in writes if unit.holds is None)
        self._guarded = tuple(unit for unit in writes if unit.holds is not None)
        self._fresh = tuple((unit.name, unit.put, unit.need, unit.default) for unit in self._plain)
        self._rivals = _rivals(lines)

    def read(self, node: Json, problems: Problems) -> Json:
        doc: Json = {}
        for name, get in self._read:
            value = get(node, problems)
            if value is not None:
                doc[name] = value
        return doc

    def put(self, doc: Json, node: Json, problems: Problems) -> None:
        """Into a fresh object: ``need`` and ``else`` act."""
        if not doc.keys() <= self._known:
            self._unknown(doc, problems)
        if self._rivals:
            doc = self._settled(doc, problems)
        for name, put, need, default in self._fresh:
            value = doc.get(name)
            if value is None or value == []:
                if default is not None:
                    put(node, default, problems)
                elif need:
                    problems.append(Problem("is needed", name, "", "required"))
            else:
                put(node, value, problems)
        for unit in self._guarded:
            value = doc.get(unit.name)
            if unit.holds is not None and unit.holds(node):
                if value is None:
                    value = unit.default
                if value is not None:
                    unit.put(node, value, problems)
                elif unit.need:
                    problems.append(Problem("is needed", unit.name, "", "required"))
            elif value is not None:
                problems.append(_out_of_place(unit))

    def edit(self, doc: Json, node: Json, problems: Problems, partial: bool) -> None:
        """In an object that is there: only what differs."""
        if not doc.keys() <= self._known:
            self._unknown(doc, problems)
        if self._rivals:
            doc = self._settled(doc, problems)
        drops, changes = [], []
        for unit in self._plain:
            name = unit.name
            if partial and name not in doc:
                continue
            value = doc.get(name)
            before = unit.get(node, [])
            if value is None or value == []:
                if before is not None:
                    drops.append(unit)
            elif _differs(before, value):
                changes.append((unit, value, before))
        guarded = []
        for unit in self._guarded if self._guarded else ():
            if not partial or unit.name in doc:
                before = unit.get(node, [])
                guarded.append((unit, before))
                if before is not None and not doc.get(unit.name):
                    drops.append(unit)
        for unit in drops:
            unit.drop(node)
        for unit, value, before in changes:
            unit.edit(node, value, before, problems, partial)
        for unit, before in guarded:
            value = doc.get(unit.name)
            if value is None or value == []:
                continue
            if unit.holds is None or not unit.holds(node):
                problems.append(_out_of_place(unit))
            elif _differs(unit.get(node, []), value):
                unit.edit(node, value, before, problems, partial)

    def clear(self, node: Json) -> None:
        for unit in (*self._guarded, *self._plain):
            if unit.holds is None or unit.holds(node):
                unit.drop(node)

    def _unknown(self, doc: Json, problems: Problems) -> None:
        for name in doc:
            if name in self._homeless:
                problems.append(Problem("has no place in this release and was left out", name, "", "not-supported", "warning"))
            elif name not in self._known:
                problems.append(Problem(f"no such field{likely(str(name), self._known)}", str(name), "", "structure"))

    def _settled(self, doc: Json, problems: Problems) -> Json:
        for sides in self._rivals:
            said = [fields for fields in sides if any(doc.get(name) is not None for name in fields)]
            if len(said) > 1:
                first = [name for name in said[0] if doc.get(name) is not None][0]
                for fields in said[1:]:
                    for name in fields:
                        if doc.get(name) is not None:
                            problems.append(Problem(f"cannot stand beside '{first}': FHIR has room for one of them", name, "", "structure"))
                            doc = {key: value for key, value in doc.items() if key != name}
        return doc


def _differs(before: Any, value: Any) -> bool:
    return before != value or type(before) is not type(value) and type(value) is bool


def _out_of_place(unit: Unit) -> Problem:
    conditions = " and ".join(f"{path.text} is {' or '.join(sorted(map(str, wanted)))}" for path, wanted in unit.line.if_)
    return Problem(f"is kept only where {conditions}", unit.name, "leave it out, or change that first", "business-rule")


def _rivals(lines: Sequence[Line]) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Case fields that stand for different types of one choice: only one side may be said."""
    found: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for line in lines:
        if line.alternatives or line.only is not None:
            continue
        for path in line.paths:
            for at, hop in enumerate(path.hops):
                # A choice hop is named by the element and its type: 'valueQuantity'.
                choice = path.text.split(".ofType(")
                if len(choice) > 1:
                    plain = choice[0].rpartition(".")[2].partition("[")[0]
                    if hop.key.startswith(plain) and hop.key != plain:
                        found.setdefault((path.hops[:at], plain), {}).setdefault(hop.key, []).append(line.name)
    return tuple(tuple(tuple(fields) for fields in sides.values()) for sides in found.values() if len(sides) > 1)


def _unit(line: Line, siblings: Sequence[Line], other: Line | None = None) -> Unit:
    path = line.paths[0]
    scope: Scope | None = None
    if line.fields is not None:
        scope = Scope(line.fields, (other.fields or ()) if other is not None else ())
        four = _group_list(path, line, scope, _owned(path, line, siblings)) if line.many else _group_single(path, line, scope)
    elif line.alternatives:
        four = _either(line)
    elif len(line.paths) + len(line.alsoread) > 1:
        four = _several(line)
    elif line.kind == "ref":
        if line.many:
            four = _list(path, reference_item(line), line.name, None)
        else:
            four = _reference(path, line, _beside(path, line, siblings))
    else:
        item = code_item(line.coders[0], path) if line.coders else primitive_item(path, line.name)
        codings = _owned_codings(path, line, siblings)
        if codings:
            item = _apart(item, codings)
        four = _list(path, item, line.name, _owned(path, line, siblings)) if line.many else _single(path, item, line.name)
    get, put, edit, drop = four
    holds = _holds(line) if line.if_ else None
    if holds is not None:
        get = _guarded(get, holds)
    return Unit(line.name, line, get, put, edit, drop, line.need, line.default, scope, holds)


def _holds(line: Line) -> Callable[[Json], bool]:
    """Whether ``when`` of a line is so in an object."""
    tests = [(finder(path.hops[:-1]), path.hops[-1].key, wanted) for path, wanted in line.if_]

    def holds(node: Json) -> bool:
        for find, key, wanted in tests:
            value = holder.get(key) if (holder := find(node)) is not None else None
            if type(value) is dict or type(value) is list or value not in wanted:
                return False
        return True

    return holds


def _guarded(get: Callable[[Json, Problems], Any], holds: Callable[[Json], bool]) -> Callable[[Json, Problems], Any]:
    return lambda node, problems: get(node, problems) if holds(node) else None


def _owned(path: Path, line: Line, siblings: Sequence[Line]) -> Skip | None:
    """Entries that another line names by ``where()`` belong to that line."""
    depth = len(path.hops)
    owned = []
    for other in siblings:
        if other is line:
            continue
        for there in (*other.paths, *other.alsoread):
            if (
                len(there.hops) >= depth
                and [h.key for h in there.hops[:depth]] == [h.key for h in path.hops]
                and there.hops[depth - 1].fixed
            ):
                owned.append(there.hops[depth - 1].fixed)
    if not owned:
        return None
    return lambda item: type(item) is dict and any(all(item.get(name) == value for name, value in fixed) for fixed in owned)


def _owned_codings(path: Path, line: Line, siblings: Sequence[Line]) -> list[tuple[tuple[str, str], ...]]:
    """Codings of this CodeableConcept that another line names by where()."""
    depth = len(path.hops)
    return [
        there.hops[depth].fixed
        for other in siblings
        if other is not line and path.type == "CodeableConcept"
        for there in other.paths
        if len(there.hops) > depth and there.hops[:depth] == path.hops and there.hops[depth].key == "coding" and there.hops[depth].fixed
    ]


def _beside(path: Path, line: Line, siblings: Sequence[Line]) -> frozenset[str]:
    """Members of a Reference that other lines write."""
    hops = path.hops[:-1] if path.hops[-1].key == "reference" and path.type != "Reference" else path.hops
    depth = len(hops)
    found = set()
    for other in siblings:
        for there in other.paths if other is not line else ():
            if len(there.hops) > depth and there.hops[:depth] == hops:
                found.add(there.hops[depth].key)
    return frozenset(found)
