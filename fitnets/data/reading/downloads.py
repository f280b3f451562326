"""The Hugging Face hub: downloads, the copies of earlier downloads, and a quick end where there is no network."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_WAIT_S = 5.0
"""how long the hub may take to answer anything; its own client tries for half a minute"""


def load(repository: str, subset: str | None, *, revision: str | None, split: str) -> Any:
    """A split as a `datasets.Dataset`. Where the hub does not answer, the copy of an earlier download.

    Raises what `datasets.load_dataset` raises, within seconds where there is neither network nor copy."""
    import datasets

    with _without_network():
        return datasets.load_dataset(repository, subset, revision=revision, split=split)


@contextmanager
def _without_network() -> Iterator[None]:
    """Work on local copies alone while the hub cannot be reached: otherwise every request is tried again and again."""
    import datasets
    from huggingface_hub import constants

    places: list[Any] = [constants, datasets.config]
    before = [place.HF_HUB_OFFLINE for place in places]
    if any(before) or reachable():
        yield
        return
    for place in places:
        place.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:  # ConnectionError and FileNotFoundError among them
        raise ConnectionError("no answer from there, and no copy of an earlier download here") from error
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def reachable() -> bool:
    """Whether the hub (HF_ENDPOINT) answers one request within seconds, with whatever status. Proxies count."""
    answered, finished = threading.Event(), threading.Event()

    def ask() -> None:
        from huggingface_hub import constants, get_session

        with suppress(Exception):  # whatever the HTTP library raises: there is no answer
            get_session().head(constants.ENDPOINT, timeout=_WAIT_S)
            answered.set()
        finished.set()

    threading.Thread(target=ask, daemon=True).start()  # looking up a name has no time limit of its own
    finished.wait(_WAIT_S)
    return answered.is_set()
