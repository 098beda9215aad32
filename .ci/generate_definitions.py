"""Write the tables in fhircase/fhir/definitions from HL7's R4 core package.

    python .ci/generate_definitions.py [package.tgz]

The tables are committed, so that neither a build nor a run needs the package. Output depends on the package alone: same
input, same bytes. What the tables hold is told in fhircase/fhir/definitions/__init__.py."""

from __future__ import annotations

import gzip
import json
import re
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT.parent / "shared/data/packages/hl7.fhir.r4.core-4.0.1.tgz"
TARGET = ROOT / "fhircase/fhir/definitions"
PREFIX = "http://hl7.org/fhir/StructureDefinition/"
FHIR_TYPE = PREFIX + "structuredefinition-fhir-type"
OPEN_SETS = {"http://hl7.org/fhir/ValueSet/mimetypes": "mimetype", "http://hl7.org/fhir/ValueSet/currencies": "currency"}
"""Required value sets that take in the whole of a standard outside of FHIR: the form of their codes is checked instead."""
Json = dict[str, Any]


def read(package: Path) -> list[Json]:
    """Every resource in the package, by name."""
    found = {}
    with tarfile.open(package) as archive:
        for member in archive:
            if member.name.endswith(".json") and not member.name.endswith((".index.json", "package.json")):
                stream = archive.extractfile(member)
                assert stream is not None
                resource = json.load(stream)
                if resource.get("resourceType"):
                    found[member.name] = resource
    return [found[name] for name in sorted(found)]


# ------------------------------------------------------------------------------------------------ types


def type_code(type_: Json) -> str:
    for extension in type_.get("extension", ()):
        if extension["url"] == FHIR_TYPE:
            return str(extension["valueUrl"])
    return str(type_["code"]).removeprefix("http://hl7.org/fhirpath/System.").replace("String", "string", 1)


def elements(definition: Json) -> dict[str, dict[str, Json]]:
    """Per element that has children of its own (the type, its backbones): name -> what may stand there."""
    groups: dict[str, dict[str, Json]] = defaultdict(dict)
    snapshot = definition["snapshot"]["element"]
    parents = {e["path"].rpartition(".")[0] for e in snapshot}
    for element in snapshot[1:]:
        path = element["path"]
        parent, _, name = path.rpartition(".")
        row: Json = {"min": element["min"], "max": 0 if element["max"] == "*" else int(element["max"])}
        if element.get("isSummary"):
            row["summary"] = True
        if "contentReference" in element:
            row["types"] = [element["contentReference"].partition("#")[2]]
        elif path in parents:
            row["types"] = [path]
        else:
            codes = [type_code(t) for t in element.get("type", ())]
            row["types"] = list(dict.fromkeys(codes))
            targets = [
                p.removeprefix(PREFIX)
                for t in element.get("type", ())
                if t["code"] in ("Reference", "canonical")
                for p in t.get("targetProfile", ())
            ]
            targets = sorted({t for t in targets if not t.startswith("http")} if "Resource" not in targets else ())
            if targets and any(t["code"] == "Reference" for t in element["type"]):
                row["targets"] = targets
        if any(PREFIX + "SimpleQuantity" in t.get("profile", ()) for t in element.get("type", ())):
            row["simple"] = True
        binding = element.get("binding", {})
        if binding.get("strength") == "required" and binding.get("valueSet"):
            # Of formats of exchange R4 lets the short names xml and json stand too.
            formats = path.startswith(("CapabilityStatement.", "TestScript."))
            if not formats and (form := OPEN_SETS.get(binding["valueSet"].partition("|")[0])):
                row["form"] = form
            row["codes"] = binding["valueSet"].partition("|")[0]
        groups[parent][name] = row
    return groups


def types(resources: list[Json], known_sets: set[str]) -> Json:
    made: Json = {}
    for definition in resources:
        if definition["resourceType"] != "StructureDefinition" or definition["kind"] == "logical":
            continue
        if definition.get("derivation") == "constraint" or definition["url"] != PREFIX + definition["type"]:
            continue
        if not str(definition.get("fhirVersion", "")).startswith("4.0"):
            continue
        name = definition["type"]
        if definition["kind"] == "primitive-type":
            made[name] = {"kind": "primitive"}
            continue
        for group, rows in elements(definition).items():
            for row in rows.values():
                if row.get("codes") not in known_sets:
                    row.pop("codes", None)
            made[group] = {
                "kind": ("abstract" if definition["abstract"] else definition["kind"].removesuffix("-type"))
                if group == name
                else "backbone",
                "elements": rows,
            }
    return made


def extensions(resources: list[Json]) -> Json:
    """HL7's own extensions: url -> types of value[x] ([] when it has parts instead)."""
    made: Json = {}
    for definition in resources:
        if (
            definition["resourceType"] == "StructureDefinition"
            and definition["type"] == "Extension"
            and definition.get("derivation") == "constraint"
        ):
            allowed: list[str] = []
            for element in definition["snapshot"]["element"]:
                if element["path"] == "Extension.value[x]" and element["max"] != "0" and element["id"].count(":") == 0:
                    allowed = sorted({type_code(t) for t in element.get("type", ())})
            made[definition["url"]] = allowed
    return made


# ------------------------------------------------------------------------------------------------ code sets


class CodeSets:
    """Value sets written out, as far as the package holds what they are made of. None: cannot be written out here."""

    def __init__(self, resources: list[Json]) -> None:
        self.sets = {r["url"]: r for r in resources if r["resourceType"] == "ValueSet"}
        self.systems = {r["url"]: r for r in resources if r["resourceType"] == "CodeSystem"}
        self.done: dict[str, dict[str, set[str]] | None] = {}

    def expand(self, url: str) -> dict[str, set[str]] | None:
        url = url.partition("|")[0]
        if url not in self.done:
            self.done[url] = None
            self.done[url] = self._expand(self.sets.get(url))
        return self.done[url]

    def _expand(self, value_set: Json | None) -> dict[str, set[str]] | None:
        if value_set is None or "compose" not in value_set:
            return None
        made: dict[str, set[str]] = defaultdict(set)
        for include in value_set["compose"].get("include", ()):
            part = self._part(include)
            if part is None:
                return None
            for system, codes in part.items():
                made[system] |= codes
        for exclude in value_set["compose"].get("exclude", ()):
            part = self._part(exclude)
            if part is None:
                return None
            for system, codes in part.items():
                made[system] -= codes
        return {system: codes for system, codes in made.items() if codes} or None

    def _part(self, include: Json) -> dict[str, set[str]] | None:
        parts: list[dict[str, set[str]]] = []
        for url in include.get("valueSet", ()):
            part = self.expand(url)
            if part is None:
                return None
            parts.append(part)
        if "system" in include:
            codes = self._codes(include)
            if codes is None:
                return None
            parts.append({include["system"]: codes})
        made = parts[0]
        for other in parts[1:]:
            made = {system: codes & other.get(system, set()) for system, codes in made.items()}
        return made

    def _codes(self, include: Json) -> set[str] | None:
        if "concept" in include:
            return {c["code"] for c in include["concept"]}
        system = self.systems.get(include["system"])
        if system is None or system.get("content") != "complete" or "concept" not in system:
            return None
        parents: dict[str, set[str]] = {}

        def walk(concepts: list[Json], above: frozenset[str]) -> None:
            for concept in concepts:
                declared = {
                    p["valueCode"] for p in concept.get("property", ()) if p["code"] in ("subsumedBy", "parent") and "valueCode" in p
                }
                parents.setdefault(concept["code"], set()).update(above, declared)
                walk(concept.get("concept", []), frozenset((concept["code"],)))

        walk(system["concept"], frozenset())
        codes = set(parents)
        for rule in include.get("filter", ()):
            if rule["op"] not in ("is-a", "descendent-of") or rule["property"] != "concept":
                return None
            below = {rule["value"]}
            while more := {code for code, above in parents.items() if above & below} - below:
                below |= more
            codes &= below - ({rule["value"]} if rule["op"] == "descendent-of" else set())
        return codes


def code_sets(resources: list[Json]) -> tuple[Json, dict[str, set[str]]]:
    """Those that a required binding names."""
    sets = CodeSets(resources)
    named: set[str] = set()
    for definition in resources:
        if definition["resourceType"] == "StructureDefinition" and definition.get("derivation") != "constraint":
            for element in definition["snapshot"]["element"]:
                binding = element.get("binding", {})
                if binding.get("strength") == "required" and binding.get("valueSet"):
                    named.add(binding["valueSet"].partition("|")[0])
    # Value sets that say "all of" a system outside of FHIR (languages, media types, currencies) stay open.
    made: Json = {}
    for url in sorted(named):
        expanded = sets.expand(url)
        if expanded is not None:
            made[url] = {system: sorted(codes) for system, codes in sorted(expanded.items())}
    return made, {url: {c for codes in found.values() for c in codes} for url, found in made.items()}


# ------------------------------------------------------------------------------------------------ search


class Paths:
    """Search expressions as lists of places in the JSON: ``target.dueDate:date``. A place is steps joined by dots and the
    type found there. A step may end in ``[name=value]`` (only where that child is so) or ``[0]`` (the first entry). After
    the type may follow ``>Patient`` (only references to that type). The type ``exists`` stands for: true if it is there."""

    def __init__(self, types: Json) -> None:
        self.types = types

    def compile(self, expression: str, base: str) -> list[str] | None:
        made: list[str] = []
        for part in split(expression):
            found = self._part(part.strip(), base)
            if found is None:
                return None
            made.extend(found)
        return list(dict.fromkeys(made))

    def _part(self, part: str, base: str) -> list[str] | None:
        if part.startswith("(") and part.endswith(")"):
            part = part[1:-1].strip()
        if part == "Patient.deceased.exists() and Patient.deceased != false":
            return ["deceasedBoolean:boolean", "deceasedDateTime:exists"] if base == "Patient" else []
        wanted, only, tail = "", "", ""
        if found := re.fullmatch(r"\((.+) as (\w+)\)(?:\.(\w+))?", part):
            part, wanted, tail = found[1], found[2], found[3] or ""
        elif found := re.fullmatch(r"(.+) as (\w+)", part):
            part, wanted = found[1], found[2]
        elif found := re.fullmatch(r"(.+)\.as\((\w+)\)", part):
            part, wanted = found[1], found[2]
        elif found := re.fullmatch(r"(.+)\.where\(resolve\(\) is (\w+)\)", part):
            part, only = found[1], found[2]
        if part.count("(") != part.count("where("):
            return None
        if not part[:1].isupper():
            part = f"{base}.{part}"
        head, *steps = re.findall(r"\w+(?:\.where\(\w+='[^']*'\)|\[0\])?", part)
        if head not in (base, "Resource", "DomainResource"):
            return []
        places = [("", base)]
        for step in steps + ([tail] if tail else []):
            name, filter_ = step, ""
            if found := re.fullmatch(r"(\w+)\.where\((\w+)='([^']*)'\)", step):
                name, filter_ = found[1], f"[{found[2]}={found[3]}]"
            elif step.endswith("[0]"):
                name, filter_ = step[:-3], "[0]"
            is_last_of_path = step is steps[-1]
            after = []
            for path, kind in places:
                rows = self.types.get(kind, {}).get("elements", {})
                if name in rows:
                    for type_ in rows[name]["types"]:
                        if not wanted or not is_last_of_path or type_ == wanted or tail:
                            after.append((f"{path}{'.' if path else ''}{name}{filter_}", type_))
                elif name + "[x]" in rows:
                    for type_ in rows[name + "[x]"]["types"]:
                        if wanted and is_last_of_path and type_ != wanted:
                            continue
                        after.append((f"{path}{'.' if path else ''}{name}{type_[0].upper()}{type_[1:]}{filter_}", type_))
            places = after
        return [f"{path}:{kind}{'>' + only if only else ''}" for path, kind in places]


def split(expression: str) -> list[str]:
    """The parts of a union; a bar within brackets does not part."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(expression):
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            parts.append(expression[start:i])
            start = i + 1
    parts.append(expression[start:])
    if len(parts) == 1 and expression.startswith("(") and expression.endswith(")") and "|" in expression:
        return split(expression[1:-1])
    return parts


def search(resources: list[Json], types: Json) -> Json:
    """Per resource type: name -> [kind, places, reference targets]."""
    paths = Paths(types)
    names = [name for name, row in types.items() if row["kind"] == "resource"]
    made: Json = {name: {} for name in names}
    for param in resources:
        if param["resourceType"] != "SearchParameter" or param["type"] in ("composite", "special") or not param.get("expression"):
            continue
        if param.get("xpathUsage") == "phonetic":  # what sounds alike is the server's own idea; ours has none
            continue
        for base in param["base"]:
            for name in names if base in ("Resource", "DomainResource") else (base,):
                places = paths.compile(param["expression"], name) if name in made else None
                if places is None:
                    print(f"left out: {name}.{param['code']}: {param['expression']}", file=sys.stderr)
                elif places:
                    targets = [t for t in param.get("target", ()) if t != "Resource"]
                    targets = targets if len(targets) < 100 else []  # all of them: no restriction
                    made[name][param["code"]] = [param["type"], places, sorted(targets)] if targets else [param["type"], places]
                else:
                    print(f"empty: {name}.{param['code']}: {param['expression']}", file=sys.stderr)
    return {name: dict(sorted(found.items())) for name, found in sorted(made.items())}


def compartments(resources: list[Json]) -> Json:
    """The patient compartment: type -> search parameters that put a resource into it."""
    (patient,) = [r for r in resources if r["resourceType"] == "CompartmentDefinition" and r["code"] == "Patient"]
    return {r["code"]: r["param"] for r in patient["resource"] if r.get("param")}


def write(name: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path = TARGET / f"{name}.json.gz"
    # No name and no time in the header: the same package gives the same bytes.
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path.name}: {len(text):,} characters, {path.stat().st_size:,} bytes")


def main() -> None:
    resources = read(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    sets, flat = code_sets(resources)
    table = types(resources, set(flat))
    TARGET.mkdir(parents=True, exist_ok=True)
    write("types", {"types": table, "extensions": extensions(resources)})
    write("codes", sets)
    write("search", {"parameters": search(resources, table), "patient": compartments(resources)})


if __name__ == "__main__":
    main()
