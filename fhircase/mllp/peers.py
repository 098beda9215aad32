"""Who may connect, and as which partner (DECISIONS 17)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


@dataclass(frozen=True, slots=True)
class Peers:
    """Address ranges → partner, the narrowest first. ``default``: the partner of this listener (a port of its own for each
    sender); it stands for loopback, and for listed ranges that name no other."""

    ranges: tuple[tuple[IPv4Network | IPv6Network, str], ...] = ()
    default: str | None = None

    @classmethod
    def of(cls, listed: Iterable[tuple[str, Iterable[str]]], default: str | None = None) -> Peers:
        """From (partner, address ranges). Raises ValueError for what is not a range, or when one range is given to two partners."""
        owners: dict[IPv4Network | IPv6Network, str] = {}
        for partner, ranges in listed:
            for text in ranges:
                network = ip_network(text)
                if owners.setdefault(network, partner) != partner:
                    raise ValueError(f"the range {network} is given to {owners[network]} and to {partner}")
        return cls(tuple(sorted(owners.items(), key=lambda one: -one[0].prefixlen)), default)

    def partner(self, address: str) -> str | None:
        """The partner that an address speaks for; None: it may not connect."""
        try:
            peer = ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        for network, partner in self.ranges:
            if peer in network:
                return partner
        return self.default if peer.is_loopback else None
