"""Links and the ledger, reviews, keys, partners, secrets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fhircase.errors import Conflict, Malformed
from fhircase.fhir import jsontext
from fhircase.plans.change import Ref, Review
from fhircase.plans.partner import Partner
from fhircase.ports import Exchange, Key, Link
from tests.contract.making import T

GOAL = Ref("Goal", "g")


def test_a_links_shadows_keep_every_token(store: Any) -> None:
    shadow = jsontext.loads('{"resourceType":"Observation","valueQuantity":{"value":72.50},"n":1e3}')
    link = Link("home", GOAL, remote="77", etag='W/"3"', updated="2026-11-22T05:24:38+01:00", stored=shadow, sent={"a": [1]}, pend=None)
    with store.write() as tx:
        tx.links.save([link])
    with store.read() as tx:
        held = tx.links.get("home", GOAL)
        assert held == link
        assert jsontext.dumps(held.stored) == '{"resourceType":"Observation","valueQuantity":{"value":72.50},"n":1e3}'
        assert tx.links.get("rehab", GOAL) is None


def test_links_are_found_by_resource_and_by_remote_id(sql_store: Any) -> None:
    links = [Link("home", Ref("Goal", f"g{n}"), remote=str(n), state="live" if n else "ended") for n in range(4)]
    with sql_store.write() as tx:
        tx.links.save(
            [*links, Link("home", Ref("Task", "t"), remote="1"), Link("rehab", Ref("Goal", "g1"), remote="1"), Link("home", GOAL)]
        )
        tx.links.save([replace(links[2], etag='W/"9"', pend={"x": 1})])
    with sql_store.read() as tx:
        assert tx.links.by_remote("home", "Goal", "1").ref == Ref("Goal", "g1")
        assert tx.links.by_remote("home", "Task", "1").ref == Ref("Task", "t")
        assert tx.links.by_remote("home", "Goal", "77") is None
        assert set(tx.links.get_many("home", [Ref("Goal", "g1"), Ref("Goal", "g2"), Ref("Goal", "none")])) == {
            Ref("Goal", "g1"),
            Ref("Goal", "g2"),
        }
        assert tx.links.get_many("home", []) == {}
        assert tx.links.get("home", Ref("Goal", "g2")).pend == {"x": 1}
        assert [str(link.ref) for link in tx.links.all("home")] == ["Goal/g", "Goal/g0", "Goal/g1", "Goal/g2", "Goal/g3", "Task/t"]


def test_a_live_link_is_found_before_an_ended_one(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.links.save([Link("home", Ref("Goal", "a"), remote="1", state="ended"), Link("home", Ref("Goal", "b"), remote="1")])
    with sql_store.read() as tx:
        assert tx.links.by_remote("home", "Goal", "1").ref == Ref("Goal", "b")


def test_polling_cursors_are_kept_as_text(sql_store: Any) -> None:
    with sql_store.write() as tx:
        assert tx.links.cursor("home", "Goal") is None
        tx.links.set_cursor("home", "Goal", "2026-11-22T05:24:38.123+01:00")
        tx.links.set_cursor("home", "Goal", "2026-11-22T05:24:39Z")
    with sql_store.read() as tx:
        assert tx.links.cursor("home", "Goal") == "2026-11-22T05:24:39Z"
        assert tx.links.cursor("rehab", "Goal") is None


def test_the_ledger_is_newest_first_and_paged(sql_store: Any) -> None:
    made = [Exchange("home", T + n, "out", "PUT", "Goal/g", "77", 200, "updated", "corr", {"elements": ["status"]}) for n in range(5)]
    with sql_store.write() as tx:
        tx.ledger.add([*made, replace(made[0], partner="rehab")])
    with sql_store.read() as tx:
        page, cursor = tx.ledger.list("home", count=3)
        rest, end = tx.ledger.list("home", count=3, cursor=cursor)
        assert [replace(e, id=0) for e in (*page, *rest)] == made[::-1]
        assert end is None
        assert len({e.id for e in (*page, *rest)}) == 5
        with pytest.raises(Malformed):
            tx.ledger.list("rehab", cursor=cursor)


# ---------------------------------------------------------------------------------------------- reviews


def review(key: str = "k", **given: Any) -> Review:
    values: dict[str, Any] = {
        "kind": "conflict",
        "what": "two sides",
        "hint": "choose",
        "subject": GOAL,
        "client": "p",
        "case": "e",
        "partner": "home",
    }
    return Review(key=key, **{**values, **given})


def test_a_review_comes_back_whole(store: Any) -> None:
    given = review(holds="lifecycleStatus", detail={"ours": 72.5, "theirs": ["ä"]})
    with store.write() as tx:
        assert tx.reviews.open(given, id="r1", at=T, message="m1") == "r1"
    with store.read() as tx:
        held = tx.reviews.get("r1")
        assert (held.id, held.opened, held.message, held.settled) == ("r1", T, "m1", None)
        assert replace(held.review, detail={}) == replace(given, detail={})
        assert jsontext.dumps(held.review.detail) == '{"ours":72.5,"theirs":["ä"]}'
        assert tx.reviews.get("absent") is None


def test_one_open_review_a_key_brought_up_to_date(store: Any) -> None:
    with store.write() as tx:
        tx.reviews.open(review(detail={"n": 1}), id="r1", at=T)
    with store.write() as tx:
        assert tx.reviews.open(review(detail={"n": 2}), id="r2", at=T + 1) == "r1"
        assert tx.reviews.open(review("other"), id="r3", at=T + 1) == "r3"
    with store.read() as tx:
        assert tx.reviews.get("r1").review.detail == {"n": 2}
        assert tx.reviews.get("r2") is None


def test_a_settled_review_stays_settled_and_its_key_may_open_again(store: Any) -> None:
    with store.write() as tx:
        tx.reviews.open(review(), id="r1", at=T)
        tx.reviews.settle("r1", at=T + 5, by="anna", resolution={"keep": "ours"})
    with store.write() as tx:
        assert tx.reviews.open(review(), id="r2", at=T + 9) == "r2"
    with store.read() as tx:
        settled = tx.reviews.get("r1")
        assert (settled.settled, settled.settled_by, settled.resolution) == (T + 5, "anna", {"keep": "ours"})


def test_the_first_settlement_counts(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.reviews.open(review(), id="r1", at=T)
        tx.reviews.settle("r1", at=T + 5, by="anna", resolution={})
        tx.reviews.settle("r1", at=T + 6, by="bert", resolution={})
    with sql_store.read() as tx:
        assert tx.reviews.get("r1").settled_by == "anna"


def test_reviews_are_listed_newest_first_by_state_kind_client_and_case(sql_store: Any) -> None:
    with sql_store.write() as tx:
        for n in range(6):
            tx.reviews.open(
                review(f"k{n}", kind="identity" if n % 2 else "conflict", client=f"p{n % 3}", case="e" if n < 3 else None),
                id=f"r{n}",
                at=T + n,
            )
        tx.reviews.settle("r0", at=T, by="x", resolution={})

    def ids(**filters: Any) -> list[str]:
        with sql_store.read() as tx:
            return [r.id for r in tx.reviews.list(**filters)[0]]

    assert ids() == ["r5", "r4", "r3", "r2", "r1"]
    assert ids(state="settled") == ["r0"]
    assert ids(state="all") == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert ids(kind="identity", client="p1") == ["r1"]
    assert ids(case="e") == ["r2", "r1"]
    with sql_store.read() as tx:
        page, cursor = tx.reviews.list(count=3)
        rest, end = tx.reviews.list(count=3, cursor=cursor)
        assert ([r.id for r in (*page, *rest)], end) == (["r5", "r4", "r3", "r2", "r1"], None)


def test_held_elements_are_those_of_open_reviews(store: Any) -> None:
    with store.write() as tx:
        tx.reviews.open(review("a", holds="target"), id="r1", at=T)
        tx.reviews.open(review("b", holds="lifecycleStatus"), id="r2", at=T)
        tx.reviews.open(review("c"), id="r3", at=T)
        tx.reviews.open(review("d", holds="note", subject=Ref("Goal", "other")), id="r4", at=T)
        tx.reviews.open(review("e", holds="category"), id="r5", at=T)
        tx.reviews.settle("r5", at=T, by="x", resolution={})
    with store.read() as tx:
        assert dict(tx.reviews.holds([GOAL, Ref("Goal", "none")])) == {GOAL: frozenset({"target", "lifecycleStatus"})}
        assert not tx.reviews.holds([])


# ---------------------------------------------------------------------------------------------- keys, partners


def key(id: str, **given: Any) -> Key:
    values: dict[str, Any] = {
        "name": id,
        "digest": f"sha-{id}",
        "partner": "home",
        "user": None,
        "scopes": ("system/*.rs",),
        "admin": False,
        "created": T,
    }
    return Key(id=id, **{**values, **given})


def test_keys_by_digest_revoked_ones_too(store: Any) -> None:
    with store.write() as tx:
        tx.keys.add(key("a"))
        tx.keys.add(key("b", user="anna", admin=True, scopes=(), created=T + 1))
    with store.write() as tx:
        tx.keys.revoke("a", T + 5)
    with store.read() as tx:
        assert tx.keys.by_digest("sha-a") == key("a", revoked=T + 5)
        assert tx.keys.by_digest("sha-b") == key("b", user="anna", admin=True, scopes=(), created=T + 1)
        assert tx.keys.by_digest("sha-c") is None
        assert [k.id for k in tx.keys.list()] == ["a", "b"]


def test_a_digest_is_one_keys_and_the_first_revocation_counts(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.keys.add(key("a"))
        tx.keys.revoke("a", T + 5)
        tx.keys.revoke("a", T + 9)
    with pytest.raises(Conflict), sql_store.write() as tx:
        tx.keys.add(key("b", digest="sha-a"))
    with sql_store.read() as tx:
        assert tx.keys.by_digest("sha-a").revoked == T + 5


def test_a_partner_comes_back_as_it_went_in(store: Any) -> None:
    partner = Partner(
        "home",
        "Home Care",
        "org1",
        (("npi", "1"), ("pv1-37", "HC")),
        "home-care",
        (("EPIC", "MERCY"), ("LAB", "")),
        {"MERCY": "urn:oid:1"},
        "Europe/Berlin",
        ("P", "T"),
        "never",
        ("06",),
        ("10.0.0.0/8",),
        True,
        "https://home.example/fhir",
        "R5",
        {"kind": "bearer", "secret": "s"},
        ("Goal",),
        ("Goal", "Task"),
        3,
        12.5,
        True,
        {"etag": True, "drops": ["note"], "deep": {"x": [1, 2]}},
        "berlin",
    )
    with store.write() as tx:
        tx.partners.save(partner)
        tx.partners.save(Partner("rehab"))
    with store.write() as tx:
        tx.partners.save(Partner("rehab", "Rehab", poll_seconds=60))
    with store.read() as tx:
        assert tx.partners.get("home") == partner
        assert type(tx.partners.get("home").poll_seconds) is float
        assert [p.name for p in tx.partners.all()] == ["home", "rehab"]
        assert tx.partners.get("rehab").title == "Rehab"
        assert tx.partners.get("absent") is None


def test_secrets_are_kept_as_sealed(store: Any) -> None:
    with store.write() as tx:
        assert tx.partners.secret("s") is None
        tx.partners.save_secret("s", "sealed:1")
        tx.partners.save_secret("s", "sealed:2")
    with store.read() as tx:
        assert tx.partners.secret("s") == "sealed:2"
