"""What one transaction knows of one partner: its links, who may have what, and how local and remote names translate.
Everything is loaded in a few statements and remembered, so that a batch costs as much as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fhircase.plans.change import WHOLE, Grant, Ref, Resource
from fhircase.plans.partner import DIRECTORY_TYPES, Partner
from fhircase.ports import Link, Stored, Tx
from fhircase.sync import shadow
from fhircase.sync.dialect import Dialect


@dataclass(slots=True)
class Terms:
    """Bound to a transaction; use within it. ``now`` epoch ms is when grants are judged."""

    tx: Tx
    partner: Partner
    dialect: Dialect
    now: int
    stored: dict[Ref, Stored] = field(default_factory=dict)
    links: dict[Ref, Link] = field(default_factory=dict)
    held: dict[Ref, frozenset[str]] = field(default_factory=dict)
    _bodies: dict[Ref, Resource] = field(default_factory=dict)
    _targets: dict[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    _asked: set[Ref] = field(default_factory=set)
    _linked: set[Ref] = field(default_factory=set)
    _grants: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    _remote: dict[tuple[str, str], Ref | None] = field(default_factory=dict)

    def load(self, refs: Iterable[Ref]) -> None:
        """Resources, links and holds of ``refs``, and of what must be there before them, level by level."""
        wanted = [ref for ref in dict.fromkeys(refs) if ref not in self._asked]
        while wanted:
            self._asked.update(wanted)
            self.stored.update(self.tx.plans.get_many(wanted))
            self.held.update(self.tx.reviews.holds(wanted))
            targets = [target for ref in wanted for target in self.targets(ref)]
            self.load_links([*wanted, *targets])
            wanted = [
                target
                for target in dict.fromkeys(targets)
                if target not in self._asked and not self.live(target) and target.type in self.partner.send
            ]

    def load_links(self, refs: Iterable[Ref]) -> None:
        new = [ref for ref in dict.fromkeys(refs) if ref not in self._linked]
        if new:
            self._linked.update(new)
            self.links.update(self.tx.links.get_many(self.partner.name, new))

    def body(self, ref: Ref) -> Resource:
        """Our resource, parsed once; do not change it. {} when it is absent or a tombstone."""
        made = self._bodies.get(ref)
        if made is None:
            stored = self.stored.get(ref)
            made = {} if stored is None or stored.deleted else stored.body
            self._bodies[ref] = made
        return made

    def targets(self, ref: Ref) -> tuple[Ref, ...]:
        """What a loaded resource refers to here."""
        made = self._targets.get(ref)
        if made is None:
            made = tuple(dict.fromkeys(target for target in shadow.targets(self.body(ref)) if target != ref))
            self._targets[ref] = made
        return made

    def live(self, ref: Ref) -> bool:
        link = self.links.get(ref)
        return link is not None and link.remote is not None and link.state == "live"

    def remote_of(self, ref: Ref) -> str | None:
        link = self.links.get(ref)
        return link.remote if link is not None and link.state == "live" else None

    def known(self, ref: Ref) -> bool:
        """Whether the partner has it, by a link; asks the store for what was not loaded."""
        if ref not in self._linked:
            self.load_links([ref])
        return self.live(ref)

    def local_of(self, type_: str, remote: str) -> Ref | None:
        """Our name for one of their resources; copies whose link has ended are still known by it."""
        key = (type_, remote)
        if key not in self._remote:
            link = self.tx.links.by_remote(self.partner.name, type_, remote)
            self._remote[key] = None if link is None or link.state == "ignored" else link.ref
        return self._remote[key]

    def assume(self, type_: str, remote: str, ref: Ref) -> None:
        """From now on their resource is known under this name (it is being taken in)."""
        self._remote[(type_, remote)] = ref

    def allowed(self, stored: Stored) -> bool:
        """Whether this partner may have it now (DECISIONS 2). A former partner is not pushed; directory resources and
        others without a client go along with what refers to them."""
        if stored.type not in self.partner.send:
            return False
        if stored.type in DIRECTORY_TYPES or stored.client is None:
            return not stored.sensitive
        held = self._grants.get(stored.client)
        if held is None:
            held = tuple(self.tx.plans.grants(partner=self.partner.name, client=stored.client, at=self.now))
            self._grants[stored.client] = held
        for grant in held:
            if grant.kind == "member" and (stored.case == grant.case if stored.case else not stored.sensitive):
                return True
            if grant.kind == "invited" and grant.item == stored.ref:
                return True
        return False

    def sendable(self, ref: Ref) -> bool:
        """Whether it will be created at the partner when something refers to it."""
        stored = self.stored.get(ref)
        link = self.links.get(ref)
        if stored is None or stored.deleted or (link is not None and link.state != "live"):
            return False
        return WHOLE not in self.held.get(ref, ()) and self.dialect.creates(ref.type) != "none" and self.allowed(stored)

