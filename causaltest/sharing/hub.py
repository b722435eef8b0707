"""Interventions on the Hugging Face Hub, in the layout of a saved folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from causaltest.engine.model import Model
from causaltest.errors import RecordError
from causaltest.interventions import Intervention, Subspace
from causaltest.sharing.folder import DESCRIPTION, NUMBERS, load, save

CARD = "README.md"
FILES = (DESCRIPTION, NUMBERS, "pairs_*.jsonl")


def push_to_hub(
    intervention: Intervention | Subspace,
    repo_id: str,
    *,
    model: Model | None = None,
    private: bool | None = None,
    revision: str | None = None,
    client: Any = None,
) -> str:
    """Upload an intervention to the Hub, as the folder that `save` writes and a model card.

    Parameters
    ----------
    intervention, model
        As for `save`.
    repo_id
        `user/name`; made where missing.
    private
        Whether a new repository is private; None leaves it to the account.
    revision
        Branch; None for the main one.
    client
        A `huggingface_hub.HfApi`; None for one with the account of this machine.

    Returns
    -------
    str
        Where the commit is.

    Raises
    ------
    RecordError
        The intervention cannot be saved, or the Hub refuses.
    """
    with TemporaryDirectory() as folder:
        save(intervention, folder, model=model)
        (Path(folder) / CARD).write_text(card(intervention, repo_id, model), encoding="utf-8")
        return upload(folder, repo_id, private=private, revision=revision, client=client)


def upload(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    client: Any = None,
) -> str:
    """Upload a folder to the Hub, and return where the commit is; see `push_to_hub`.

    Raises
    ------
    RecordError
        The Hub refuses.
    """
    api = _client(client)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message="Save an intervention of causaltest",
        )
    except _failures() as error:
        raise RecordError(f"the Hub did not take {repo_id!r}: {_first_line(error)}") from error
    return str(commit)


def fetch(
    name: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    into: str | None = None,
    client: Any = None,
) -> Path:
    """Fetch some files of a repository, and return the folder that they are in.

    Parameters
    ----------
    name
        `user/name`.
    files
        Patterns of file names.
    revision, client
        As for `from_pretrained`.
    into
        Where to put them; None for the Hub's cache.

    Raises
    ------
    RecordError
        There is no such repository.
    """
    where = {} if into is None else {"local_dir": into}
    try:
        return Path(
            _client(client).snapshot_download(
                name, revision=revision, allow_patterns=list(files), **where
            )
        )
    except _failures() as error:
        raise RecordError(
            f"no intervention {name!r}: there is no such folder, and the Hub gave none of "
            f"that name ({_first_line(error)})"
        ) from error


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    model: Model | None = None,
    other_weights: bool = False,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    revision: str | None = None,
    client: Any = None,
) -> Any:
    """Load an intervention from a folder or from the Hub.

    Parameters
    ----------
    name
        A folder, or `user/name` on the Hub; only the files of an intervention are fetched.
    model, other_weights, functions
        As for `load`.
    revision
        Branch, tag or commit on the Hub.
    client
        As for `push_to_hub`.

    Returns
    -------
    Intervention or Subspace

    Raises
    ------
    RecordError
        There is neither such a folder nor such a repository, or as for `load`.

    Examples
    --------
    >>> from causaltest.interventions import scale
    >>> from causaltest.sites import mlp_output
    >>> folder = save(scale(mlp_output(3), 0.5), "half")
    >>> print(from_pretrained(folder))
    scale(mlp_output[3], factor=0.5)
    """
    folder: str | os.PathLike[str] = name
    if not Path(name).is_dir():
        folder = fetch(str(name), FILES, revision=revision, client=client)
    return load(folder, model=model, other_weights=other_weights, functions=functions)


def _client(client: Any) -> Any:
    if client is not None:
        return client
    from huggingface_hub import HfApi

    return HfApi()


def _failures() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HFValidationError

    # The Hub's own errors, those of the network, and of a cache that is not there offline.
    return (HFValidationError, OSError)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def card(intervention: Intervention | Subspace, repo_id: str, model: Model | None) -> str:
    """Return the model card of an intervention."""
    made_for = "" if model is None else f"It was made for `{model.name}`.\n\n"
    return (
        "---\nlibrary_name: causaltest\ntags: [causaltest, intervention]\n---\n\n"
        f"# {repo_id}\n\nAn intervention of causaltest:\n\n    {intervention}\n\n{made_for}"
        "Load it with:\n\n    from causaltest.sharing import from_pretrained\n\n"
        f'    intervention = from_pretrained("{repo_id}")\n'
    )
