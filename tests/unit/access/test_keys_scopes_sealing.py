"""Keys, scopes and seals: pure."""

from __future__ import annotations

import pytest

from fhircase.access import keys
from fhircase.access.principal import Principal
from fhircase.access.scopes import ALL, Scopes, letters
from fhircase.access.sealing import AesSealer, SealBroken
from fhircase.errors import Forbidden, Invalid


def zeros(count: int) -> bytes:
    return b"\0" * count


@pytest.mark.parametrize(
    ("scope", "meaning"),
    [
        ("system/CarePlan.rs", ("CarePlan", "rs")),
        ("system/*.cruds", ("*", "cruds")),
        ("system/Goal.read", ("Goal", "rs")),
        ("system/Goal.write", ("Goal", "cud")),
        ("system/*.*", ("*", "cruds")),
    ],
)
def test_a_scope_is_read(scope: str, meaning: tuple[str, str]) -> None:
    assert letters(scope) == meaning


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "x",
        "user/Goal.rs",
        "patient/Goal.rs",
        "system/Goal.sr",
        "system/Goal.",
        "system/goal.r",
        "system/Goal.rs?status=active",
        "system/Goal.admin",
    ],
)
def test_a_scope_that_systems_do_not_get_is_refused_with_a_hint(scope: str) -> None:
    with pytest.raises(Invalid) as caught:
        Scopes.of((scope,))
    assert caught.value.problems[0].hint


def test_scopes_join_and_say_what_is_missing() -> None:
    scopes = Scopes.of(("system/Goal.r", "system/Goal.s", "system/*.c"))
    assert scopes.allow("read", "Goal") and scopes.allow("search-type", "Goal") and scopes.allow("create", "Task")
    assert not scopes.allow("history-system", None)
    with pytest.raises(Forbidden, match="system/Task.u"):
        scopes.require("update", "Task")


def test_only_the_hub_and_administrators_see_everything() -> None:
    assert Principal("hub", "Kim", False, ALL).viewer(7).everything
    assert Principal("mercy", None, True, ALL).viewer(7).everything
    viewer = Principal("mercy", None, False, ALL).viewer(7)
    assert (viewer.partner, viewer.everything, viewer.at) == ("mercy", False, 7)


def test_a_key_is_recognised_and_kept_only_as_a_digest() -> None:
    key = keys.make(zeros)
    assert key.startswith("fck_") and len(key) == 47
    assert key not in keys.digest(key) and keys.same(keys.digest(key), keys.digest(key))
    assert len(keys.digest("\ud800")) == 64


def test_a_seal_opens_with_its_key_also_after_rotation_and_with_no_other() -> None:
    old = AesSealer(["first secret of many letters"], zeros)
    sealed = old.seal("s3cret")
    assert "s3cret" not in sealed
    rotated = AesSealer(["second secret of many letters", "first secret of many letters"], zeros)
    assert rotated.open(sealed) == "s3cret"
    assert rotated.seal("x").split(".")[0] != sealed.split(".")[0]
    for broken in (sealed[:-4] + "AAAA", "", "x.y", sealed.replace(".", "")):
        with pytest.raises(SealBroken):
            rotated.open(broken)
    with pytest.raises(SealBroken):
        AesSealer(["third secret of many letters"], zeros).open(sealed)
