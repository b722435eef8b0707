"""The part of a network above an edit, run under autograd on what the part below it gave once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from causaltest.engine.applied import declared
from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.lower import Kept, Members, below, keys_of, needed_of, within
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Row
from causaltest.engine.readout import Readout
from causaltest.engine.sources import Stored, reads_for
from causaltest.engine.sweeps.calling import Slice, step
from causaltest.engine.sweeps.capture import Call, Unfit
from causaltest.engine.sweeps.checking import causal, check_arguments, readout_of
from causaltest.engine.sweeps.placing import BEFORE, Places
from causaltest.engine.sweeps.prefix import Prefix
from causaltest.errors import InterventionError
from causaltest.interventions import Intervention
from causaltest.pairs import Pairs
from causaltest.sites import Pos

_ROOM = 2**28
"""Bytes that what is kept may take, where the weights take less."""
_TOLERANCE = 1e-4


@contextmanager
def frozen_weights(network: nn.Module) -> Iterator[None]:
    """Take no gradients of a network's weights for the length of the context."""
    trained = [each for each in network.parameters() if each.requires_grad]
    for each in trained:
        each.requires_grad = False
    try:
        yield
    finally:
        for each in trained:
            each.requires_grad = True


class Upper:
    """Runs an intervention on the base prompts of pairs, again and again, with gradients.

    Sources are read once. Where the blocks of the network are understood, what lies below the
    edits, before them in the prompts, and anything that only other tokens read, is not run again;
    else the whole network is. Which of the two it is is said in `plan`.

    Parameters
    ----------
    model
        The model.
    intervention
        One of the kind that will be run: same sites, other numbers.
    pairs
        The pairs.
    at
        Where logits are read, one token of each prompt.
    room
        Bytes that what is kept may take; None for what the weights take, 256 MiB at least.

    Raises
    ------
    InterventionError
        The intervention draws at random or averages over prompts, or logits are read at several
        tokens.
    """

    def __init__(
        self,
        model: Model,
        intervention: Intervention,
        pairs: Pairs,
        at: Pos,
        *,
        room: int | None = None,
    ) -> None:
        if intervention.draws > 1 or any(not part.needs_source for part in intervention.parts):
            raise InterventionError(
                f"{intervention} cannot be learned: it takes nothing from a source prompt"
            )
        self._model = model
        self._rows = [Row.of(pair, "base") for pair in pairs]
        self._read = [self._one_token(row, at) for row in self._rows]
        with torch.no_grad():
            stored = reads_for(model, intervention, list(pairs), pairs, 0)
        self._given = [
            {site: torch.split(flat, counts) for site, (flat, counts) in stored[part].items()}
            for part in intervention.parts
        ]
        self._kept: dict[int, Kept] = {}
        self._readout: Readout | None = None
        self._too_much = ""
        weights = sum(each.nbytes for each in model.network.parameters())
        self._room = max(_ROOM, weights) if room is None else room
        self.plan = self._prepare(intervention)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def network(self) -> nn.Module:
        """The network that is run."""
        return self._model.network

    def logits(self, indices: Sequence[int], intervention: Intervention) -> Tensor:
        """Run some pairs and return the logits where they are read.

        Parameters
        ----------
        indices
            Which pairs.
        intervention
            What to edit; as that of the constructor, with other numbers.

        Returns
        -------
        Tensor
            (pairs, classes), in the order of `indices`.

        Raises
        ------
        InterventionError
            An edit did not happen exactly once.
        """
        groups: dict[int, list[int]] = {}
        for index in indices:
            groups.setdefault(self._length(index), []).append(index)
        found: dict[int, Tensor] = {}
        with evaluating(self._model.network):
            for length, members in groups.items():
                kept = self._kept.get(length)
                run = self._whole if kept is None else self._upper
                found.update(zip(members, run(members, intervention), strict=True))
        return torch.stack([found[index] for index in indices])

    # What follows serves the methods above

    def _one_token(self, row: Row, at: Pos) -> int:
        found = self._model.prompts.positions(row, at)
        if len(found) != 1:
            raise InterventionError(
                f"position {at!r} covers {len(found)} tokens; the answer is read at one: use "
                f"'{at}.first' or '{at}.last'"
            )
        return found[0]

    def _length(self, index: int) -> int:
        return len(self._model.prompts.ids(self._rows[index].prompt))

    def _prepare(self, intervention: Intervention) -> str:
        """Run the part below once; return which part is run from then on."""
        try:
            with torch.no_grad():
                self._keep(intervention)
                self._check(intervention)
        except Unfit as reason:
            self._kept.clear()
            return f"the whole network in every step: {reason}"
        first = min(kept.first for kept in self._kept.values())
        start = min(kept.start for kept in self._kept.values())
        blocks = self._model.n_layers - first
        return (
            f"{blocks} of {self._model.n_layers} blocks in every step, tokens from {start} on"
            f"{self._too_much}"
        )

    def _keep(self, intervention: Intervention) -> None:
        self._readout = readout_of(self._model)
        some = self._model.prompts.ids(self._rows[0].prompt)
        check_arguments(self._model, some)
        forwards = causal(self._model, some)
        join = Places(self._model).join(intervention)
        if join is None or join == BEFORE:
            raise Unfit("an edit is made before or beside the blocks")
        by_length: dict[int, list[int]] = {}
        for index in range(len(self._rows)):
            by_length.setdefault(self._length(index), []).append(index)
        first = (join + 1) // 2
        needed = [
            needed_of(self._model, self._places(members, intervention), first, causal=forwards)
            for members in by_length.values()
        ]
        fitting, self._too_much = within(needed, self._room)
        for length, each in zip(by_length, fitting, strict=True):
            self._kept[length] = below(self._model, each)

    def _places(self, members: list[int], intervention: Intervention) -> Members:
        """Return some pairs, and the first token of any that is edited or read."""
        edited = (
            place
            for index in members
            for site in intervention.sites
            for place in self._model.prompts.positions(self._rows[index], site.pos)
        )
        start = min(*edited, *(self._read[index] for index in members))
        return Members(tuple(members), tuple(self._rows[index] for index in members), start)

    def _check(self, intervention: Intervention) -> None:
        """Compare with plain forward passes on a pair or two of each length."""
        for kept in self._kept.values():
            members = list(kept.row)
            chosen = list(dict.fromkeys([members[0], members[-1]]))
            with evaluating(self._model.network):
                fast = torch.stack(list(self._upper(chosen, intervention))).double()
                plain = torch.stack(list(self._whole(chosen, intervention))).double()
            off = float((fast - plain).abs().max())
            if off > _TOLERANCE * max(1.0, float(plain.abs().max())):
                raise Unfit(f"running the upper part alone moves logits by {off:.2g}")

    def _stored(self, members: Sequence[int], intervention: Intervention) -> Stored:
        found = Stored()
        for part, given in zip(intervention.parts, self._given, strict=True):
            found[part] = {
                site: (
                    torch.cat([pieces[index] for index in members]),
                    [len(pieces[index]) for index in members],
                )
                for site, pieces in given.items()
            }
        return found

    def _whole(self, members: Sequence[int], intervention: Intervention) -> Iterator[Tensor]:
        """Run the whole network."""
        batch = self._model.batch([self._rows[index] for index in members])
        edits, operations = declared(
            self._model, intervention, batch, draw=0,
            stored=self._stored(members, intervention), means={},
        )  # fmt: skip
        outputs = self._model.run_batch(batch, operations)
        for edit in edits:
            edit.entry()
        for index, output in zip(members, outputs, strict=True):
            yield output.logits if output.logits.ndim == 1 else output.logits[self._read[index]]

    def _upper(self, members: Sequence[int], intervention: Intervention) -> Iterator[Tensor]:
        """Run the blocks from the first that is edited on."""
        kept = self._kept[self._length(members[0])]
        rows = torch.tensor([kept.row[index] for index in members], device=kept.states.device)
        tokens = kept.track.tokens - kept.start
        # Edits ask for the shape alone.
        ids = torch.empty(len(members), tokens, device="meta")
        batch = Batch(
            tuple(self._rows[index] for index in members), ids, (tokens,) * len(members), kept.start
        )
        edits, operations = declared(
            self._model, intervention, batch, draw=0,
            stored=self._stored(members, intervention), means={},
        )  # fmt: skip
        stream = kept.states[rows]
        inside: list[tuple[str, Side, Operation]] = []
        below = self._model.architecture.blocks[kept.first - 1] if kept.first else ""
        for path, side, operation in operations:
            if path == below and side == "output":
                stream = operation(stream)
                assert stream is not None
            else:
                inside.append((path, side, operation))
        with attached(self._model.network, inside):
            for layer in range(kept.first, len(kept.track.calls)):
                stream = self._step(kept, layer, stream, rows)
        for edit in edits:
            edit.entry()
        places = torch.tensor([self._read[index] - kept.start for index in members])
        states = stream[torch.arange(len(members)), places.to(stream.device)]
        yield from self._answers(states)

    @staticmethod
    def _step(kept: Kept, layer: int, stream: Tensor, rows: Tensor) -> Tensor:
        memory = keys_of(kept.track.memory[layer])
        cache = Prefix(memory, kept.start, rows) if kept.start and memory is not None else None
        part = Slice(slice(kept.start, None), rows, len(rows))
        call: Call = kept.track.calls[layer]
        return step(call, kept.track, stream, part, cache)

    def _answers(self, states: Tensor) -> Tensor:
        assert self._readout is not None
        network = self._model.network
        # With a token axis, as the modules are used to.
        normed = self._readout.normed(network, states[:, None])
        return self._readout.finished(network.get_submodule(self._readout.unembedding)(normed))[
            :, 0
        ]
