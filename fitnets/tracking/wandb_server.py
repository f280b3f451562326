"""Requests to W&B's server, and work that depends on it, within a limit of time."""

from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from ssl import SSLError
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

ANSWER_S = 4.0
"""seconds within which W&B's server has to respond, and within which an artifact has to be logged"""


def responds(server: Any) -> bool:
    """Return whether W&B's server responds, even if it refuses the key. Behind a proxy the result is True.

    server: W&B's settings"""
    if server.http_proxy or server.https_proxy:
        return True
    try:
        within(ANSWER_S, lambda: _query(f"{server.base_url}/graphql"))
    except (OSError, HTTPException):
        return False
    return True


def _query(url: str) -> None:
    """Send a query to W&B's API. Raises OSError or HTTPException if there is no such API, or if it fails.

    A certificate error counts as a response: W&B itself may trust other certificates than Python does."""
    request = Request(url, b'{"query": "{ __typename }"}', {"Content-Type": "application/json"})
    try:
        urlopen(request, timeout=ANSWER_S).close()
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.NOT_FOUND or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
    except URLError as error:
        if not isinstance(error.reason, SSLError):
            raise


def within(limit_s: float, work: Callable[[], Any]) -> None:
    """Do the work in a thread. Raises TimeoutError if it takes longer than the limit; the thread is then left alone."""

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    errors: list[Exception] = []
    thread = Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {limit_s:g} s")
    if errors:
        raise errors[0]
