"""When there is nothing to apply (DECISIONS 18)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from fhircase.errors import Problem, Refused
from fhircase.hl7v2 import Message


class Unacceptable(Refused):
    """``code`` AR: unacceptable sender, type, processing id or structure; the sender must send something else (HTTP 400). AE: kept,
    not applied, can be replayed once a mapping or a setting is mended (HTTP 422).

    What could be read goes with it for the answer and the record: ``message`` (for a v2 message, perhaps its header alone, None when not
    even that could be read), ``control_id``, ``event`` and ``key`` as in Finding ('' unknown)."""

    def __init__(
        self,
        code: Literal["AR", "AE"],
        problems: Iterable[Problem],
        *,
        message: Message | None = None,
        control_id: str = "",
        event: str = "",
        key: str = "",
    ) -> None:
        super().__init__(problems)
        self.ack: Literal["AR", "AE"] = code
        self.status = 400 if code == "AR" else 422
        self.code = self.problems[0].code if self.problems else "invalid"
        self.message = message
        self.control_id = control_id
        self.event = event
        self.key = key
