"""The part of a learned subspace that the next linear map can see."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from causaltest.engine.model import Model
from causaltest.engine.subspaces import as_held
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention, low_rank
from causaltest.interventions.subspaces import Rotation
from causaltest.sites import Site

_SEEN = 1e-4


def row_space_part(model: Model, intervention: Intervention) -> Intervention:
    """Return an interchange of the part of each subspace that lies in the next map's row space.

    Parameters
    ----------
    model
        The model.
    intervention
        Interchanges of rotations, each at the input of one linear map.

    Returns
    -------
    Intervention

    Raises
    ------
    InterventionError
        A site is not the input of one linear map, a subspace is no rotation, or nothing of it is
        seen.

    Notes
    -----
    With the reduced singular value decomposition W = U S V^T of the map, directions R become an
    orthonormal basis of V V^T R, directions shorter than 1e-4 left out. Makelov et al. 2024 (arXiv
    2311.17030), section 4.
    """
    parts: list[Intervention] = []
    for part in intervention.parts:
        subspace = getattr(part, "subspace", None)
        if not isinstance(subspace, Rotation):
            raise InterventionError(f"{part} is no interchange of a rotation; it has no row space")
        basis = as_held(subspace.basis)[:, list(subspace.dims)].double()
        for site in part.sites:
            seen = _projected(_map(model, site), basis)
            if not seen.shape[1]:
                raise InterventionError(
                    f"no direction of {part} lies in the row space of the map behind {site}; it "
                    "works through nothing that map reads"
                )
            parts.append(replace(part, sites=(site,), subspace=low_rank(seen)))  # pyright: ignore[reportCallIssue]
    return reduce(add, parts)


def _map(model: Model, site: Site) -> Tensor:
    """Return the weights of the linear map that a site feeds, (outputs, inputs)."""
    access = model.access(site)
    module: nn.Module = model.network.get_submodule(access.path)
    weight = getattr(module, "weight", None)
    columns = access.columns
    if access.side == "input" and isinstance(weight, Tensor) and weight.ndim == 2:
        # Linear holds (outputs, inputs), transformers' Conv1D (inputs, outputs).
        held = (weight if isinstance(module, nn.Linear) else weight.T).detach().double()
        if columns is None:
            return held
        if isinstance(columns, (Tensor, slice)):
            return held[:, columns]
    raise InterventionError(
        f"{site} is the {access.side} of {access.path}, and not the input of one linear map; "
        "a row space is known of sites such as mlp_activation or attention_value_output"
    )


def _projected(weight: Tensor, basis: Tensor) -> Tensor:
    _, sizes, rows = torch.linalg.svd(weight, full_matrices=False)
    rows = rows[sizes > sizes.max() * 1e-6]
    left, lengths, _ = torch.linalg.svd(rows.mT @ (rows @ basis.to(rows.device)))
    return left[:, : basis.shape[1]][:, lengths > _SEEN].float()
