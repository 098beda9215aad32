"""Who calls: an organisation, sometimes a person in it, and what its credential allows."""

from __future__ import annotations

from dataclasses import dataclass

from fhircase.access.scopes import Scopes
from fhircase.access.viewer import Viewer
from fhircase.errors import Forbidden
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB


@dataclass(frozen=True, slots=True)
class Principal:
    """``partner`` is the organisation's name here (``hub`` for the case management organisation), ``user`` a person of
    the hub, ``key`` the id of the credential."""

    partner: str
    user: str | None
    admin: bool
    scopes: Scopes
    key: str | None = None

    @property
    def everything(self) -> bool:
        """Sees every client: an administrator or one of the hub's own people (DECISIONS 2, 7)."""
        return self.admin or self.partner == HUB

    def viewer(self, at: int) -> Viewer:
        """``at`` in epoch milliseconds."""
        return Viewer(self.partner, self.everything, at)

    def agent(self) -> Agent:
        return Agent(self.partner, self.user, self.admin)

    def may(self, interaction: str, type: str | None) -> bool:
        return self.scopes.allow(interaction, type)

    def require(self, interaction: str, type: str | None) -> None:
        """Raises Forbidden, naming the missing scope."""
        self.scopes.require(interaction, type)

    def require_admin(self) -> None:
        """Raises Forbidden unless an administrator."""
        if not self.admin:
            raise Forbidden("only an administrator may do this", hint="use an administrator's key")

    def require_hub(self) -> None:
        """Raises Forbidden unless one of the hub's people or an administrator."""
        if not self.everything:
            raise Forbidden("only the case management organisation may do this", hint="use a key of the partner 'hub'")
