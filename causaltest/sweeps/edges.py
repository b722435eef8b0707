"""Edge attribution: how much each edge of the circuit graph carries, estimated by gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causaltest.circuits import Channel
from causaltest.engine.access import Access
from causaltest.engine.hooks import Operation, Side, attached, evaluating
from causaltest.engine.model import Model
from causaltest.engine.prompts import Batch, Row
from causaltest.errors import InterventionError, ModelError, PairError
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.progress import Advance
from causaltest.sites import Site
from causaltest.sweeps.components import Edge, Node
from causaltest.sweeps.estimates import InputPath, check_steps, scored

_ROWS = 16
_TOLERANCE = 1e-4
_CHANNELS: tuple[tuple[Channel, str], ...] = (("q", "query"), ("k", "key"), ("v", "value"))
_INPUT = Site("embedding")
_WRITTEN = ("block_input", "attention_value_output", "attention_output", "mlp_output")


def score_edges(
    model: Model, pairs: Pairs, metric: Metric, *, steps: int, progress: Advance
) -> tuple[tuple[Edge, ...], np.ndarray]:
    """Return all edges and their scores, (pairs, edges); see `Causal.edge_attribution`."""
    check_steps(steps)
    _check_lengths(model, pairs)
    stream = Stream(model, inputs=steps > 1)
    found: dict[int, np.ndarray] = {}
    rows = [Row.of(pair, "base") for pair in pairs]
    for start in range(0, len(rows), _ROWS):
        for indices, batch in model.batches(rows[start : start + _ROWS]):
            chosen = [pairs[start + index] for index in indices]
            sources = model.batch([Row.of(pair, "source") for pair in chosen])
            values = stream.scores(batch, sources, metric, steps)
            found.update((start + i, value) for i, value in zip(indices, values, strict=True))
            progress(len(found), len(rows))
    return stream.edges, np.stack([found[index] for index in range(len(rows))])


def _check_lengths(model: Model, pairs: Pairs) -> None:
    for pair in pairs:
        sides = [len(model.prompts.ids(Row.of(pair, side).prompt)) for side in ("base", "source")]
        if sides[0] != sides[1]:
            raise PairError(
                f"pair {pair.id}: base has {sides[0]} tokens and source {sides[1]}; edges are "
                "scored token by token, so give pairs of equal length"
            )


@dataclass
class Captured:
    """Activations of one forward pass, as they are in its graph."""

    at: dict[Site, Tensor]
    loss: Tensor | None = None

    def __getitem__(self, key: tuple[str, int]) -> Tensor:
        component, layer = key
        return self.at[Site(component, layer=layer)]


class Stream:
    """The residual stream of a model: what is written to it and read from it.

    Parameters
    ----------
    model
        A transformer whose blocks add attention and MLP to the stream.
    inputs
        Whether token embeddings are read as well.

    Raises
    ------
    ModelError
        Heads do not add up to what attention writes.
    SiteError
        A component is missing.
    """

    def __init__(self, model: Model, *, inputs: bool = False) -> None:
        self.model = model
        self.layers = range(model.n_layers)
        names = (*_WRITTEN, "mlp_input", *(f"{name}_output" for _, name in _CHANNELS))
        self.sites = [Site(name, layer=layer) for name in names for layer in self.layers]
        self.last = Site("block_output", layer=self.layers[-1])
        self.sites.append(self.last)
        self.sites += [_INPUT] if inputs else []
        self.access: dict[Site, Access] = {site: model.access(site) for site in self.sites}
        for layer in self.layers:
            self._projection(layer)
        self.parallel = self._is_parallel()
        self.senders = tuple(self._senders())
        self.readers = tuple(self._readers())
        self.edges = tuple(
            Edge(sender, reader, channel)
            for reader, channel in self.readers
            for sender in self.senders
            if self._before(sender, reader)
        )

    def _senders(self) -> Iterator[Node]:
        yield Node("input")
        for layer in self.layers:
            for head in range(self.model.n_heads(layer=layer)):
                yield Node("head", layer, head)
            yield Node("mlp", layer)

    def _readers(self) -> Iterator[tuple[Node, Channel]]:
        for layer in self.layers:
            heads = self.model.n_heads(layer=layer)
            for channel, name in _CHANNELS:
                count = self.model.n_heads(f"head_{name}_output", layer)
                for head in range(count):
                    yield Node("head", layer, head, shared=count != heads), channel
            yield Node("mlp", layer), ""
        yield Node("logits"), ""

    def _before(self, sender: Node, reader: Node) -> bool:
        if reader.kind == "logits" or sender.layer < reader.layer:
            return True
        same = sender.kind == "head" and reader.kind == "mlp" and sender.layer == reader.layer
        return same and not self.parallel

    def scores(self, batch: Batch, sources: Batch, metric: Metric, steps: int) -> np.ndarray:
        """Return the scores of one batch, (rows, edges): one pass of sources, one for each step."""
        with torch.no_grad():
            source = self._run(sources, [])
        with torch.enable_grad():
            run = self._run(batch, [], metric)
        with torch.no_grad():
            self._check_sum(run)
            changes = self._changes(run, source)
        total = self._scored(run, changes)
        if steps > 1:
            moved = (source.at[_INPUT] - run.at[_INPUT]).detach()
            path = InputPath((self.access[_INPUT].path, self.access[_INPUT].side), moved, steps)
            del run, source  # the next step's graph is as large
            for step in range(1, steps):
                with torch.enable_grad():
                    run = self._run(batch, [path.operation(step)], metric)
                total = total + self._scored(run, changes)
        total = total / steps
        flat = {
            (reader.name, channel, sender.name): total[:, v, u].cpu().numpy()
            for v, (reader, channel) in enumerate(self.readers)
            for u, sender in enumerate(self.senders)
        }
        keys = [(edge.receiver.name, edge.channel, edge.sender.name) for edge in self.edges]
        return np.stack([flat[key] for key in keys], axis=1)

    def _run(
        self, batch: Batch, first: list[tuple[str, Side, Operation]], metric: Metric | None = None
    ) -> Captured:
        """Run a batch and keep what is written and read."""
        captured = Captured({})

        def capture(site: Site) -> Operation:
            def operation(tensor: Tensor) -> Tensor | None:
                if site in captured.at:
                    raise InterventionError(
                        f"{site} runs several times in one forward pass; edges cannot be scored"
                    )
                grown = tensor
                if metric is not None and not tensor.requires_grad:
                    grown = tensor + torch.zeros_like(tensor, requires_grad=True)
                captured.at[site] = grown
                return None if grown is tensor else grown

            return operation

        hooks: list[tuple[str, Side, Operation]] = [
            (a.path, a.side, capture(site)) for site, a in self.access.items()
        ]
        with attached(self.model.network, [*first, *hooks]):
            outputs = self.model.run_batch(batch)
        if metric is not None:
            captured.loss = scored(metric, outputs)
        return captured

    def _scored(self, run: Captured, changes: Tensor) -> Tensor:
        """Return gradient times change, (rows, readers, senders)."""
        gradients = torch.stack(list(self._gradients(run)))
        return torch.einsum("vrtd,urtd->rvu", gradients, changes)

    def _gradients(self, run: Captured) -> Iterator[Tensor]:
        """Yield the gradient with respect to what each reader reads, (rows, tokens, width)."""
        read = [
            Site(f"{name}_output", layer=layer) for layer in self.layers for _, name in _CHANNELS
        ]
        read += [Site("mlp_input", layer=layer) for layer in self.layers]
        tensors = [run.at[site] for site in (*read, self.last)]
        assert run.loss is not None
        found = torch.autograd.grad(run.loss, tensors, retain_graph=True, allow_unused=True)
        zero = torch.zeros_like(run.at[self.last])
        gradient = {
            site: torch.zeros_like(run.at[site]) if each is None else each
            for site, each in zip((*read, self.last), found, strict=True)
        }
        names = dict(_CHANNELS)
        for node, channel in self.readers:
            if node.kind == "logits":
                yield gradient[self.last]
                continue
            entering = run["block_input", node.layer]
            if node.kind == "mlp":
                site = Site("mlp_input", layer=node.layer)
                here = entering if self.parallel else run["attention_output", node.layer]
                yield _back(run.at[site], here, gradient[site], zero)
                continue
            site = Site(f"{names[channel]}_output", layer=node.layer)
            one = self.model.access(
                Site(f"head_{names[channel]}_output", layer=node.layer, head=node.head)
            )
            yield _back(run.at[site], entering, _alone(gradient[site], one), zero)

    def _changes(self, clean: Captured, source: Captured) -> Tensor:
        """Return what each sender writes in the source run and not in the base run."""
        made: list[Tensor] = []
        for node in self.senders:
            if node.kind == "input":
                made.append(source["block_input", 0] - clean["block_input", 0])
            elif node.kind == "mlp":
                made.append(source["mlp_output", node.layer] - clean["mlp_output", node.layer])
            else:
                mixed = (
                    source["attention_value_output", node.layer]
                    - clean["attention_value_output", node.layer]
                )
                site = Site("head_attention_value_output", layer=node.layer, head=node.head)
                one = self.model.access(site)
                module = self._projection(node.layer)
                with evaluating(module):
                    made.append(module(_alone(mixed, one)) - module(torch.zeros_like(mixed)))
        return torch.stack(made)

    def _projection(self, layer: int) -> torch.nn.Module:
        """Return the module that brings the heads of a layer back to the stream."""
        mixed = self.access[Site("attention_value_output", layer=layer)]
        if mixed.side != "input":
            raise ModelError(
                f"{self.model.name}: no one module projects the heads of layer {layer} to the "
                "residual stream; edges between heads cannot be scored"
            )
        return self.model.network.get_submodule(mixed.path)

    def _check_sum(self, clean: Captured) -> None:
        """Refuse a stream to which something else is added, or added otherwise."""
        for layer in self.layers:
            parts = clean["block_input", layer] + clean["attention_output", layer]
            parts = parts + clean["mlp_output", layer]
            after = (
                clean.at[self.last] if layer == self.layers[-1] else clean["block_input", layer + 1]
            )
            off, size = float((parts - after).abs().max()), float(after.abs().max())
            if off > _TOLERANCE * size:
                raise ModelError(
                    f"{self.model.name}: block {layer} does not just add its attention and its MLP "
                    f"to the residual stream (they are off by {off:.3g}, where it reaches "
                    f"{size:.3g}); edges of this model cannot be scored"
                )
            mixed = clean["attention_value_output", layer]
            module = self._projection(layer)
            with evaluating(module):
                off = float((module(mixed) - clean["attention_output", layer]).abs().max())
            if off > _TOLERANCE * size:
                raise ModelError(
                    f"{self.model.name}: what attention writes in layer {layer} is not the "
                    "projection of its heads; edges between heads cannot be scored"
                )

    def _is_parallel(self) -> bool:
        """Return whether MLPs read what attention reads, and not what attention writes."""
        ids = torch.tensor([[0, 0]], device=self.model.device)
        row = self.model.batch([Row(tuple(ids[0].tolist()))])
        layer = self.layers[0]
        with torch.enable_grad():
            run = self._run(row, [self._rooted()])
            read, written = run["mlp_input", layer], run["attention_output", layer]
            (found,) = torch.autograd.grad(
                read.sum(), [written], allow_unused=True, retain_graph=False
            )
        return found is None

    def _rooted(self) -> tuple[str, Side, Operation]:
        """Return the operation that makes a graph grow from the first block on."""
        access = self.access[Site("block_input", layer=0)]
        return (
            access.path,
            access.side,
            lambda tensor: tensor + torch.zeros_like(tensor, requires_grad=True),
        )


def _alone(tensor: Tensor, access: Access) -> Tensor:
    """Return a tensor with zeros in all columns but those of one head."""
    made = torch.zeros_like(tensor)
    columns: Any = access.columns
    made[..., columns] = tensor[..., columns]
    return made


def _back(read: Tensor, stream: Tensor, gradient: Tensor, zero: Tensor) -> Tensor:
    """Return the gradient of what is read with respect to the stream it is read from."""
    (found,) = torch.autograd.grad(
        read, [stream], grad_outputs=gradient, retain_graph=True, allow_unused=True
    )
    return zero if found is None else found
