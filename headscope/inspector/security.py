"""Who may ask, and what a page may do: the server answers its own machine under its own name; pages load no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headscope.inspector.asked import CHARACTERS

if TYPE_CHECKING:
    from dash import Dash
    from flask import Flask, Response

NAMES = ("127.0.0.1", "localhost")
BODY = 64 * CHARACTERS  # bytes of a request: many times the longest prompt
FRAME = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'"
)


def page_policy(hashes: Sequence[str]) -> str:
    """Scripts of this server and the inline ones of these hashes; nothing from elsewhere, nothing framed elsewhere."""
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; frame-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def secure(app: Dash) -> None:
    """Put the checks before and the headers behind every answer; call it when all callbacks are there."""
    from flask import request

    server: Flask = app.server
    server.config["MAX_CONTENT_LENGTH"] = BODY
    policy = page_policy(app.csp_hashes())

    def check() -> tuple[str, int] | None:
        problem = refused(request.headers.get("Host", ""), request.headers.get("Sec-Fetch-Site", ""), request.method)
        return (problem, 403) if problem else None

    def add_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    hooks: Any = server
    hooks.before_request(check)
    hooks.after_request(add_headers)


def refused(host: str, site: str, method: str) -> str:
    """Why a request is not answered; empty where it is.

    A page elsewhere can point a name of its own at 127.0.0.1: the Host header then holds that name. Only this server's
    own pages may ask it to compute.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name not in NAMES:
        return f"This server answers as 127.0.0.1 and localhost alone, not as {host[:80]!r}."
    if method != "GET" and site not in ("", "same-origin", "none"):
        return "Only the inspector's own page may ask this server to compute."
    return ""
