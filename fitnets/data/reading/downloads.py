"""Downloads from the Hugging Face hub. Without a network, an earlier download is used, or loading fails in seconds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_WAIT_S = 5.0
"""seconds that the hub may take for its first response; its own client tries for half a minute"""


def load(repository: str, subset: str | None, *, revision: str | None, split: str) -> Any:
    """A split as a `datasets.Dataset`. If the hub cannot be reached, the copy of an earlier download is used.

    Raises whatever `datasets.load_dataset` raises; ConnectionError within seconds if there is neither a network nor a
    copy."""
    import datasets

    with local_copies_without_network():
        return datasets.load_dataset(repository, subset, revision=revision, split=split)


@contextmanager
def local_copies_without_network() -> Iterator[None]:
    """If the hub cannot be reached, restrict its libraries to local copies inside the block: otherwise they repeat
    failed requests. Raises ConnectionError if a copy is missing then."""
    import datasets
    from huggingface_hub import constants

    modules: list[Any] = [constants, datasets.config]
    settings_before = [module.HF_HUB_OFFLINE for module in modules]
    if any(settings_before) or reachable():
        yield
        return
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:  # includes ConnectionError and FileNotFoundError
        raise ConnectionError("the hub does not respond, and no earlier download is on this machine") from error
    finally:
        for module, setting in zip(modules, settings_before, strict=True):
            module.HF_HUB_OFFLINE = setting


def reachable() -> bool:
    """True if the hub at HF_ENDPOINT responds to one request within seconds, whatever the status. Proxies are used."""
    responded, finished = threading.Event(), threading.Event()

    def request() -> None:
        from huggingface_hub import constants, get_session

        with suppress(Exception):  # whatever the HTTP library raises, there is no response
            get_session().head(constants.ENDPOINT, timeout=_WAIT_S)
            responded.set()
        finished.set()

    threading.Thread(target=request, daemon=True).start()  # looking up a host name has no timeout
    finished.wait(_WAIT_S)
    return responded.is_set()
