"""Whether a narrative is the harmless XHTML that R4 allows (http://hl7.org/fhir/R4/narrative.html, txt-1, txt-2)."""

from __future__ import annotations

import re
from xml.parsers import expat

_NAMESPACE = "http://www.w3.org/1999/xhtml"
_ELEMENTS = frozenset(
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre q "
    "samp small span strong sub sup table tbody td tfoot th thead tr tt ul var".split()
)
_ATTRIBUTES = frozenset(
    "abbr accesskey align alt axis border cellhalign cellpadding cellspacing cellvalign char charoff charset cite class colspan compact "
    "coords dir frame headers height href hreflang hspace id ismap lang longdesc name nowrap rel rev rowspan rules scope shape span src "
    "start style summary tabindex title type usemap valign value vspace width xml:lang xml:space xmlns".split()
)
_UNSAFE_LINK = re.compile(r"[\s\x00-\x20]*(?:javascript|vbscript|data(?!:image/(?:png|gif|jpeg|bmp)[;,]))[\s\x00-\x20]*:", re.IGNORECASE)
_UNSAFE_STYLE = re.compile(r"expression\s*\(|javascript:|behavior\s*:|-moz-binding|@import", re.IGNORECASE)


def fault(div: str) -> str | None:
    """None, or what is wrong. Nothing is fetched and no entity beyond XML's own five is expanded."""
    found: list[str] = []
    state = {"depth": 0, "content": False}

    def start(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition("|")
        if state["depth"] == 0 and (space != _NAMESPACE or local != "div"):
            found.append(f"must be one div in the namespace {_NAMESPACE}")
        elif space != _NAMESPACE or local not in _ELEMENTS:
            found.append(f"holds the element {local[:40]}, which a narrative may not hold")
        state["depth"] += 1
        state["content"] |= local == "img"
        for attribute, value in attributes.items():
            plain = attribute.replace("http://www.w3.org/XML/1998/namespace|", "xml:")
            if plain not in _ATTRIBUTES:
                found.append(f"holds the attribute {plain[:40]}, which a narrative may not hold")
            elif plain in ("href", "src", "cite", "longdesc", "usemap") and _UNSAFE_LINK.match(value):
                found.append("holds a link that is not safe")
            elif plain == "style" and _UNSAFE_STYLE.search(value):
                found.append("holds a style that is not safe")

    def end(name: str) -> None:
        state["depth"] -= 1

    def text(data: str) -> None:
        state["content"] |= not data.isspace()

    def declared(*_: object) -> None:
        found.append("declares a document type or an entity")

    parser = expat.ParserCreate(namespace_separator="|")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = declared
    parser.ProcessingInstructionHandler = lambda *_: found.append("holds a processing instruction")
    try:
        parser.Parse(div, True)
    except (expat.ExpatError, ValueError):
        found.append("is not well-formed XHTML")
    if not found and not state["content"]:
        found.append("has no content")
    return found[0] if found else None
