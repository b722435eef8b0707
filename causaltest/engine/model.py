"""Model: any PyTorch network, with its tokenizer, its components and nothing changed in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from causaltest.engine.access import Access, Places
from causaltest.engine.architecture import Architecture, discover
from causaltest.engine.asking import Asking
from causaltest.engine.batching import cut
from causaltest.engine.company import Company
from causaltest.engine.forwarding import Call, Forward
from causaltest.engine.given import Given
from causaltest.engine.hooks import Operation, Side, attached
from causaltest.engine.loading import Entrance, fingerprint, load_network, vocabulary
from causaltest.engine.output import Output
from causaltest.engine.placement import Placement
from causaltest.engine.prompts import Batch, Prompts, Row, batch
from causaltest.engine.reading import read_batch
from causaltest.engine.rows import as_row
from causaltest.engine.standing import weights
from causaltest.engine.turns import turn
from causaltest.errors import ModelError
from causaltest.pairs import Pair, Prompt
from causaltest.sites import Site

if TYPE_CHECKING:
    from causaltest.interventions import Intervention

_MOST_KNOWN = 256


if TYPE_CHECKING:
    _found_in_turn = cached_property
else:

    class _found_in_turn(cached_property):  # noqa: N801 - a decorator
        """A cached property that is found while no other thread runs the model's network.

        The turn comes first: a thread that has one may ask for the property while another, which
        is to find it, waits for that turn.
        """

        def __get__(self, instance: Model | None, owner: type | None = None) -> Any:
            """Return what was found."""
            if instance is None:
                return self
            known = vars(instance)
            with turn(instance.network):
                if self.attrname not in known:
                    known[self.attrname] = self.func(instance)
            return known[self.attrname]


class Model(Asking):
    """A network that can be run, read and intervened on; the network itself stays as it is.

    Parameters
    ----------
    network
        Any `torch.nn.Module`.
    tokenizer
        A transformers tokenizer; None where prompts are token ids.
    name
        What to call it in messages and reports.
    forward
        How to run it: a function of (network, ids, mask) that returns logits, with ids and mask of
        shape (rows, tokens), mask 1 on real tokens. None for transformers models and for modules
        that are called with ids alone; prompts of unequal length are then never padded.

    Raises
    ------
    ModelError
        `network` is no module.

    Examples
    --------
    >>> import torch
    >>> toy = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5))
    >>> Model(toy, name="toy").run([(0, 1, 2)])[0].logits.shape
    torch.Size([3, 5])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        tokenizer: Any = None,
        name: str = "",
        forward: Forward | None = None,
    ) -> None:
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"Model takes a torch.nn.Module; got {type(network).__name__}. "
                "To load one by name: Model.load('gpt2')"
            )
        self.network = network
        self.name = name or type(network).__name__
        self.prompts = Prompts(tokenizer, self.name, known=partial(vocabulary, network))
        self.placement = Placement(self)
        self._forward = forward
        self._call = Call(network, forward, self.name)
        self._entrance = Entrance(network)
        self._hashed: tuple[object, str] | None = None
        self._known: dict[Prompt, tuple[Tensor, tuple[int]]] = {}
        self.prepared: tuple[Intervention, bool, list[tuple[Intervention, Site, Access]]] | None
        self.prepared = None

    @staticmethod
    def load(model: str, *, name: str = "", device: str = "auto", dtype: str = "float32") -> Model:
        """Load a model by folder or hub name.

        Parameters
        ----------
        model
            A folder written by `save_pretrained`, or a name on the hub.
        name
            What to call it in messages and reports; by default the hub name, or the folder's.
        device
            A torch device, or `auto`.
        dtype
            `float32`, `bfloat16`, `float16` or `float64`.

        Returns
        -------
        Model

        Raises
        ------
        ModelError
            There is no such model, or it cannot be loaded.
        """
        network, tokenizer = load_network(str(model), device=device, dtype=dtype)
        folder = Path(model)
        shown = name or (folder.resolve().name if folder.exists() else str(model))
        return Model(network, tokenizer=tokenizer, name=shown)

    def __repr__(self) -> str:
        return f"<Model {self.name}: {type(self.network).__name__}>"

    @_found_in_turn
    def architecture(self) -> Architecture:
        """Components and where they live, found and verified on first use."""
        return discover(
            self.network,
            lambda ids: self.forward(ids, torch.ones_like(ids) if self.company.pads else None),
            self.name,
        )

    @property
    def sha256(self) -> str:
        """Hash of all weights, as they are now."""
        now = weights(self.network)
        if self._hashed is None or self._hashed[0] != now:
            self._hashed = now, fingerprint(self.network)
        return self._hashed[1]

    @property
    def device(self) -> torch.device:
        """Where the network takes its ids."""
        return self._entrance.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights."""
        kinds = (each.dtype for each in self.network.parameters() if each.is_floating_point())
        return next(kinds, torch.float32)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components this model has."""
        return self.architecture.components

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.architecture.blocks)

    def n_heads(self, component: str = "head_attention_value_output", layer: int = 0) -> int:
        """Return how many heads a component has; keys and values count key-value heads.

        Raises
        ------
        SiteError
            The model has no such component or layer.
        """
        whole = component.removeprefix("head_")
        return self.access(Site(whole, layer=layer)).heads or 1

    def access(self, site: Site) -> Access:
        """Return where a site lives in the network.

        Raises
        ------
        SiteError
            The network has no such component, layer, head, dim or module.
        """
        return self.architecture.resolve(site, self.network, self.name)

    @property
    def forwards_itself(self) -> bool:
        """Whether the network is called as it is, not through a function of the user."""
        return self._forward is None

    @cached_property
    def company(self) -> Company:
        """Which rows may share a batch."""
        return Company(self, pads=self._call.masks)

    @cached_property
    def _padding(self) -> int:
        return self._call.padding(self.prompts.tokenizer)

    @property
    def decoder_start(self) -> int | None:
        """Token that an encoder-decoder begins to write with; None where there is no decoder."""
        return self._call.decoder_start

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Run the network on token ids and return its logits (or last hidden states).

        The encoder of an encoder-decoder reads the ids, and its decoder writes one token.

        Parameters
        ----------
        ids
            (rows, tokens).
        mask
            (rows, tokens), 1 on real tokens; None for no padding.

        Returns
        -------
        Tensor
            (rows, tokens, classes) or (rows, classes).
        """
        return self._call(ids, mask)

    def batches(
        self, rows: Sequence[Row], sites: Sequence[Site] = ()
    ) -> Iterable[tuple[list[int], Batch]]:
        """Cut rows into batches of bounded memory, similar lengths together.

        Parameters
        ----------
        rows
            The prompts.
        sites
            What is to be read or edited in them; some sites allow no padding.

        Returns
        -------
        iterable of (indices, Batch)
            The indices say which of `rows` are in the batch.
        """
        return cut(self, rows, sites)

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Return rows as one batch."""
        if len(rows) > 1:
            return batch(rows, self.prompts, self.device, self._padding)
        (row,) = rows
        device = self._entrance.device
        known = self._known.get(row.prompt)
        if known is None or known[0].device != device:
            ids = self.prompts.ids(row.prompt)
            known = torch.tensor([ids], device=device), (len(ids),)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[row.prompt] = known
        # A copy, which is made faster than a new tensor: networks and hooks may write on it.
        return Batch((row,), known[0].clone(), known[1])

    def run_batch(
        self, rows: Batch, operations: Sequence[tuple[str, Side, Operation]] = ()
    ) -> list[Output]:
        """Run one batch with hooks attached for its length.

        Parameters
        ----------
        rows
            The batch.
        operations
            As for `attached`.

        Returns
        -------
        list of Output
            One for each row, without padding.
        """
        several = len(rows.rows) > 1
        mask = rows.mask if several and self.company.pads and rows.ragged else None
        with attached(self.network, operations, evaluates=True):
            logits = self._call(rows.ids, mask)
        shape = logits.shape
        per_token = len(shape) == 3
        fits = shape[:2] == rows.ids.shape if per_token else len(shape) == 2
        if not fits or shape[0] != len(rows.rows):
            raise ModelError(
                f"{self.name} returned logits of shape {tuple(logits.shape)} for "
                f"{len(rows.rows)} prompts of up to {rows.ids.shape[1]} tokens; "
                "expected (rows, tokens, classes) or (rows, classes)\n"
                "pass Model(network, forward=...) with a function of (network, ids, mask) "
                "that returns one of these"
            )
        outputs: list[Output] = []
        for i, row in enumerate(rows.rows):
            length = rows.lengths[i]
            own = logits[i, :length] if per_token and length < shape[1] else logits[i]
            outputs.append(Output(own, row, self))
        return outputs

    def run(self, prompts: Iterable[Prompt | Pair | Row]) -> list[Output]:
        """Run prompts without any intervention.

        Parameters
        ----------
        prompts
            Texts, token ids, or pairs (their base prompt is run).

        Returns
        -------
        list of Output
            In the order of the prompts.
        """
        rows = [as_row(prompt) for prompt in prompts]
        outputs: dict[int, Output] = {}
        with torch.no_grad():
            for indices, each in self.batches(rows):
                outputs.update(zip(indices, self.run_batch(each), strict=True))
        return [outputs[index] for index in range(len(rows))]

    def read(
        self,
        sites: Site | Iterable[Site],
        prompts: Iterable[Prompt | Pair | Row],
        *,
        gradients: bool = False,
    ) -> dict[Site, list[Tensor]]:
        """Read activations at any number of sites in one pass over the prompts.

        The pass ends at the last module that is read.

        Parameters
        ----------
        sites
            Where to read.
        prompts
            Texts, token ids, or pairs (their base prompt is read).
        gradients
            Whether gradients flow from what is read to the weights.

        Returns
        -------
        dict
            Site to one tensor for each prompt, (positions, width).

        Raises
        ------
        SiteError
            A site does not exist in this model.
        InterventionError
            A module at a site did not run, or its activation has no (rows, tokens) axes.

        Examples
        --------
        >>> import torch
        >>> from causaltest.sites import module
        >>> toy = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5))
        >>> Model(toy).read(module("0"), [(0, 1, 2)])[module("0")][0].shape
        torch.Size([3, 4])
        """
        wanted = (sites,) if isinstance(sites, Site) else tuple(sites)
        rows = [as_row(prompt) for prompt in prompts]
        collected: dict[Site, dict[int, Tensor]] = {site: {} for site in wanted}
        with torch.set_grad_enabled(gradients):
            for indices, each in self.batches(rows, wanted):
                for site, (flat, counts) in read_batch(self, wanted, each).items():
                    parts = torch.split(flat, counts)
                    collected[site].update(zip(indices, parts, strict=True))
        return {
            site: [found[index] for index in range(len(rows))] for site, found in collected.items()
        }

    def places(
        self, site: Site, access: Access, tensor: Tensor, rows: Batch | Given
    ) -> tuple[Places, list[int]]:
        """Return the entries of a batch that a site means, as `Placement.places` does."""
        return self.placement.places(site, access, tensor, rows)

    def verify(self, sites: Sequence[Site], rows: Batch | Given) -> bool:
        """Make sure of the modules of sites, as `Placement.verify` does."""
        return self.placement.verify(sites, rows)
