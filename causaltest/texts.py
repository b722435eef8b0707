"""What a model writes: how often it says something, and vectors to steer it with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from causaltest.engine.generation import Generated
from causaltest.engine.ledger import Entry
from causaltest.engine.prompts import Row
from causaltest.engine.steps import When
from causaltest.engine.sweeps.keeping import packed, unpacked
from causaltest.errors import MetricError
from causaltest.interventions import Intervention, abbreviate
from causaltest.measuring import Measuring
from causaltest.pairs import Pair, Pairs
from causaltest.sites import END, Site
from causaltest.stats import Rate

Value = TypeVar("Value")
Saying = str | re.Pattern[str] | Callable[[Generated, Pair], bool]


@dataclass(frozen=True)
class _Said:
    """What was said, and what was edited for it."""

    values: tuple[float, ...]
    ledger: tuple[Entry, ...]


class Writing(Measuring):
    """What measures effects can measure what is written."""

    def says(
        self,
        what: Saying,
        intervention: Intervention | None = None,
        *,
        on: Pairs,
        max_new_tokens: int,
        when: When | None = None,
        **settings: Any,
    ) -> Rate:
        """Measure how often the model's own continuation of a base prompt says something.

        Parameters
        ----------
        what
            A text that must occur in the new text, a compiled regular expression that must be
            found in it, or a function of (generated, pair) that returns whether it is said.
        intervention
            What to edit; None asks what the model writes on its own. The difference of the two,
            `steered - plain`, is a claim about the same prompts.
        on
            The pairs.
        max_new_tokens, when, settings
            As for `Model.generate`. Samples draw from the same stream with and without an
            intervention.

        Returns
        -------
        Rate

        Raises
        ------
        MetricError
            `what` is none of these, or its function returns no truth value.
        InterventionError, SiteError, PairError, ModelError
            As for `Model.generate`.

        Examples
        --------
        >>> import torch
        >>> from causaltest.experiment import Causal
        >>> toy = torch.nn.Embedding.from_pretrained(torch.eye(9).roll(1, dims=1))
        >>> numbers = Pairs([Pair((i,)) for i in range(8)], name="numbers", cluster=None)
        >>> counts = Causal(toy).says(
        ...     lambda new, pair: new.ids[0] == pair.base[0] + 1, on=numbers, max_new_tokens=1
        ... )
        >>> bool(counts > 0.5)
        True
        """
        said = as_saying(what)
        pairs = self._check_pairs(on, gate=True)
        if intervention is not None:
            pairs = self._check(intervention, on, at=END)
        if settings.get("num_return_sequences", 1) != 1:
            raise MetricError(
                "says() scores one text for each pair; leave num_return_sequences out, and take "
                "more pairs for a narrower interval"
            )
        if self._sequential:
            self._note(
                "not sequential: texts are written for all pairs at once; all pairs were run"
            )

        def measure() -> _Said:
            written = self.model.generate(
                pairs,
                max_new_tokens=max_new_tokens,
                intervention=intervention,
                when=when,
                **settings,
            )
            values = [said(each, pair) for each, pair in zip(written, pairs, strict=True)]
            return _Said(tuple(values), tuple(written.ledger))

        found = self._told(
            self._recall.record(
                "says", _Said, measure,
                pairs=pairs,
                edits=() if intervention is None else [intervention],
                settings=[_described(what), max_new_tokens, when, settings],
            )
        )  # fmt: skip
        self._keep(found.ledger)
        by = self.model.name if intervention is None else f"{intervention}, {_shown(when)}"
        return Rate(
            found.values,
            units=pairs.units,
            unit=pairs.unit,
            pair_ids=[pair.id for pair in pairs],
            pair_set=(pairs.name, pairs.sha256),
            subject=f"says {_name_of(what)} of {by}",
            judge=self._judge,
        )

    def mean_difference(self, site: Site, *, on: Pairs) -> Tensor:
        """Return the mean activation of the sources minus that of the bases: a steering vector.

        Parameters
        ----------
        site
            Where to read; several tokens of one prompt count as their mean, every pair the same.
        on
            The pairs. A claim about the vector belongs on other pairs: on these it is refused, as
            for `fitted`.

        Returns
        -------
        Tensor
            (width,), to be used as `add(site, vector)`.

        Raises
        ------
        SiteError, PairError, InterventionError
            The site does not exist, has no width, or a pair has no source.

        Notes
        -----
        Difference in means: Marks and Tegmark 2023 (arXiv 2310.06824), section 5.

        Examples
        --------
        >>> import torch
        >>> from causaltest.experiment import Causal
        >>> from causaltest.sites import module
        >>> toy = torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(3)))
        >>> pairs = Pairs([Pair((0,), (2,))], name="one", cluster=None)
        >>> Causal(toy).mean_difference(module("0", pos="end"), on=pairs)
        tensor([-1.,  0.,  1.])
        """
        self.model.access(site)
        pairs = self._check_pairs(on, gate=True)

        def measure() -> bytes:
            sides: list[Tensor] = []
            for side in ("base", "source"):
                read = self.model.read(site, [Row.of(pair, side) for pair in pairs])[site]
                sides.append(torch.stack([each.double().mean(dim=0) for each in read]))
            base, source = sides
            return packed((source - base).mean(dim=0).cpu().numpy())

        kept = self._told(
            self._recall.record(
                "mean difference", bytes, measure, pairs=pairs, settings=[repr(site)]
            )
        )
        vector = torch.from_numpy(unpacked(kept, (-1,)))
        return self.fitted(vector.to(self.model.device, self.model.dtype), on=pairs)


def as_saying(what: object) -> Callable[[Generated, Pair], float]:
    """Return a function that gives 1.0 where something is said, else 0.0.

    Raises
    ------
    MetricError
        It is no text, regular expression or function.
    """
    if isinstance(what, str) and what:
        return lambda new, _pair: float(what in new.text)
    if isinstance(what, re.Pattern):
        return lambda new, _pair: float(what.search(new.text) is not None)
    if callable(what):
        return lambda new, pair: _truth(what(new, pair), what, pair)
    raise MetricError(
        f"what must be said is {what!r}; expected a text, a compiled regular expression or a "
        "function of (generated, pair)"
    )


def _truth(value: object, what: object, pair: Pair) -> float:
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return float(value)
    raise MetricError(
        f"{_name_of(what)} returned {value!r} for pair {pair.id}; expected True or False"
    )


def _described(what: object) -> object:
    """Return plain data that says what must be said; a function as it is."""
    return [what.pattern, int(what.flags)] if isinstance(what, re.Pattern) else what


def _name_of(what: object) -> str:
    if isinstance(what, re.Pattern):
        return f"/{what.pattern}/"
    return repr(what) if isinstance(what, str) else getattr(what, "__name__", type(what).__name__)


def _shown(when: When | None) -> str:
    if isinstance(when, str):
        return when
    return f"steps {abbreviate([str(step) for step in when or ()])}"
