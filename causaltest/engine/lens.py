"""Looking around: logits read from inner layers, and what each component adds to an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from causaltest.engine.hooks import evaluating
from causaltest.engine.prompts import Row
from causaltest.engine.readout import agree, find_readout
from causaltest.errors import MetricError, ModelError, SiteError
from causaltest.pairs import Pair
from causaltest.sites import Pos, Site

if TYPE_CHECKING:
    from causaltest.engine.model import Model
    from causaltest.engine.output import Output

Over = Literal["components", "heads"] | Iterable[Site]


@dataclass(frozen=True, repr=False)
class LogitLens:
    """What the model would answer if each layer were its last.

    Parameters
    ----------
    prompts
        As text.
    layers
        Blocks whose output is read.
    positions
        Token indices for each prompt.
    tokens
        The tokens at these, for each prompt.
    logits
        One tensor for each prompt, (layers, positions, classes).
    """

    prompts: tuple[str, ...]
    layers: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[str, ...], ...]
    logits: tuple[Tensor, ...]
    _decode: Callable[[int], str] = field(repr=False)

    def __repr__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        return f"<LogitLens: {len(self.prompts)} prompts, layers {first}-{last}>"

    def to_pandas(self) -> Any:
        """Return a table: the most probable answer by prompt, layer and token.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        import pandas

        rows: list[dict[str, object]] = []
        for index, logits in enumerate(self.logits):
            chances = torch.softmax(logits.double(), dim=-1)
            for row, layer in enumerate(self.layers):
                for column, position in enumerate(self.positions[index]):
                    best = int(chances[row, column].argmax())
                    rows.append(
                        {
                            "prompt": self.prompts[index],
                            "layer": layer,
                            "position": position,
                            "token": self.tokens[index][column],
                            "answer": self._decode(best),
                            "probability": float(chances[row, column, best]),
                            "logit": float(logits[row, column, best]),
                        }
                    )
        return pandas.DataFrame(rows)


@dataclass(frozen=True, repr=False)
class Attribution:
    """What each component adds to the logit of an answer, or to a difference of logits.

    Parameters
    ----------
    prompts
        As text.
    labels
        Components, in the order in which they are added to the stream.
    values
        (prompts, components), in logits.
    total
        (prompts,): the logit, or difference, that the model gives.
    remainder
        (prompts,): total minus the sum of values. Of all components it is rounding, and checked
        to be; of some sites, what the rest of the model adds.
    """

    prompts: tuple[str, ...]
    labels: tuple[str, ...]
    values: Tensor
    total: Tensor
    remainder: Tensor

    def __repr__(self) -> str:
        mean = self.values.mean(dim=0)
        best = sorted(range(len(self.labels)), key=lambda i: -abs(float(mean[i])))[:3]
        shown = ", ".join(f"{self.labels[i]} {float(mean[i]):+.3g}" for i in best)
        return f"<Attribution of {float(self.total.mean()):.3g} on {len(self.prompts)}: {shown}>"

    def to_pandas(self) -> Any:
        """Return a table: one row for each prompt, one column for each component.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.
        """
        import pandas

        table = pandas.DataFrame(self.values.numpy(), columns=list(self.labels))
        table.insert(0, "prompt", list(self.prompts))
        table["remainder"] = self.remainder.numpy()
        table["total"] = self.total.numpy()
        return table


def logit_lens(
    model: Model, rows: Sequence[Row], layers: Iterable[int] | None, pos: Pos
) -> LogitLens:
    """Read logits from the residual stream; see `Model.logit_lens`."""
    readout = find_readout(model)
    every = range(model.n_layers)
    chosen = tuple(every if layers is None else layers)
    sites = {layer: Site("block_output", layer=layer, pos=pos) for layer in (*chosen, every[-1])}
    for site in sites.values():
        model.access(site)
    if not chosen:
        raise SiteError("layers is empty; name at least one, or leave it out for all")
    read = model.read(sites.values(), rows)
    outputs = model.run(rows)
    found: list[Tensor] = []
    for index, output in enumerate(outputs):
        positions = list(model.prompts.positions(rows[index], pos))
        last = readout.logits(model.network, read[sites[every[-1]]][index])
        if output.logits.ndim != 2 or not agree(last, output.logits[positions]):
            raise ModelError(
                f"{model.name}: the logit lens at the last layer differs from the model's logits "
                f"for {model.prompts.text(rows[index].prompt)!r}; it cannot be trusted"
            )
        states = torch.stack([read[sites[layer]][index] for layer in chosen])
        found.append(readout.logits(model.network, states))
    places = [model.prompts.positions(row, pos) for row in rows]
    return LogitLens(
        prompts=tuple(model.prompts.text(row.prompt) for row in rows),
        layers=chosen,
        positions=tuple(places),
        tokens=tuple(
            tuple(model.prompts.tokens(row.prompt)[position] for position in each)
            for row, each in zip(rows, places, strict=True)
        ),
        logits=tuple(found),
        _decode=_decoder(model),
    )


def _decoder(model: Model) -> Callable[[int], str]:
    tokenizer = model.prompts.tokenizer
    return str if tokenizer is None else lambda token: str(tokenizer.decode([token]))


def direct_logit_attribution(
    model: Model,
    rows: Sequence[Row],
    answers: tuple[str | int | None, str | int | None],
    over: Over,
    pos: Pos,
) -> Attribution:
    """Split logits into what components add; see `Model.direct_logit_attribution`."""
    linear = _Linear(model)
    every = [Site("block_input", layer=0, pos=pos)]
    for layer in range(model.n_layers):
        every += [Site(name, layer=layer, pos=pos) for name in ("attention_output", "mlp_output")]
    wanted = _wanted(model, over, every, pos)
    mixed = {
        site.layer: Site("attention_value_output", layer=site.layer, pos=pos)
        for site in wanted
        if site.head is not None
    }
    last = Site("block_output", layer=model.n_layers - 1, pos=pos)
    for site in (*every, *wanted, *mixed.values()):
        model.access(site)
    read = model.read([*every, *mixed.values(), last], rows)
    lines: list[list[float]] = []
    totals: list[float] = []
    labels: list[str] = []
    for index, output in enumerate(model.run(rows)):
        direction = linear.direction(read[last][index], output, answers, pos)
        parts = {site: direction.of(read[site][index]) for site in every}
        totals.append(direction.total)
        _check_sum(direction.total, [*parts.values(), direction.constant], model.name)
        named: list[tuple[str, float]] = []
        for site in wanted:
            if site.head is None:
                named.append((str(site.at(None)), parts[site]))
            else:
                states = read[mixed[site.layer]][index]
                named.append((str(site.at(None)), direction.of(linear.head(site, states))))
        if not isinstance(over, str):
            rest: list[tuple[str, float]] = []
        else:
            rest = [("constants", direction.constant)]
            if over == "heads":
                rest = [*linear.biases(direction), *rest]
        labels = [label for label, _ in named + rest]
        lines.append([value for _, value in named + rest])
    values = torch.tensor(lines, dtype=torch.float64)
    total = torch.tensor(totals, dtype=torch.float64)
    remainder = total - values.sum(dim=1)
    if isinstance(over, str):
        for row, value in enumerate(totals):
            _check_sum(value, lines[row], model.name)
    prompts = tuple(model.prompts.text(row.prompt) for row in rows)
    return Attribution(prompts, tuple(labels), values, total, remainder)


def _wanted(model: Model, over: Over, every: Sequence[Site], pos: Pos) -> list[Site]:
    """Return the sites that are reported, all at the position that is read."""
    if over == "components":
        return list(every)
    if over == "heads":
        sites: list[Site] = []
        for site in every:
            if site.component == "attention_output":
                assert site.layer is not None
                heads = range(model.n_heads(layer=site.layer))
                name = "head_attention_value_output"
                sites += [Site(name, layer=site.layer, head=head, pos=pos) for head in heads]
            else:
                sites.append(site)
        return sites
    if isinstance(over, str):
        raise SiteError(f"over is {over!r}; expected 'components', 'heads' or sites")
    chosen = [site.at(pos) for site in over]
    known = {site.at(None) for site in every}
    for site in chosen:
        fits = site.at(None) in known or site.component == "head_attention_value_output"
        if not fits or site.dims is not None:
            raise SiteError(
                f"{site.at(None)} is no whole part of the residual stream; attribute to "
                "block_input(0), attention_output, mlp_output or head_attention_value_output"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise SiteError("over= names no site, or one twice")
    return chosen


def _check_sum(total: float, parts: Sequence[float], name: str) -> None:
    off = abs(total - sum(parts))
    size = max(1.0, sum(map(abs, parts)))
    if off > 1e-4 * size:
        raise ModelError(
            f"{name}: the parts of the residual stream add up to {sum(parts):.6g}, but the model "
            f"gives {total:.6g}; attribution would be wrong by {off:.3g}"
        )


@dataclass(frozen=True)
class _Direction:
    """The direction of an answer in the residual stream, the scale of the final norm frozen."""

    vector: Tensor
    constant: float
    total: float

    def of(self, states: Tensor) -> float:
        """Return how far a part of the stream, (1, width), points to the answer."""
        return float(states[0].double() @ self.vector)


class _Linear:
    """The final norm and the unembedding of a model, made linear at each prompt."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.readout = find_readout(model)
        if self.readout.cap:
            raise ModelError(
                f"{model.name} caps its logits (softly, at {self.readout.cap:g}), so no parts of "
                "the residual stream add up to them; use logit_lens, or an intervention"
            )
        table = model.network.get_submodule(self.readout.unembedding)
        if not isinstance(table, nn.Linear):
            raise ModelError(
                f"{model.name}: the unembedding {self.readout.unembedding} is a "
                f"{type(table).__name__}, not linear; logits cannot be split into parts"
            )
        weight = table.weight
        if not weight.is_floating_point() or weight.ndim != 2 or weight.is_meta:
            kind = "meta tensors" if weight.is_meta else str(weight.dtype).removeprefix("torch.")
            raise ModelError(
                f"{model.name}: the unembedding {self.readout.unembedding} holds its weights as "
                f"{kind} of shape {tuple(weight.shape)}, not as numbers (classes, width); logits "
                "cannot be split into parts"
            )
        self.table = table
        norm = model.network.get_submodule(self.readout.norm) if self.readout.norm else None
        self.norm = norm

    def direction(
        self,
        states: Tensor,
        output: Output,
        answers: tuple[str | int | None, str | int | None],
        pos: Pos,
    ) -> _Direction:
        """Return the direction of a prompt's answer; `states` are those of the last block."""
        if len(states) != 1:
            raise MetricError(
                f"position {pos!r} covers {len(states)} tokens of "
                f"{self.model.prompts.text(output.row.prompt)!r}; attribute at one token"
            )
        answer, against = self._ids(output, answers)
        logits = output.at(pos).double()
        weight = self.table.weight.detach().double()
        bias = self.table.bias
        row = weight[answer] if against is None else weight[answer] - weight[against]
        constant = 0.0
        if bias is not None:
            given = bias.detach().double()
            constant = float(given[answer] - (0.0 if against is None else given[against]))
        vector, shift = self._unnormed(states[0].double(), row)
        factor, scale = self.readout.factor, self.readout.scale
        total = float(logits[answer] - (0.0 if against is None else logits[against]))
        return _Direction(factor * scale * vector, factor * (constant + scale * shift), total)

    def _ids(
        self, output: Output, answers: tuple[str | int | None, str | int | None]
    ) -> tuple[int, int | None]:
        row = output.row
        pair = row.pair or Pair(row.prompt)
        answer, against = answers
        if answer is None:
            answer, against = pair.base_answer, pair.source_answer
        if answer is None:
            raise MetricError(
                f"{self.model.prompts.text(row.prompt)!r} has no answer to attribute; "
                "say answer=, or give pairs with a base_answer"
            )
        ids = [
            None if each is None else self.model.prompts.answer_id(row.prompt, each, pair)
            for each in (answer, against)
        ]
        assert ids[0] is not None
        if ids[0] == ids[1]:
            raise MetricError(f"answer and against are the same class ({ids[0]}); say two")
        return ids[0], ids[1]

    def _unnormed(self, states: Tensor, row: Tensor) -> tuple[Tensor, float]:
        """Return the direction before the final norm, and what the norm adds of its own."""
        if self.norm is None:
            return row, 0.0
        with evaluating(self.norm), torch.no_grad():
            given = self.norm(states[None].to(self.model.dtype))[0].double()
        bias = _vector(self.norm, "bias", states)
        shift = torch.zeros_like(states) if bias is None else bias
        for centred, gain in _forms(_vector(self.norm, "weight", states), states):
            made = gain * (states - states.mean() if centred else states)
            target = given - shift
            scale = (target @ made) / (made @ made)
            tolerance = max(1e-5, 16 * torch.finfo(self.model.dtype).eps)
            if (target - scale * made).abs().max() <= tolerance * target.abs().max():
                vector = scale * gain * row
                vector = vector - vector.mean() if centred else vector
                return vector, float(shift @ row)
        raise ModelError(
            f"{self.model.name}: the final norm {self.readout.norm} is neither a layer norm nor a "
            "root-mean-square norm; its scale cannot be held fixed"
        )

    def head(self, site: Site, mixed: Tensor) -> Tensor:
        """Return what one head adds to the stream, without the projection's bias."""
        whole = self._projection(site.layer)
        access = self.model.access(site)
        assert isinstance(access.columns, slice)
        alone = torch.zeros_like(mixed)
        alone[:, access.columns] = mixed[:, access.columns]
        with evaluating(whole), torch.no_grad():
            return whole(alone) - whole(torch.zeros_like(mixed))

    def _projection(self, layer: int | None) -> nn.Module:
        """Return the module that brings the heads of a layer back to the stream."""
        assert layer is not None
        mixed = self.model.access(Site("attention_value_output", layer=layer))
        written = self.model.access(Site("attention_output", layer=layer))
        if (mixed.path, mixed.side, written.side) != (written.path, "input", "output"):
            raise ModelError(
                f"{self.model.name}: what attention writes in layer {layer} passes {written.path} "
                "after its heads are put together, so heads do not add up; use over='components'"
            )
        return self.model.network.get_submodule(mixed.path)

    def biases(self, direction: _Direction) -> Iterator[tuple[str, float]]:
        """Yield what the projections of attention add whatever the heads do."""
        for layer in range(self.model.n_layers):
            whole = self._projection(layer)
            width = self.model.access(Site("attention_value_output", layer=layer)).width or 0
            nothing = torch.zeros(1, width, device=self.model.device, dtype=self.model.dtype)
            with evaluating(whole), torch.no_grad():
                value = direction.of(whole(nothing))
            if value:
                yield f"attention_output[{layer}] bias", value


def _vector(norm: nn.Module, name: str, like: Tensor) -> Tensor | None:
    found = getattr(norm, name, None)
    if isinstance(found, Tensor) and found.shape == like.shape:
        return found.detach().double()
    return None


def _forms(weight: Tensor | None, like: Tensor) -> Iterator[tuple[bool, Tensor]]:
    """Yield forms of norms: whether the mean is taken off, and the gain."""
    ones = torch.ones_like(like)
    for gain in (ones,) if weight is None else (weight, 1 + weight, ones):
        yield True, gain
        yield False, gain
