"""Which entries of an activation a site means, and what must be known of its module for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from causaltest.engine.access import Access, Places, only_row
from causaltest.engine.given import Given
from causaltest.engine.layouts import Turned
from causaltest.engine.prompts import Batch, Row, places
from causaltest.engine.rows import more_than_tokens, rows_not_first
from causaltest.engine.survey import Place, Seen, survey
from causaltest.errors import InterventionError, SiteError
from causaltest.sites import MODULE, Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model

_MOST_KNOWN = 64


class Placement:
    """Finds the entries that sites mean in the activations of a model.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._found: dict[int, tuple[Site, Access, Row, tuple[object, ...], Places, int]] = {}
        self._survey: tuple[int, dict[Place, Seen]] | None = None

    def places(
        self, site: Site, access: Access, tensor: Tensor, rows: Batch | Given
    ) -> tuple[Places, list[int]]:
        """Return the entries of a batch that a site means, and how many each row has.

        Raises
        ------
        InterventionError
            The activation has no (rows, tokens) axes where they are needed.
        """
        if isinstance(rows, Given):
            return rows.places(site, tensor)
        shape, plain = tensor.shape, None
        if len(rows.rows) == 1 and (known := self._found.get(id(site))) is not None:
            one, way, row, what, found, count = known
            # What is kept is held, so that nothing else can have its identity.
            same = one is site and way is access and row is rows.rows[0]
            if same and what == (shape, rows.ids.shape, rows.start, tensor.device):
                return found, [count]
        if site.component == MODULE:
            shape = tuple(shape)
            if site.dims is not None:
                _check_dims(site, shape, self._model.name)
            plain = None if isinstance(access.side, Turned) else self._plain_shape(site)
        tokens = plain is None or plain[:2] == (1, self._survey_tokens)
        if tokens and len(shape) >= 3 and shape[:2] == rows.ids.shape:
            if len(rows.rows) == 1:
                return self._in_only_row(site, access, tensor, rows)
            found = [self._model.prompts.positions(row, site.pos) for row in rows.rows]
            return places(found, tensor.device, rows.start), [len(each) for each in found]
        first = plain is None or plain[:1] == (1,)
        if first and site.pos is None and shape and shape[0] == len(rows.rows):
            everything = torch.arange(len(rows.rows), device=tensor.device)
            return Places(everything, None), [1] * len(rows.rows)
        where = f"{site}: {access.path}.{access.side}"
        if not first:
            raise InterventionError(rows_not_first(where, shape, plain or (), self._survey_tokens))
        raise InterventionError(_no_tokens(where, site, tuple(shape), rows))

    def _in_only_row(
        self, site: Site, access: Access, tensor: Tensor, rows: Batch
    ) -> tuple[Places, list[int]]:
        """Return the places in the only row of a batch, and remember them for the next run."""
        row, start, device = rows.rows[0], rows.start, tensor.device
        positions = self._model.prompts.positions(row, site.pos)
        found = only_row(positions, start, device)
        if found.lasts:
            if len(self._found) >= _MOST_KNOWN:
                self._found.clear()
            what = tensor.shape, rows.ids.shape, start, device
            self._found[id(site)] = site, access, row, what, found, len(positions)
        return found, [len(positions)]

    def verify(self, sites: Sequence[Site], rows: Batch | Given) -> bool:
        """Make sure of the modules of sites by a plain forward pass, once for each model.

        Components are verified when they are found; a module addressed by its path may run
        several times, or have an axis that only looks like the tokens.

        Returns
        -------
        bool
            Whether each module is known to run exactly once in a forward pass.
        """
        paths = [site for site in sites if site.component == MODULE]
        if not paths:
            return True
        if isinstance(rows, Given):  # nothing is known that could be run beforehand
            return False
        if self._survey is None:
            ids = list(self._model.prompts.ids(rows.rows[0].prompt))
            # Another number of tokens than in the run, so that no other axis fits both, and not
            # one, so that tokens are not taken for rows.
            others = ids[:-1] if len(ids) > 2 else ids * 2
            try:
                self._survey = len(others), self._watch(others)
            except (RuntimeError, ValueError, IndexError):
                self._survey = len(ids), self._watch(ids)
        known = {} if self._survey is None else self._survey[1]
        calls = [known.get((site.path, site.side)) for site in paths]
        return all(seen is not None and seen.calls == 1 for seen in calls)

    def _watch(self, ids: list[int]) -> dict[Place, Seen]:
        tensor = torch.tensor([ids], device=self._model.device)
        found = survey(self._model.network, lambda given: self._model.forward(given, None), tensor)
        # Only shapes are asked for later; the numbers would be kept for as long as the model.
        return {
            place: Seen(seen.calls, None if seen.tensor is None else seen.tensor.to("meta"))
            for place, seen in found.items()
        }

    @property
    def _survey_tokens(self) -> int:
        return 0 if self._survey is None else self._survey[0]

    def _plain_shape(self, site: Site) -> tuple[int, ...] | None:
        """Return the shape of an activation in a plain run of one prompt; None where not known."""
        if self._survey is None:
            return None
        seen = self._survey[1].get((site.path, site.side))
        return None if seen is None or seen.tensor is None else tuple(seen.tensor.shape)


def _no_tokens(where: str, site: Site, shape: tuple[int, ...], rows: Batch) -> str:
    """Return what is wrong with an activation that has no (rows, tokens) axes."""
    more = len(shape) >= 3 and shape[0] == len(rows.rows) and shape[1] > rows.ids.shape[1]
    if more and site.component != MODULE:
        return more_than_tokens(where, shape, rows.ids.shape[1])
    return (
        f"{where} has shape {shape}; expected (rows, tokens, ...) = {tuple(rows.ids.shape)} and a "
        "width. Without pos= the whole activation can be edited where its first axis is the rows"
    )


def _check_dims(site: Site, shape: tuple[int, ...], name: str) -> None:
    assert site.dims is not None
    width = shape[-1] if len(shape) > 1 else 0
    if max(site.dims) >= width:
        has = f"dims 0-{width - 1}" if width else f"no dims, only shape {shape},"
        raise SiteError(f"{site.at(None)} does not exist: {name} has {has} there")
