"""Talking to the servers of the demo as their users do: over HTTP, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import requests

from fhircase.fhir import jsontext

Resource = dict[str, Any]


class Unexpected(Exception):
    """A server answered something that the story did not expect."""


class Api:
    """A caller of one server, with a key of its own."""

    def __init__(self, base: str, key: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.base = base.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "application/fhir+json, application/json;q=0.9, */*;q=0.1"
        self.session.headers["Cache-Control"] = "no-cache"
        if key:
            self.session.headers["Authorization"] = f"Bearer {key}"
        self.session.headers.update(headers or {})

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        url = path if path.startswith("http") else self.base + path
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data: bytes | None = None
        if isinstance(body, bytes):
            data = body
        elif body is not None:
            data = jsontext.dumps(body).encode()
            kind = "application/fhir+json" if isinstance(body, dict) and "resourceType" in body else "application/json"
            sent.setdefault("Content-Type", kind)
        response = self.session.request(method, url, data=data, headers=sent, timeout=30, allow_redirects=False)
        if response.status_code not in (200, 201, 202, 204):
            raise Unexpected(f"{method} {url} answered {response.status_code}: {response.text[:600]}")
        return response

    def get(self, path: str, **headers: str) -> Any:
        return jsontext.loads(self.call("GET", path, **headers).content)

    def search(self, path: str) -> list[Resource]:
        """Every match of a search, all pages."""
        found: list[Resource] = []
        following: str | None = path
        while following:
            bundle = self.get(following)
            found += [e["resource"] for e in bundle.get("entry", ()) if e.get("search", {}).get("mode", "match") == "match"]
            following = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None)
        return found

    def edit(self, resource: Resource) -> Resource:
        """PUT with If-Match on the version that was read."""
        tag = f'W/"{resource["meta"]["versionId"]}"'
        answer = self.call("PUT", f"/{resource['resourceType']}/{resource['id']}", resource, If_Match=tag, Prefer="return=representation")
        made: Resource = jsontext.loads(answer.content)
        return made


def mllp(host: str, port: int, message: bytes) -> bytes:
    """One message and its acknowledgement over a real MLLP socket."""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(b"\x0b" + message + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            chunk = connection.recv(65536)
            if not chunk:
                raise Unexpected("the MLLP listener closed without an answer")
            answer += chunk
    return answer[1:-2]
