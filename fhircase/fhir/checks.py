"""Whether a resource keeps the rules of R4, told at once with the FHIRPath of every problem (DECISIONS 13).

One walk over the resource, driven by tables compiled from ``definitions`` when a type is first met. What is checked:
elements known, types, cardinality, choices, primitives by their own rules, empty and null values, required bindings, the
targets of references, extensions of HL7's own by their value type, narrative, and the invariants of level error."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from fhircase.errors import Problem
from fhircase.fhir import definitions, primitives
from fhircase.fhir.invariants import INVARIANTS, Invariant

Object = dict[str, Any]

MAX_PROBLEMS = 200
"""A body with more defects than this is told the first 200."""

_REFERENCE_TYPES = re.compile(r"(?:https?://.+/)?([A-Z][A-Za-z]{1,63})/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_CONDITIONAL = re.compile(r"[A-Z][A-Za-z]{1,63}\?.+")
_SUBJECTS = ("subject", "patient", "beneficiary", "for")


class _Field:
    """One JSON member that a type may have."""

    __slots__ = ("base", "codes", "complex", "fault", "flat", "is_choice", "many", "max", "min", "special", "systems", "targets", "type")

    def __init__(self, base: str, type_: str, row: definitions.Element, *, is_choice: bool) -> None:
        self.base, self.type, self.is_choice = base, type_, is_choice
        self.many, self.max, self.min = row.max != 1, row.max, row.min
        self.fault: primitives.Fault | None = primitives.FORMS.get(row.form) or primitives.FAULTS.get(type_)
        self.complex = self.fault is None
        self.targets = frozenset(row.targets)
        self.systems: Mapping[str, frozenset[str]] = definitions.codes(row.codes) if row.codes else {}
        self.special = _Walk._simple_quantity if row.simple and type_ == "Quantity" else _SPECIAL.get(type_)
        self.codes: frozenset[str] = frozenset().union(*self.systems.values())


class _Type:
    """What an object of one type may and must hold."""

    __slots__ = ("fields", "invariants", "is_resource", "name", "required")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_resource = definitions.is_resource(name)
        self.fields: dict[str, _Field] = {}
        self.required: list[tuple[str, tuple[str, ...]]] = []
        for defined, row in definitions.elements(name).items():
            base = defined.removesuffix("[x]")
            members = [(base + t[0].upper() + t[1:], t) for t in row.types] if defined.endswith("[x]") else [(base, row.types[0])]
            for member, type_ in members:
                if self.is_resource and member == "id":
                    type_ = "id"
                field = _Field(base, type_, row, is_choice=defined.endswith("[x]"))
                self.fields[member] = field
            if row.min:
                names = tuple(member for member, _ in members)
                self.required.append((base, names + tuple(f"_{member}" for member, type_ in members if definitions.is_primitive(type_))))
        self.invariants: tuple[Invariant, ...] = INVARIANTS.get(name, ())


_types: dict[str, _Type] = {}
_lock = threading.Lock()


def _type(name: str) -> _Type:
    found = _types.get(name)
    if found is None:
        with _lock:
            found = _types.get(name)
            if found is None:
                found = _types[name] = _Type(name)
    return found


def check(resource: Any) -> list[Problem]:
    """Every problem of level error, in the order of the text; empty when the resource is good. At most 200."""
    walk = _Walk()
    walk.resource(resource, "")
    return walk.problems[:MAX_PROBLEMS]


def warnings(resource: Any) -> list[Problem]:
    """What is allowed and not wise: a resource without narrative (dom-6)."""
    if (
        isinstance(resource, dict)
        and definitions.is_resource(str(resource.get("resourceType")))
        and "text" in _type(resource["resourceType"]).fields
    ):
        if not isinstance(resource.get("text"), dict):
            return [
                Problem("A resource should have narrative (dom-6)", str(resource["resourceType"]), code="invariant", severity="warning")
            ]
    return []


def unrepresentable(resource: Any) -> list[Problem]:
    """What is refused even when lenient (DECISIONS 13): no JSON object, no or unknown resourceType, a bad id, a meta that is
    no object, no subject where R4 requires one."""
    if not isinstance(resource, dict):
        return [Problem("A resource is a JSON object", code="structure")]
    type_ = resource.get("resourceType")
    if not isinstance(type_, str) or not definitions.is_resource(type_):
        return [_unknown_type(type_, "")]
    found = []
    if "id" in resource and primitives.id(resource["id"]):
        found.append(Problem("The id " + str(primitives.id(resource["id"])), f"{type_}.id", code="value"))
    if "meta" in resource and not isinstance(resource["meta"], dict):
        found.append(Problem("meta must be an object", f"{type_}.meta", code="structure"))
    table = definitions.elements(type_)
    for name in _SUBJECTS:
        if name in table and table[name].min and not resource.get(name):
            found.append(Problem(f"{type_} requires a {name}", f"{type_}.{name}", "Say whom it is about", "required"))
    return found


def _unknown_type(type_: Any, path: str) -> Problem:
    if not isinstance(type_, str) or not type_:
        return Problem("resourceType is missing", path, "Say which type of R4 it is", "structure")
    return Problem("resourceType is no type of R4", path, "Types are written like CarePlan", "structure")


class _Root:
    """A resource that references are resolved within: it and what it contains."""

    __slots__ = ("contained", "fragments", "resolve")

    def __init__(self, resource: Object, entries: Mapping[str, str]) -> None:
        contained = resource.get("contained")
        items = [item for item in contained if isinstance(item, dict)] if isinstance(contained, list) else []
        self.contained = {str(item.get("id")): str(item.get("resourceType")) for item in items}
        self.fragments: set[str] = set()
        self.resolve = entries


class _Walk:
    __slots__ = ("is_transaction", "problems")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.is_transaction = False

    def say(self, what: str, path: str, code: str = "structure", hint: str = "") -> None:
        self.problems.append(Problem(what, path, hint, code))

    # ------------------------------------------------------------------------------------------ resources

    def resource(self, resource: Any, path: str, *, root: _Root | None = None, entries: Mapping[str, str] | None = None) -> None:
        """``root`` is set for a contained resource: references are resolved in its container."""
        if type(resource) is not dict:
            self.say("A resource is a JSON object", path)
            return
        name = resource.get("resourceType")
        if type(name) is not str or not definitions.is_resource(name):
            self.problems.append(_unknown_type(name, path))
            return
        path = path or name
        within = root or _Root(resource, entries or {})
        if name == "Bundle":
            self.bundle(resource, path, within)
        else:
            self.object(resource, _type(name), path, within)
        if root is None and within.contained:
            self.containing(resource, path, within)

    def bundle(self, bundle: Object, path: str, root: _Root) -> None:
        urls: dict[str, str] = {}
        rows = bundle.get("entry")
        for entry in rows if isinstance(rows, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("fullUrl"), str) and isinstance(entry.get("resource"), dict):
                urls[entry["fullUrl"]] = str(entry["resource"].get("resourceType"))
        root.resolve = urls
        was, self.is_transaction = self.is_transaction, bundle.get("type") == "transaction"
        self.object(bundle, _type("Bundle"), path, root)
        self.is_transaction = was

    def containing(self, resource: Object, path: str, root: _Root) -> None:
        for i, item in enumerate(resource["contained"]):
            if not isinstance(item, dict):
                continue
            here = f"{path}.contained[{i}]"
            if "contained" in item:
                self.say("A contained resource shall not contain resources (dom-2)", f"{here}.contained", "invariant")
            id_ = item.get("id")
            if not isinstance(id_, str):
                self.say("A contained resource needs an id, so that it can be referred to", f"{here}.id", "required")
            elif f"#{id_}" not in root.fragments and not _refers_to_container(item):
                self.say("A contained resource shall be referred to from the resource that contains it (dom-3)", here, "invariant")
            meta = item.get("meta")
            if isinstance(meta, dict):
                for name in ("versionId", "lastUpdated"):
                    if name in meta:
                        self.say(f"A contained resource shall not have meta.{name} (dom-4)", f"{here}.meta.{name}", "invariant")
                if "security" in meta:
                    self.say("A contained resource shall not have a security label (dom-5)", f"{here}.meta.security", "invariant")

    # ------------------------------------------------------------------------------------------ objects

    def object(self, item: Object, type_: _Type, path: str, root: _Root) -> None:
        fields = type_.fields
        chosen: dict[str, str] | None = None
        only_id = True
        for name, value in item.items():
            field = fields.get(name)
            if field is None:
                only_id = False
                if name == "resourceType" and type_.is_resource:
                    continue
                if name[:1] == "_" and (field := fields.get(name[1:])) is not None and not field.complex:
                    self.beside(item, name[1:], value, field, path, root)
                else:
                    self.say(f"{type_.name} has no element '{name[:64]}'", f"{path}.{name}" if name.isidentifier() else path, "structure")
                    continue
            elif name != "id":
                only_id = False
            if field.is_choice:
                if chosen is None:
                    chosen = {}
                member = name.lstrip("_")
                if chosen.setdefault(field.base, member) != member:
                    self.say(f"Only one {field.base}[x] may be given", f"{path}.{field.base}")
            if name[:1] == "_":
                continue
            if field.many:
                self.list(item, name, value, field, path, root)
            elif field.complex:
                if type(value) is dict:
                    self.complex(value, field, f"{path}.{field.base}", root)
                else:
                    self.not_an_object(value, field, f"{path}.{field.base}")
            else:
                fault = field.fault(value) if field.fault is not None else None
                if fault is not None:
                    self.primitive_fault(value, fault, field, path)
                elif field.codes:
                    if value not in field.codes:
                        self.binding(field, f"{path}.{field.base}")
                elif type(value) is str and value[:1] == "#" and field.type in ("uri", "url", "canonical"):
                    root.fragments.add(value)
        if only_id:
            self.say(
                "An object is empty" if not item else "An element has nothing but an id (ele-1)", path, "invariant" if item else "structure"
            )
            return
        for base, names in type_.required:
            for name in names:
                if name in item:
                    break
            else:
                self.say(f"{base} is required", f"{path}.{base}", "required")
        for invariant in type_.invariants:
            if not invariant.holds(item):
                self.say(f"{invariant.what} ({invariant.key})", f"{path}.{invariant.at}" if invariant.at else path, "invariant")

    def list(self, item: Object, name: str, value: Any, field: _Field, path: str, root: _Root) -> None:
        if type(value) is not list:
            self.say("must be a list" if value is not None else "null is not allowed", f"{path}.{field.base}")
            return
        if not value:
            self.say("A list is empty", f"{path}.{field.base}", hint="Leave the element out")
            return
        if field.max and len(value) > field.max:
            self.say(f"At most {field.max} are allowed", f"{path}.{field.base}")
        i = 0
        if field.complex:
            for entry in value:
                if type(entry) is dict:
                    self.complex(entry, field, f"{path}.{field.base}[{i}]", root)
                else:
                    self.not_an_object(entry, field, f"{path}.{field.base}[{i}]")
                i += 1
            return
        beside = item.get(f"_{name}")
        for entry in value:
            if entry is None:
                if not (isinstance(beside, list) and i < len(beside) and beside[i] is not None):
                    self.say("null is not allowed", f"{path}.{field.base}[{i}]")
            else:
                fault = field.fault(entry) if field.fault is not None else None
                if fault is not None:
                    self.say(f"{field.base} {fault}", f"{path}.{field.base}[{i}]", "value")
                elif field.codes and entry not in field.codes:
                    self.binding(field, f"{path}.{field.base}[{i}]")
                elif entry[:1] == "#" if type(entry) is str else False:
                    root.fragments.add(entry)
            i += 1

    def not_an_object(self, value: Any, field: _Field, path: str) -> None:
        if value is None:
            self.say("null is not allowed", path, hint="Leave the element out")
        elif type(value) is list:
            self.say("must be one object, not a list" if not field.many else "must be an object", path)
        else:
            self.say(f"must be an object ({field.type})", path)

    def primitive_fault(self, value: Any, fault: str, field: _Field, path: str) -> None:
        here = f"{path}.{field.base}"
        if value is None:
            self.say("null is not allowed", here, hint="Leave the element out")
        elif type(value) in (list, dict):
            self.say("must be one value, not a list" if type(value) is list else "must be a value, not an object", here)
        elif field.type == "xhtml":
            self.say(f"The narrative {fault} (txt-1)", here, "invariant")
        else:
            self.say(f"{field.base} {fault}", here, "value")

    def beside(self, item: Object, name: str, value: Any, field: _Field, path: str, root: _Root) -> None:
        """``_name``: id and extensions of a primitive, or of each in a list of primitives."""
        here = f"{path}.{field.base}"
        if not field.many:
            if type(value) is dict:
                self.element(value, here, root, has_value=item.get(name) is not None)
            else:
                self.say(f"_{name} must be an object", here)
            return
        if type(value) is not list or not value:
            self.say(f"_{name} must be a list that is not empty", here)
            return
        values = item.get(name)
        for i, entry in enumerate(value):
            if entry is None:
                if name not in item or not isinstance(values, list) or i >= len(values):
                    self.say(f"null in _{name} has no value beside it", f"{here}[{i}]")
            elif type(entry) is dict:
                has_value = isinstance(values, list) and i < len(values) and values[i] is not None
                self.element(entry, f"{here}[{i}]", root, has_value=has_value)
            else:
                self.say(f"_{name} holds something else than objects", f"{here}[{i}]")

    def element(self, item: Object, path: str, root: _Root, *, has_value: bool) -> None:
        """Beside a value, an id alone is enough."""
        if not (has_value and len(item) == 1 and "id" in item and primitives.string(item["id"]) is None):
            self.object(item, _type("Element"), path, root)

    # ------------------------------------------------------------------------------------------ types with rules of their own

    def complex(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        kind = field.type
        if field.special is not None:
            field.special(self, item, field, path, root)
        if kind != "Resource":
            self.object(item, _type(kind), path, root)
        if field.codes:
            self.bound(item, field, path)

    def _resource(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        if field.base == "contained":
            self.resource(item, path, root=root)
        else:
            self.resource(item, path, entries=root.resolve)

    def _reference(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        text = item.get("reference")
        if type(text) is not str:
            declared = item.get("type")
            if field.targets and type(declared) is str and definitions.is_resource(declared) and declared not in field.targets:
                self.target(field, f"{path}.type")
            if not (
                "reference" in item
                or "identifier" in item
                or "display" in item
                or "extension" in item
                or "_reference" in item
                or "_display" in item
            ):
                self.say("A Reference has a reference, an identifier or a display", path)
            return
        if text[:1] == "#":
            root.fragments.add(text)
            found: str | None = root.contained.get(text[1:])
            if found is None:
                if text != "#":
                    self.say("There is no contained resource of that id (ref-1)", f"{path}.reference", "invariant")
                return
        else:
            matched = _REFERENCE_TYPES.fullmatch(text)
            if matched is not None:
                found = matched[1]
                if not definitions.is_resource(found):
                    if ":" not in text:
                        self.say("The reference names no type of R4", f"{path}.reference", "value")
                    return
            else:
                found = root.resolve.get(text)
                if found is None:
                    if _CONDITIONAL.fullmatch(text):
                        if not self.is_transaction:
                            self.say("A conditional reference works only in a transaction", f"{path}.reference", "value")
                    elif ":" not in text:
                        self.say("The reference is neither Type/id nor a URL", f"{path}.reference", "value")
                    return
        if field.targets and found not in field.targets and found != "None":
            self.target(field, path)
        declared = item.get("type")
        if type(declared) is str and definitions.is_resource(declared) and declared != found:
            self.say("type contradicts reference", f"{path}.type", "value")

    def target(self, field: _Field, path: str) -> None:
        self.say(f"{field.base} cannot refer to that type", path, "value", f"One of {', '.join(sorted(field.targets))}")

    def _extension(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        parts, value = "extension" in item, None
        for name in item:
            member = name[1:] if name[:1] == "_" else name
            if member.startswith("value") and member != "value":
                value = member
                break
        if parts == (value is not None):
            self.say(
                "An extension has either extensions or a value, not both (ext-1)"
                if parts
                else "An extension needs a value or extensions (ext-1)",
                path,
                "invariant",
            )
        url = item.get("url")
        if value is not None and type(url) is str and url.startswith("http"):
            allowed = definitions.extension_types(url)
            declared = _type("Extension").fields.get(value)
            if allowed is not None and declared is not None and declared.type not in allowed:
                self.say(
                    f"{value} is not the type of this extension",
                    f"{path}.value",
                    "structure",
                    f"Use {' or '.join(sorted(allowed)) or 'extensions'}",
                )

    def _simple_quantity(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        if "comparator" in item or "_comparator" in item:
            self.say("A SimpleQuantity has no comparator (sqty-1)", f"{path}.comparator", "invariant")

    def _participant(self, item: Object, field: _Field, path: str, root: _Root) -> None:
        member = item.get("member")
        if "onBehalfOf" not in item or not isinstance(member, dict):
            return
        text = member.get("reference")
        found = member.get("type")
        if type(text) is str:
            matched = _REFERENCE_TYPES.fullmatch(text)
            found = root.contained.get(text[1:]) if text[:1] == "#" else matched[1] if matched else root.resolve.get(text, found)
        if found is not None and found != "Practitioner":
            self.say("onBehalfOf needs a member who is a Practitioner (ctm-1)", path, "invariant")

    def binding(self, field: _Field, path: str) -> None:
        known = sorted(field.codes)
        hint = f"One of {', '.join(known)}" if len(known) <= 24 else "A code of the value set that R4 requires here"
        self.say(f"{field.base} has a code outside its required value set", path, "code-invalid", hint)

    def bound(self, item: Object, field: _Field, path: str) -> None:
        """A Coding, or a CodeableConcept of which one coding must be in the set."""
        codings = item.get("coding") if field.type == "CodeableConcept" else [item] if field.type == "Coding" else None
        if field.type == "CodeableConcept" and codings is None:
            codings = []
        if not isinstance(codings, list):
            return
        for coding in codings:
            if not isinstance(coding, dict):
                continue
            system, code = coding.get("system"), coding.get("code")
            if isinstance(system, str) and isinstance(code, str) and code in field.systems.get(system, ()):
                return
        if not codings and "extension" in item:
            return
        self.binding(field, path)


_SPECIAL: Mapping[str, Callable[[_Walk, Object, _Field, str, _Root], None]] = {
    "Resource": _Walk._resource,
    "Reference": _Walk._reference,
    "Extension": _Walk._extension,
    "CareTeam.participant": _Walk._participant,
}


def _refers_to_container(item: Any) -> bool:
    """Whether something in a contained resource refers to ``#``, the resource around it."""
    stack = [item]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if value.get("reference") == "#":
                return True
            stack.extend(v for v in value.values() if isinstance(v, dict | list))
        elif isinstance(value, list):
            stack.extend(value)
    return False
