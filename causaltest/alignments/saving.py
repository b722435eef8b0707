"""Alignments in folders: the intervention as any other, and `alignment.json` beside it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from causaltest.alignments.alignment import Alignment
from causaltest.alignments.origin import Origin
from causaltest.engine.model import Model
from causaltest.errors import RecordError
from causaltest.sharing import load
from causaltest.sharing import save as save_intervention
from causaltest.sharing.hub import CARD, FILES, card, fetch, upload

if TYPE_CHECKING:
    from causaltest.alignments.aligning import Aligning

DESCRIPTION = "alignment.json"
SCHEMA_VERSION = 2


class _Page(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    origin: Origin


def save(alignment: Alignment, model: Model, folder: str | os.PathLike[str]) -> Path:
    """Save an alignment; see `Alignment.save`."""
    target = save_intervention(alignment.intervention, folder, model=model)
    page = msgspec.json.encode(_Page(SCHEMA_VERSION, alignment.origin))
    try:
        (target / DESCRIPTION).write_bytes(msgspec.json.format(page, indent=1) + b"\n")
    except OSError as error:
        raise RecordError(f"cannot write to {target}: {error.strerror or error}") from error
    return target


def push(
    alignment: Alignment, model: Model, repo_id: str, *, private: bool | None, client: Any
) -> str:
    """Upload an alignment to the Hub; see `Alignment.push_to_hub`."""
    with TemporaryDirectory() as folder:
        save(alignment, model, folder)
        text = card(alignment.intervention, repo_id, model)
        (Path(folder) / CARD).write_text(text, encoding="utf-8")
        return upload(folder, repo_id, private=private, client=client)


def load_alignment(
    causal: Aligning, folder: str | os.PathLike[str], *, client: Any = None
) -> Alignment:
    """Load an alignment that was saved with this model.

    Parameters
    ----------
    causal
        Measures it.
    folder
        Written by `Alignment.save`, or `user/name` on the Hub.
    client
        As for `sharing.push_to_hub`.

    Raises
    ------
    RecordError
        The folder holds no alignment, is damaged, or belongs to another model.
    """
    if not Path(folder).is_dir():
        folder = fetch(str(folder), (*FILES, DESCRIPTION), client=client)
    path = Path(folder) / DESCRIPTION
    intervention = load(folder, model=causal.model)
    try:
        page = msgspec.json.decode(path.read_bytes(), type=_Page)
    except FileNotFoundError:
        raise RecordError(
            f"{folder} holds an intervention, but no alignment ({DESCRIPTION} is missing); use "
            "sharing.load for it"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise RecordError(f"{path} is damaged: {error}") from error
    if page.schema_version != SCHEMA_VERSION:
        raise RecordError(
            f"{path} has version {page.schema_version}, this is causaltest for {SCHEMA_VERSION}"
        )
    return Alignment(causal, intervention, page.origin)
