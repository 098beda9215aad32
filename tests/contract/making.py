"""Short words for stored resources, viewers and searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase.fhir.query import IndexValue, Query, Test
from fhircase.plans.change import Grant, Ref
from fhircase.ports import Record, Stamp, Store, Viewer

T = 1_800_000_000_000
"""When the tests begin, epoch ms."""

HUB = Viewer("hub", True, T * 2)


def viewer(partner: str, at: int = T * 2) -> Viewer:
    return Viewer(partner, False, at)


def record(ref: str, version: int = 1, **given: Any) -> Record:
    type, _, id = ref.partition("/")
    values: dict[str, Any] = {
        "deleted": False,
        "client": None,
        "case": None,
        "creator": "hub",
        "mark": 0,
        "method": "POST" if version == 1 else "PUT",
        "text": f'{{"resourceType":"{type}","id":"{id}","meta":{{"versionId":"{version}"}}}}',
    }
    return Record(type=type, id=id, version=version, **{**values, **given})


def commit(store: Store, *records: Record, grants: Sequence[Grant] = (), now: int = T) -> Stamp:
    with store.write() as tx:
        stamp = tx.plans.stamp(now)
        tx.plans.save(stamp, records)
        tx.plans.grant(stamp, grants)
    return stamp


def member(partner: str, client: str, case: str | None, since: int = 0, until: int | None = None) -> Grant:
    return Grant(partner, client, case, "member", since, until)


def invited(partner: str, client: str, case: str, item: str, since: int = 0, until: int | None = None) -> Grant:
    return Grant(partner, client, case, "invited", since, until, Ref.of(item))


def token(param: str, code: str = "", system: str = "", text: str = "") -> IndexValue:
    return IndexValue(param, "token", system, code, text)


def string(param: str, written: str) -> IndexValue:
    return IndexValue(param, "string", code=written, text=written.lower())


def date(param: str, low: int, high: int) -> IndexValue:
    return IndexValue(param, "date", low=low, high=high)


def reference(param: str, target: str = "", identifier: str = "") -> IndexValue:
    type, slash, id = target.partition("/")
    if not slash or ":" in target:
        type, id = "", target
    return IndexValue(param, "reference", type, id, identifier)


def quantity(param: str, value: float, system: str = "", code: str = "", unit: str = "") -> IndexValue:
    scaled = round(value * 1_000_000)
    return IndexValue(param, "quantity", system, code, unit, scaled, scaled)


def uri(param: str, code: str) -> IndexValue:
    return IndexValue(param, "uri", code=code)


def test(value: IndexValue, how: str = "", modifier: str = "") -> Test:
    if not how and value.kind == "token" and modifier in ("", "not"):
        how = "both" if value.system else "code"
    return Test(value.param, value.kind, modifier, ((how, value),))


def missing(param: str, kind: Any, answer: str) -> Test:
    return Test(param, kind, "missing", ((answer, IndexValue(param, kind)),))


def found(store: Store, query: Query, who: Viewer = HUB) -> list[str]:
    """The ids of the matches, in order."""
    with store.read() as tx:
        return [stored.id for stored in tx.plans.search(who, query).matches]


test.__test__ = False  # type: ignore[attr-defined]
