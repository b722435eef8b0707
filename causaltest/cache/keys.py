"""Keys of what is measured: interventions, pairs and metrics as plain data, or a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any, cast

from causaltest.cache.identity import Unkeyed
from causaltest.engine.model import Model
from causaltest.errors import CausaltestError, RecordError
from causaltest.interventions import Intervention
from causaltest.metrics import Metric
from causaltest.pairs import Pairs
from causaltest.sharing.codec import encode
from causaltest.sites import Site

_OWN = "causaltest."


class Keys:
    """Plain data of what is asked of one model; what was described once is remembered.

    Parameters
    ----------
    model
        The model, which knows how prompts are split into tokens.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tokens: dict[tuple[str, tuple[str, ...]], str] = {}

    def metric(self, metric: Metric) -> list[object]:
        """Describe a metric.

        Raises
        ------
        Unkeyed
            It is a function of the caller, whose code may change unseen.
        """
        return [
            _own(metric.function, f"the metric {metric}"),
            [metric.name, metric.unit, position(metric.position), metric.normalised],
        ]

    def pairs(self, pairs: Pairs) -> list[object]:
        """Describe a pair set: content, ids, and tokens.

        Raises
        ------
        Unkeyed
            A prompt has no tokens.
        """
        ids = tuple(pair.id for pair in pairs)
        known = (pairs.sha256, ids)
        if known not in self._tokens:
            self._tokens[known] = self._of_prompts(pairs)
        names = hashlib.sha256(repr(ids).encode()).hexdigest()
        return [pairs.sha256, pairs.name, names, self._tokens[known]]

    def _of_prompts(self, pairs: Pairs) -> str:
        code = hashlib.sha256()
        try:
            for pair in pairs:
                for prompt in (pair.base, pair.source, *pair.sources.values()):
                    ids = None if prompt is None else self._model.prompts.ids(prompt)
                    code.update(f"{ids};".encode())
        except CausaltestError as error:
            raise Unkeyed(str(error)) from error
        return code.hexdigest()

    def intervention(self, intervention: Intervention) -> list[object]:
        """Describe an intervention, arrays and pair sets inside it included.

        Raises
        ------
        Unkeyed
            It holds a function of the caller, or is of a kind of the caller's own.
        """
        try:
            contents = encode(intervention)
        except RecordError as error:
            raise Unkeyed(str(error)) from error
        _check_no_function(contents.tree)
        arrays = {name: each.sha256 for name, each in contents.arrays.items()}
        sets = {name: self.pairs(each) for name, each in contents.pairs.items()}
        return [str(intervention), contents.tree, arrays, sets]

    def sites(self, sites: Sequence[Site]) -> list[str]:
        """Describe sites."""
        return [repr(site) for site in sites]


def plain(value: object, what: str) -> object:
    """Describe plain data: texts, numbers, and lists and mappings of them.

    Raises
    ------
    Unkeyed
        It is, or holds, something else.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [plain(each, what) for each in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        given = cast("Mapping[object, object]", value)
        return [[str(key), plain(each, what)] for key, each in sorted(given.items(), key=str)]
    raise Unkeyed(f"{what} is {value!r}, which is no plain data")


def position(pos: object) -> str:
    """Describe a position.

    Raises
    ------
    Unkeyed
        It is something else.
    """
    if pos is None or isinstance(pos, (int, str)):
        return repr(pos)
    if isinstance(pos, (tuple, list)):
        return repr([position(each) for each in cast("Sequence[object]", pos)])
    raise Unkeyed(f"the position {pos!r} is of an unknown kind")


def _own(function: Any, what: str) -> object:
    """Describe a function of this package, or an object of it that is called like one."""
    if isinstance(function, Metric):
        return [_own(function.function, what), str(function), function.normalised]
    if function is None or isinstance(function, str):
        return function
    kind = function if isinstance(function, FunctionType) else type(function)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name.startswith(_OWN) and "<" not in name:
        if isinstance(function, FunctionType):
            return name
        if is_dataclass(function):
            return [name, [_own(getattr(function, each.name), what) for each in fields(function)]]
    raise Unkeyed(f"{what} is a function of the caller")


def _check_no_function(tree: object) -> None:
    if isinstance(tree, list):
        for each in cast("list[object]", tree):
            _check_no_function(each)
    elif isinstance(tree, dict):
        entries: Mapping[str, Any] = cast("dict[str, Any]", tree)
        if set(entries) == {"function"}:
            raise Unkeyed(f"{entries['function']} is a function of the caller")
        for each in entries.values():
            _check_no_function(each)
