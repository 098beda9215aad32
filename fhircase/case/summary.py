"""The case for the client to read: plain words, short sentences, their own words first. Pure.

Shown are the goals, preferences and strengths, who helps, what is planned, the next dates and what to do in a crisis. Never shown are
notes, findings, diagnoses, risks, flags and medicines, nor an entry with a privacy label that the plan itself does not hold.
Titles and names stand as they were entered (CONCEPTS.md, "empowerment, self-sufficiency")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from fhircase.case import decisions, goals, people, phrases
from fhircase.case.document import (
    ACCEPTED,
    OPEN_GOALS,
    Doc,
    covers,
    entries,
    first_day,
    in_force,
    is_client,
    is_order,
    items,
    last_day,
    moment,
    part,
    refer,
    runs,
    stands,
    word,
    words,
)


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """``language`` the one that was used, ``wanted`` what the client asked for, preferred first; ``text`` the whole as plain text."""

    language: str
    wanted: tuple[str, ...]
    title: str
    sections: tuple[Section, ...]
    text: str


@dataclass(frozen=True, slots=True)
class _Teller:
    doc: Doc
    today: date
    language: str
    names: Mapping[str, str]
    zone: tzinfo | None

    def say(self, key: str, **values: str) -> str:
        return phrases.say(self.language, key, **values)

    def day(self, when: date) -> str:
        return phrases.day(self.language, when)


def summary(
    doc: Doc,
    today: date,
    *,
    language: str = "",
    names: Mapping[str, str] | None = None,
    zone: tzinfo | None = None,
) -> Summary:
    """The case in the client's language: ``language`` where it is given, else the first of the client's languages, preferred ones
    before others, that there are phrases for (``phrases.LANGUAGES``), else English; the text then says so. ``names``: reference →
    name, for people whom the team does not name. ``zone``: where the client lives, to tell the time of day there; without it, times
    stand as they were written."""
    wanted = languages(doc, language)
    used = next((spoken for spoken in map(_primary, wanted) if spoken in phrases.LANGUAGES), "en")
    teller = _Teller(doc, today, used, names or {}, zone)
    name = _client_name(part(doc, "client"))
    title = teller.say("title-for", name=name) if name else teller.say("title")
    sections = [Section(teller.say(key), tuple(dict.fromkeys(tell(teller)))) for key, tell in SECTIONS.items()]
    tail = () if not wanted or used == _primary(wanted[0]) else (teller.say("language"),)
    blocks = [title, *("\n".join([section.title, *(f"- {line}" for line in section.lines)]) for section in sections), *tail]
    return Summary(used, wanted, title, tuple(sections), "\n\n".join(blocks) + "\n")


def languages(doc: Doc, asked: str = "") -> tuple[str, ...]:
    """The languages to try, in this order: what is asked for, then the client's preferred ones, then the others."""
    held = part(doc, "client").get("languages")
    spoken: list[tuple[bool, str]] = []
    for one in held if isinstance(held, list | tuple) else ():
        if isinstance(one, Mapping):
            spoken.append((one.get("preferred") is not True, word(one.get("language"))))
        else:
            spoken.append((True, word(one)))
    found = [asked, *(code for _, code in sorted(spoken, key=lambda pair: pair[0]))]
    return tuple(dict.fromkeys(code for code in found if code))


def _primary(code: str) -> str:
    """``es-MX`` → ``es`` (BCP 47: the first subtag)."""
    return code.replace("_", "-").split("-")[0].lower()


def _client_name(client: Doc) -> str:
    """How the client is called: the name in use before the official one."""
    held = sorted(items(client, "names"), key=lambda one: {"usual": 0, "official": 1}.get(word(one.get("use")), 2))
    for one in held:
        if one.get("use") == "old":
            continue
        whole = word(one.get("text")) or " ".join([*words(one.get("given")), *words(one.get("family"))])
        if whole:
            return whole
    return ""


# ------------------------------------------------------------------------------------------ what is shown


def _shown(t: _Teller, name: str) -> list[Doc]:
    """Entries that the client is shown: those without a privacy label, and of the others those that the plan holds."""
    plan = part(t.doc, "plan")
    held = {*words(plan.get("goals")), *(ref for one in items(plan, "activities") for ref in words(one.get("service")))}
    return [one for one in entries(t.doc, name) if not one.get("labels") or refer(name, one) in held]


def _own_words(t: _Teller) -> list[str]:
    lines = []
    for goal in _shown(t, "goals"):
        text = word(goal.get("title"))
        if not text or not stands(goal) or not goals.client_expressed(goal, t.doc, t.today):
            continue
        due = last_day(goal.get("due"))
        if word(goal.get("achievement")) in ("achieved", "sustaining"):
            lines.append(t.say("wanted", text=text))
        elif due is not None and due >= t.today and first_day(goal.get("due")) == due:
            lines.append(t.say("want-by", text=text, day=t.day(due)))
        else:
            lines.append(t.say("want", text=text))
    for one in _shown(t, "preferences"):
        text = _words_of(one)
        if text and (not words(one.get("by")) or _clients_own(t, one)):
            lines.append(t.say("matters", text=text))
    for one in _shown(t, "strengths"):
        text = _words_of(one)
        if text:
            lines.append(t.say("strong" if _clients_own(t, one) else "seen", text=text))
    return lines or [t.say("own-none")]


def _words_of(one: Doc) -> str:
    return word(one.get("text")) or word(one.get("answer"))


def _clients_own(t: _Teller, one: Doc) -> bool:
    day = first_day(one.get("when")) or t.today
    return any(people.speaks_for_client(t.doc, who, day) for who in words(one.get("by")))


def _who(t: _Teller) -> list[str]:
    held = people.owner(t.doc, t.today)
    name = _name(t, held.person)
    lines = [t.say("cover" if held.covering else "owner", name=name)] if name else [t.say("owner-none")]
    for member in items(part(t.doc, "team"), "members"):
        person, roles = word(member.get("person")), words(member.get("role"))
        called = word(member.get("name")) or _name(t, person)
        if not called or person == held.person or "client" in roles or is_client(t.doc, person) or not covers(member, t.today):
            continue
        role = ", ".join(phrases.named(t.language, phrases.ROLES, one) for one in roles)
        lines.append(t.say("member", name=called, role=role) if role else called)
    for point in items(part(t.doc, "team"), "contact_points"):
        if point.get("kind") in ("phone", "sms") and word(point.get("value")):
            lines.append(t.say("call", number=word(point.get("value"))))
    return lines


def _name(t: _Teller, ref: str) -> str:
    if not ref:
        return ""
    said = (word(one.get("name")) for one in items(part(t.doc, "team"), "members") if one.get("person") == ref)
    return next((one for one in said if one), t.names.get(ref, ""))


_TABLES: Mapping[str, Mapping[str, phrases.Row]] = {"services": phrases.SERVICES, "equipment": phrases.EQUIPMENT}


def _planned(t: _Teller) -> list[str]:
    refused = decisions.refused_refs(t.doc, t.today)
    arranged, choices = [], []
    for name, table in _TABLES.items():
        for one in _shown(t, name):
            kind = word(one.get("kind"))
            if not kind or not runs(one) or refer(name, one) in refused:
                continue
            what = phrases.named(t.language, table, kind)
            day = first_day(one.get("from") or one.get("at"))
            if not is_order(one):
                if one.get("state") in ("draft", "active"):
                    choices.append(t.say("choice", what=what))
            elif one.get("state") not in ("active", "on-hold"):
                continue
            elif any(is_client(t.doc, who) for who in words(one.get("provider"))):
                arranged.append(t.say("alone", what=what))
            elif day is not None and day >= t.today and last_day(one.get("from") or one.get("at")) == day:
                arranged.append(t.say("service-from", what=what, day=t.day(day)))
            else:
                arranged.append(t.say("service", what=what))
    arranged += [
        t.say("alone", what=word(task.get("title")))
        for name in ("loops", "tasks")
        for task in _shown(t, name)
        if is_client(t.doc, task.get("owner")) and word(task.get("state")) in ACCEPTED - {"completed"} and word(task.get("title"))
    ]
    also = [
        t.say("also", text=word(goal.get("title")))
        for goal in _shown(t, "goals")
        if word(goal.get("lifecycle")) in OPEN_GOALS - {"proposed"}
        and stands(goal)
        and word(goal.get("title"))
        and not goals.client_expressed(goal, t.doc, t.today)
    ]
    return [*arranged, *also, *choices] or [t.say("planned-none")]


_COMING = frozenset({"pending", "booked", "arrived", "checked-in", "waitlist", "active", ""})
"""States of an appointment or a planned contact that is still to come; a proposed one is not agreed yet."""


def _next(t: _Teller) -> list[str]:
    dated = []
    for name, key in (("appointments", "appointment"), ("planned_contacts", "contact")):
        for one in _shown(t, name):
            when = one.get("starts") or one.get("when") or one.get("from")
            day, sort = first_day(when), moment(when)
            if day is None or sort is None or day < t.today or word(one.get("state")) not in _COMING or one.get("not_wanted") is True:
                continue
            asked = words(one.get("recipients"))
            if not asked or any(is_client(t.doc, who) for who in asked):
                kinds = ", ".join(phrases.named(t.language, phrases.SERVICES, kind) for kind in words(one.get("kinds")))
                dated.append((sort, t.say("on", day=_when(t, when), what=word(one.get("title")) or kinds or t.say(key))))
    return [line for _, line in sorted(dated, key=lambda pair: pair[0])] or [t.say("next-none")]


def _when(t: _Teller, written: object) -> str:
    """A day, with the time of day where it was written. A time in UTC is the client's time only where the zone is known."""
    day = first_day(written)
    assert day is not None
    if isinstance(written, str) and "T" in written:
        read = datetime.fromisoformat(written)
        if t.zone is not None and read.tzinfo is not None:
            return phrases.moment(t.language, read.astimezone(t.zone))
        if not written.endswith("Z"):
            return phrases.moment(t.language, read)
    return t.day(day)


def _crisis(t: _Teller) -> list[str]:
    lines = [t.say("emergency")]
    for plan in _shown(t, "crisis_plans"):
        if not in_force(plan, t.today):
            continue
        if word(plan.get("title")):
            lines.append(t.say("agreed", text=word(plan.get("title"))))
        if word(plan.get("about")):
            lines.append(t.say("signs", text=word(plan.get("about"))))
        for step in items(plan, "steps"):
            what, when = word(step.get("do")), word(step.get("when"))
            if what and word(step.get("state")) not in ("cancelled", "stopped", "entered-in-error"):
                lines.append(t.say("never" if step.get("never") is True else "do", text=f"{what} ({when})" if when else what))
    name = _name(t, people.owner(t.doc, t.today).person)
    return [*lines, t.say("ask-crisis", name=name)] if name else lines


SECTIONS: Mapping[str, Callable[[_Teller], list[str]]] = {
    "own": _own_words,
    "who": _who,
    "planned": _planned,
    "next": _next,
    "crisis": _crisis,
}
"""Title phrase → lines, in the order in which the client reads them."""
