"""Pushes students to the Hugging Face Hub, or writes what would be pushed."""

from collections.abc import Callable
from pathlib import Path

from fitnets.errors import ConfigError
from fitnets.exporting import hub_card, pushed
from fitnets.library.host import untouched
from fitnets.library.loading import HUB, fitted_values, folder_of, stored_student
from fitnets.store import files

Say = Callable[[str], None]


def push(
    run: str | Path,
    name: str,
    *,
    say: Say,
    to: Path | None = None,
    dry_run: bool = False,
    public: bool = False,
    licence: str = hub_card.LICENCE,
    store: str | Path = "outputs",
) -> None:
    """Push the student of a finished run.

    name: USER/NAME
    say: prints lines
    to: write the files into this folder instead of pushing them; files of an earlier push there are replaced
    dry_run: print files, sizes and card; nothing is written or asked of a network
    public: a repository that is made by this push can be read by everybody
    licence: the licence's name on the Hub

    Text that was added to an earlier card stays, outside the section that each push writes.

    Raises ConfigError for a wrong name, an unfinished run or a missing token, before any request."""
    name = _checked_name(name.removeprefix(HUB))
    with untouched():
        network = stored_student(folder_of(run, store))
        if to is not None:
            _check_replaceable(to)
        token = None if dry_run or to is not None else _token()
        earlier = "" if dry_run and to is None else _card_in(to) if to is not None else _card_on_hub(name)
        options = {"name": name, "licence": licence, "earlier": earlier}
        with pushed.assembled(network, fitted_values(network), **options) as folder:
            for line in pushed.lines(folder):
                say(line)
            if dry_run:
                say("\n" + (folder / hub_card.CARD).read_text(encoding="utf-8"))
            elif to is not None:
                for file in hub_card.FILES:
                    files.write(to / file, (folder / file).read_bytes())
                say(f"written to {to}: nothing was pushed")
            else:
                say(f"pushed to {_upload(folder, name, token, public=public)}")


def _checked_name(name: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        if "/" not in name:
            raise HFValidationError(f"'{name}' has no user")
    except HFValidationError as error:
        raise ConfigError(f"{name}: not a name on the Hub ({str(error).splitlines()[0]}): give USER/NAME") from error
    return name


def _token() -> str:
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise ConfigError("the Hub needs a token: run `hf auth login`, or set HF_TOKEN")
    return token


def _check_replaceable(folder: Path) -> None:
    """Raise ConfigError if the folder holds other files than those of a push."""
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - set(hub_card.FILES)):
        raise ConfigError(f"--to {folder}: it holds other files than those of a push: give a new folder")


def _card_in(folder: Path) -> str:
    card = folder / hub_card.CARD
    return card.read_text(encoding="utf-8") if card.exists() else ""


def _card_on_hub(name: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(name, hub_card.CARD)).read_text(encoding="utf-8")
    except (EntryNotFoundError, RepositoryNotFoundError):
        return ""
    except OSError as error:
        raise ConfigError(f"{name}: the Hub cannot be reached ({str(error).splitlines()[0]})") from error


def _upload(folder: Path, name: str, token: str | None, *, public: bool) -> str:
    """Make the repository if there is none, and upload the files in one commit. Returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        address = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[*hub_card.FILES])
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ConfigError(f"{name}: the Hub refused the push ({str(error).strip().splitlines()[0]})") from error
    return str(address)
