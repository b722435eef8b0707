"""Pair sets: pairs with a name, a declared cluster and a content hash."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast, overload

from causaltest.errors import PairError
from causaltest.pairs.counterfactuals import Answer, Written, pairs_from_causal_model
from causaltest.pairs.files import read_lines, write_lines
from causaltest.pairs.hashing import content_hash
from causaltest.pairs.pair import Pair
from causaltest.pairs.prompts import check_unicode
from causaltest.pairs.templates import Contrast, Template, pairs_from_templates
from causaltest.spelling import did_you_mean, listed

if TYPE_CHECKING:
    from causaltest.causal_models import CausalModel, Counterfactual


class _Missing(Enum):
    """Stands for a cluster that nobody declared, since None is a declaration."""

    CLUSTER = "no cluster declared"


_UNDECLARED: Final = _Missing.CLUSTER

Cluster: TypeAlias = str | _Missing | None

_SWAPPED = "/swapped"


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Pairs(Sequence[Pair]):
    """Counterfactual pairs that one claim is judged on.

    Parameters
    ----------
    pairs
        At least one pair. A pair without an id gets `<name>/<index>`.
    name
        Name of the set in reports and messages.
    cluster
        The label whose values are the independent units, e.g. `template`. It must be said:
        `cluster=None` says aloud that each pair is its own unit.

    Raises
    ------
    PairError
        If the set is empty, no cluster is declared, a pair lacks the cluster's label, or two
        pairs share an id.

    Examples
    --------
    >>> children = Pairs(
    ...     [Pair("Lily ran, and", "Tim ran, and"), Pair("Ann sat, and", "Bob sat, and")],
    ...     name="children",
    ...     cluster=None,
    ... )
    >>> children
    <Pairs children: 2 pairs, each its own unit>
    >>> children.units
    ('children/0', 'children/1')
    """

    pairs: tuple[Pair, ...]
    name: str
    cluster: str | None

    def __init__(self, pairs: Iterable[Pair], *, name: str, cluster: Cluster = _UNDECLARED) -> None:
        object.__setattr__(self, "name", _read_name(name))
        members = _read_pairs(pairs, self.name)
        object.__setattr__(self, "pairs", members)
        object.__setattr__(self, "cluster", _read_cluster(cluster, members, self.name))

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        cluster: Cluster = _UNDECLARED,
        name: str | None = None,
    ) -> Pairs:
        """Read a set from JSON lines, one pair a line.

        Parameters
        ----------
        path
            The file. Each line is an object with `base` and any of `source`, `base_answer`,
            `source_answer`, `positions`, `labels`, `id`.
        cluster
            As in `Pairs`.
        name
            Name of the set; by default the file's name without its ending.

        Raises
        ------
        PairError
            If the file is missing or empty or a line is no pair (with the line's number).
        """
        file = Path(path)
        return cls(read_lines(file), name=file.stem if name is None else name, cluster=cluster)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the set as JSON lines that `read` reads back.

        Raises
        ------
        PairError
            If the folder does not exist.
        """
        write_lines(self.pairs, Path(path), name=self.name)

    @classmethod
    def from_templates(
        cls,
        templates: Iterable[Template],
        contrasts: Iterable[Contrast],
        *,
        name: str,
        cluster: str | None = "template",
        labels: Mapping[str, str] | None = None,
    ) -> Pairs:
        """Fill in every template with every contrast.

        Parameters
        ----------
        templates
            Texts with {field}s, or dicts with a `base` and a `source` text (and `labels`). A
            field that stands several times in a text names each place: `{name:first_name}`.
        contrasts
            Dicts with the field values of `base` and `source`, `base_answer`, `source_answer`
            and `labels`. A field left out of `source` is as in `base`.
        name
            Name of the set.
        cluster
            As in `Pairs`; by default each template is a unit.
        labels
            Labels that all pairs share.

        Returns
        -------
        Pairs
            Template by template. Each field is a position; labels are the template's text as
            `template` and each field's value in base.

        Raises
        ------
        PairError
            If a template or contrast is malformed, or they do not fit together.

        Examples
        --------
        >>> Pairs.from_templates(
        ...     ["{name} lost a shoe, and", "Then {name} said that"],
        ...     [{"base": {"name": "Lily"}, "source": {"name": "Tim"}}],
        ...     name="pronouns",
        ... )
        <Pairs pronouns: 2 pairs, 2 templates>
        """
        pairs = pairs_from_templates(templates, contrasts, labels=labels)
        return cls(pairs, name=name, cluster=cluster)

    @classmethod
    def from_causal_model(
        cls,
        model: CausalModel,
        of: str | Sequence[str],
        count: int,
        *,
        prompt: Written,
        answer: Answer,
        name: str,
        cluster: Cluster = _UNDECLARED,
        seed: int = 0,
        changing: float = 0.5,
        where: Callable[[Counterfactual], bool] | None = None,
    ) -> Pairs:
        """Draw counterfactual pairs of a causal model and write them as prompts.

        The source answer is what the causal model says after the exchange, so that the accuracy
        of an interchange is interchange-intervention accuracy.

        Parameters
        ----------
        model
            The causal model.
        of, count, seed, changing, where
            As for `CausalModel.counterfactuals`.
        prompt
            Templates, whose {field}s are input variables and become positions, used in turn; or a
            function of a setting that returns the prompt, or the prompt and its positions.
        answer
            The output variable that is the answer, or a function of a setting.
        name, cluster
            As in `Pairs`. Labels are `template` (of templates), `exchanged` (the variable),
            `output` (`changes` or `stays`), and each input's value in base.

        Raises
        ------
        CausalModelError
            As for `CausalModel.counterfactuals`.
        PairError
            A prompt or position does not fit, or base and source read the same.

        Examples
        --------
        >>> from causaltest.causal_models import CausalModel
        >>> total = CausalModel({"a": range(5), "b": range(5)}, {"sum": lambda a, b: a + b})
        >>> sums = Pairs.from_causal_model(
        ...     total,
        ...     "a",
        ...     8,
        ...     prompt=["{a} + {b} =", "{a} and {b} make"],
        ...     answer=lambda setting: f" {setting['sum']}",
        ...     name="sums",
        ...     cluster="template",
        ... )
        >>> sums
        <Pairs sums: 8 pairs, 2 templates>
        """
        drawn = model.counterfactuals(of, count, seed=seed, changing=changing, where=where)
        pairs = pairs_from_causal_model(drawn, prompt=prompt, answer=answer)
        return cls(pairs, name=name, cluster=cluster)

    @property
    def units(self) -> tuple[str, ...]:
        """The independent unit of each pair: its cluster's label, or its id without clusters."""
        if self.cluster is None:
            return tuple(pair.id for pair in self.pairs)
        return tuple(pair.labels[self.cluster] for pair in self.pairs)

    @property
    def n_units(self) -> int:
        """The number of independent units."""
        return len(set(self.units))

    @property
    def unit(self) -> str:
        """What the units are: the cluster's name, or `pair`."""
        return "pair" if self.cluster is None else self.cluster

    @cached_property
    def sha256(self) -> str:
        """Hash of the content: prompts, answers, positions and labels in order, and the cluster.

        The names of the set and of its pairs are no content.
        """
        return content_hash(self.pairs, self.cluster)

    @cached_property
    def repeated(self) -> tuple[str, str] | None:
        """Ids of two pairs that differ in nothing but their ids; None where there are none."""
        first: dict[object, str] = {}
        for pair in self.pairs:
            answers = (pair.base_answer, pair.source_answer)
            content = (pair.base, pair.source, *answers, pair.positions, pair.sources, pair.labels)
            earlier = first.setdefault(content, pair.id)
            if earlier != pair.id:
                return earlier, pair.id
        return None

    def split(self, *, by: str, test: Collection[str]) -> tuple[Pairs, Pairs]:
        """Split into train and test sets that share no value of a label.

        Parameters
        ----------
        by
            The label to split by; every pair must have it.
        test
            The values whose pairs are the test set; all other pairs are the train set.

        Returns
        -------
        tuple of Pairs
            `<name>/train` and `<name>/test`, in the order of this set.

        Raises
        ------
        PairError
            If the label or a value does not exist, or one of the sets would be empty.

        Examples
        --------
        >>> pairs = Pairs.from_templates(
        ...     ["{name} lost a shoe, and", "Then {name} said that"],
        ...     [{"base": {"name": "Lily"}, "source": {"name": "Tim"}}],
        ...     name="pronouns",
        ... )
        >>> pairs.split(by="template", test=["Then {name} said that"])
        (<Pairs pronouns/train: 1 pair, 1 template>, <Pairs pronouns/test: 1 pair, 1 template>)
        """
        present = self._values_of(by)
        chosen = self._chosen(by, test, "test")
        if not chosen:
            raise PairError(f"test= names no value of {by!r}; {self.name} has {listed(present)}")
        if chosen >= set(present):
            raise PairError(
                f"test= names every value of {by!r} in {self.name}, so nothing is left to train on"
            )
        train = [pair for pair in self.pairs if pair.labels[by] not in chosen]
        held_out = [pair for pair in self.pairs if pair.labels[by] in chosen]
        return self._subset(train, f"{self.name}/train"), self._subset(
            held_out, f"{self.name}/test"
        )

    def where(self, **labels: str | Collection[str]) -> Pairs:
        """Return the pairs that have these labels.

        Parameters
        ----------
        **labels
            A value, or several of which one must hold, for each label.

        Raises
        ------
        PairError
            If a label or a value does not exist, or no pair has them all.
        """
        wanted = {
            label: self._chosen(label, [value] if isinstance(value, str) else value, label)
            for label, value in labels.items()
        }
        kept = [
            pair
            for pair in self.pairs
            if all(pair.labels[label] in values for label, values in wanted.items())
        ]
        condition = ", ".join(
            f"{label}={'|'.join(sorted(values))}" for label, values in wanted.items()
        )
        if not kept:
            raise PairError(f"no pair of {self.name} has {condition}")
        return self._subset(kept, f"{self.name}[{condition}]" if condition else self.name)

    def swapped(self) -> Pairs:
        """Return the set with base and source exchanged in every pair; swapped twice is the same.

        Raises
        ------
        PairError
            If a pair has no source.
        """
        name = self.name.removesuffix(_SWAPPED)
        if name == self.name or not name:
            name = self.name + _SWAPPED
        return self._subset([pair.swapped() for pair in self.pairs], name)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index: int | slice) -> Pair | Pairs:
        """Return one pair, or a set of the pairs in a slice."""
        if not isinstance(index, slice):
            return self.pairs[index]
        kept = self.pairs[index]
        bounds = [index.start, index.stop] + ([] if index.step is None else [index.step])
        shown = ":".join("" if bound is None else str(bound) for bound in bounds)
        if not kept:
            raise PairError(
                f"{self.name}[{shown}] holds no pairs; {self.name} has {len(self.pairs)}"
            )
        return self._subset(kept, f"{self.name}[{shown}]")

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        units = "each its own unit"
        if self.cluster is not None:
            units = _counted(self.n_units, self.cluster)
        return f"<Pairs {self.name}: {_counted(len(self.pairs), 'pair')}, {units}>"

    def _subset(self, pairs: Iterable[Pair], name: str) -> Pairs:
        """Return a set of other pairs with the same cluster."""
        return Pairs(pairs, name=name, cluster=self.cluster)

    def _values_of(self, label: str) -> tuple[str, ...]:
        """Return the values of a label, each once, in the order of the set."""
        return tuple(dict.fromkeys(_labels_of(self.pairs, label, self.name)))

    def _chosen(self, label: str, values: object, argument: str) -> frozenset[str]:
        """Return values of a label, checked to be there."""
        if isinstance(values, str) or not isinstance(values, Collection):
            raise PairError(
                f"{argument}={values!r} is {type(values).__name__}; "
                f"expected a list of values of {label!r}"
            )
        present = self._values_of(label)
        chosen = cast("Collection[object]", values)
        for value in chosen:
            if value not in present:
                raise PairError(
                    f"no pair of {self.name} has {label}={value!r}"
                    f"{did_you_mean(str(value), present)}\n"
                    f"values of {label!r}: {listed(present)}"
                )
        return frozenset(cast("Collection[str]", chosen))


def _read_name(name: object) -> str:
    """Return a set's name, checked."""
    if not isinstance(name, str) or not name.strip():
        raise PairError(f"a pair set is named {name!r}; expected a text that is not empty")
    check_unicode(name, "the name of a pair set")
    return name


def _read_pairs(pairs: object, name: str) -> tuple[Pair, ...]:
    """Return pairs with ids, checked."""
    if isinstance(pairs, Pair) or not isinstance(pairs, Iterable):
        raise PairError(
            f"{name} is made from {pairs!r:.60} ({type(pairs).__name__}); expected a list of pairs"
        )
    members: list[Pair] = []
    for index, pair in enumerate(cast("Iterable[object]", pairs)):
        if not isinstance(pair, Pair):
            raise PairError(
                f"item {index} of {name} is {pair!r:.60} ({type(pair).__name__}); expected a Pair"
            )
        members.append(pair if pair.id else dataclasses.replace(pair, id=f"{name}/{index}"))
    if not members:
        raise PairError(f"the pair set {name!r} is empty; a claim needs at least one pair")
    first: dict[str, int] = {}
    for index, pair in enumerate(members):
        if first.setdefault(pair.id, index) != index:
            raise PairError(
                f"pairs {first[pair.id]} and {index} of {name} have the same id {pair.id!r}; "
                "give each its own, or none"
            )
    return tuple(members)


def _read_cluster(cluster: object, pairs: Sequence[Pair], name: str) -> str | None:
    """Return the cluster, checked to be declared and to be a label of every pair."""
    if cluster is None:
        return None
    if isinstance(cluster, _Missing):
        raise PairError(
            f"{name} declares no cluster: which label's values are independent units?\n"
            f"labels present: {listed(_label_names(pairs))}\n"
            "pass cluster='<label>', or cluster=None to say aloud that each pair is its own unit"
        )
    if not isinstance(cluster, str):
        raise PairError(
            f"cluster={cluster!r} ({type(cluster).__name__}); expected the name of a label, or None"
        )
    _labels_of(pairs, cluster, name)
    return cluster


def _label_names(pairs: Iterable[Pair]) -> list[str]:
    """Return the names of all labels, in the order they appear."""
    return list(dict.fromkeys(label for pair in pairs for label in pair.labels))


def _labels_of(pairs: Sequence[Pair], label: str, name: str) -> list[str]:
    """Return each pair's value of a label that every pair must have."""
    lacking = [pair for pair in pairs if label not in pair.labels]
    if lacking:
        known = _label_names(pairs)
        if label in known:
            raise PairError(
                f"{len(lacking)} of {len(pairs)} pairs of {name} have no label {label!r}, "
                f"first {lacking[0].name}, which has {listed(lacking[0].labels)}"
            )
        raise PairError(
            f"the pairs of {name} have no label {label!r}{did_you_mean(label, known)}\n"
            f"labels present: {listed(known)}"
        )
    return [pair.labels[label] for pair in pairs]


def _counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
