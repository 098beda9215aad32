"""The doors beside the case API by which a resource comes in, and the look whether it stands everywhere alike."""

from __future__ import annotations

from typing import Any

from fhircase.fhir import refs
from fhircase.flows import kinds
from fhircase.sync import shadow
from tests.api.conftest import Api
from tests.stories.concepts.place import PARTNERS, Place

Resource = dict[str, Any]


def coded(system: str, code: str, text: str = "") -> Resource:
    """A CodeableConcept of one of our own systems (``domain``) or of another (a whole URI)."""
    coding = {"system": system if ":" in system else f"urn:fhircase:codes:{system}", "code": code}
    return {"coding": [coding], **({"text": text} if text else {})}


def by_case(place: Place, what: str, doc: dict[str, Any]) -> str:
    """Entered at the case API; the reference of the resource."""
    return f"{kinds.KINDS[what].type}/{place.add(what, doc)}"


def by_key(place: Place, who: str, resource: Resource) -> str:
    """Written at ``/fhir`` with the key of a partner, or of the hub's people (``hub``); its reference."""
    caller: Api = place.manager if who == "hub" else place.town.key(who)
    made = caller.made(place.meant(resource))
    return f"{made['resourceType']}/{made['id']}"


def by_server(place: Place, partner: str, resource: Resource) -> str:
    """Entered by somebody on the partner's own server; the reference that it has here once it has come."""
    own = refs.rewrite(place.meant(resource), lambda text: f"{text.partition('/')[0]}/{place.remote(partner, text)}")
    remote = place.servers[partner].add(own)
    place.settle()
    with place.hub.store.read() as tx:
        (found,) = [link.ref for link in tx.links.all(partner) if (link.ref.type, link.remote) == (own["resourceType"], remote)]
    return str(found)


def everywhere(place: Place, *references: str) -> list[Resource]:
    """The resources as they stand at ``/fhir``, after both partners' servers were seen to hold the same."""
    place.settle()
    found = []
    for reference in references:
        ours = place.fhir(reference)
        for partner in PARTNERS:
            assert place.essence(partner, reference) == shadow.essence(ours), (partner, reference)
        found.append(ours)
    return found


def held(place: Place, what: str, reference: str) -> dict[str, Any]:
    """The entry of the case view that the reference stands for."""
    return place.entry(what, reference.partition("/")[2])
