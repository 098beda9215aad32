"""Place names."""

from __future__ import annotations

import pytest

from fhircase.hl7v2 import Place


@pytest.mark.parametrize("name", ["PID", "PID-3", "PV1-36.1", "PV1-37.1.2", "DG1[2]-3[1].1", "ZZ9[3]"])
def test_a_place_is_written_as_it_is_read(name: str) -> None:
    assert str(Place.of(name)) == name


@pytest.mark.parametrize(
    "name", ["", "pid-3", "PID-", "PID-0", "PID-3.0", "PID3", "PID-3[0]", "PID-3.1.2.3", "PIDX-3", "Patient.name", "PID-99999"]
)
def test_what_is_no_place_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        Place.of(name)


def test_a_place_becomes_an_error_location() -> None:
    assert Place.of("PID").location() == "PID^1"
    assert Place.of("DG1[2]-3[4].1.2").location() == "DG1^2^3^4^1^2"
    assert Place.of("PV1-36").location("*") == "PV1*1*36*1"


def test_indexes_can_be_set() -> None:
    assert str(Place.of("DG1-3").at(occurrence=2, repetition=3)) == "DG1[2]-3[3]"
