"""One call of a model: which source each intervention reads, in which passes, and what it edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from causaltest.engine.hooks import AllRead, Operation, Side, attached
from causaltest.engine.hosts import Host
from causaltest.engine.model import Model
from causaltest.engine.steps import Clock
from causaltest.errors import InterventionError
from causaltest.pyvene import building
from causaltest.pyvene.building import Interventions
from causaltest.pyvene.config import RepresentationConfig
from causaltest.pyvene.edits import Reader, Setter
from causaltest.pyvene.given import Inputs, inputs_of, rows_of, stored_of
from causaltest.pyvene.interventions import CollectIntervention, Intervention, LambdaIntervention
from causaltest.pyvene.locations import Pairing, Spot, parallel, serial
from causaltest.pyvene.places import Frame, Target
from causaltest.pyvene.subspaces import per_intervention

Operations = list[tuple[str, Side, Operation]]


@dataclass(frozen=True)
class Parts:
    """The interventions of a model, by key, in the order they apply.

    Parameters
    ----------
    subject
        The model.
    host
        What writes text in it; None where nothing does.
    mode, as_adaptor
        As of the config and the intervenable model.
    representations, targets, interventions
        By key.
    groups
        The keys of each source.
    """

    subject: Model
    host: Host | None
    mode: str
    as_adaptor: bool
    representations: Mapping[str, RepresentationConfig]
    targets: Mapping[str, Target]
    interventions: Interventions
    groups: Sequence[Sequence[str]]

    @property
    def keys(self) -> list[str]:
        """The keys of all interventions."""
        return list(self.targets)

    def intervention(self, key: str) -> Intervention:
        """Return the intervention of a key."""
        return cast("Intervention", self.interventions[key])

    def frame(self, key: str, inputs: Inputs) -> Frame:
        """Return the rows that a site works on, with the mask of what it reads."""
        host = self.host
        path = self.targets[key].access.path
        decodes = host is not None and host.encodes and not host.runs_once(path)
        mask = inputs.get("decoder_attention_mask" if decodes else "attention_mask")
        if not isinstance(mask, Tensor) or mask.ndim != 2 or bool(mask.all()):
            mask = None
        return Frame(rows_of(inputs), mask)


@dataclass(frozen=True)
class Call:
    """What is asked for in one call; see `IntervenableModel.forward`.

    Parameters
    ----------
    parts
        The interventions.
    base
        The model's keyword arguments.
    sources, unit_locations, source_representations, subspaces, extra
        As given.
    clock
        The steps of a generation; None for a forward pass.
    """

    parts: Parts
    base: Inputs
    sources: Any = None
    unit_locations: Any = None
    source_representations: Any = None
    subspaces: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock | None = None

    @property
    def rows(self) -> int:
        """Number of rows of base."""
        return rows_of(self.base)

    def setters(self) -> list[Setter]:
        """Run the sources and return the edits of base, in the order they apply."""
        stored = stored_of(self.source_representations, self.parts.keys)
        given = self._sources()
        if self.parts.mode == "serial":
            return self._chained(given, stored)
        representations = list(self.parts.representations.values())
        pairings = dict(
            zip(
                self.parts.keys,
                parallel(self.unit_locations, representations, self.rows),
                strict=True,
            )
        )
        read = self._read_all(given, pairings, stored)
        setters = [
            self._setter(key, pairing.base, read.get(key))
            for key, pairing in pairings.items()
            if pairing.base is not None and not self._skipped(key, given, pairing, read)
        ]
        if not setters:
            raise InterventionError(
                "no intervention would happen: every one is skipped by None in sources or "
                "unit_locations"
            )
        return setters

    def _skipped(
        self, key: str, given: Mapping[str, Any], pairing: Pairing, read: Mapping[str, Any]
    ) -> bool:
        """Return whether an intervention that needs a source is skipped on purpose."""
        each = self.parts.intervention(key)
        if key in read or not _takes_source(each):
            return False
        if self.sources is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source; give sources=[...], or "
                "source_representations="
            )
        if given.get(key) is not None and pairing.source is None:
            raise InterventionError(
                f"{key}: {type(each).__name__} needs a source, but unit_locations say nothing of "
                "where it is read: give 'sources->base', or source_representations="
            )
        return True

    def _frame(self, key: str) -> Frame:
        """Return the frame of an edit of base."""
        frame = self.parts.frame(key, self.base)
        host = self.parts.host
        if self.clock is None:
            return frame
        if host is not None and host.runs_once(self.parts.targets[key].access.path):
            return frame
        if host is None or not host.once:
            return Frame(frame.rows, frame.mask, self.clock)
        # Which of its own tokens the writer was given is not said by the mask of the whole call.
        if frame.mask is not None and self.unit_locations is not None:
            raise InterventionError(
                f"{self.parts.targets[key].name}: rows are padded, and places of padded rows "
                f"cannot be told in {type(host.network).__name__}; generate for rows of one length"
            )
        return Frame(frame.rows, None, self.clock)

    def _setter(self, key: str, spot: Spot, source: Tensor | None) -> Setter:
        self._check_heads(key, spot)
        each = self.parts.intervention(key)
        collects = isinstance(each, CollectIntervention)
        picked = per_intervention(self.subspaces, len(self.parts.keys), self.rows)
        return Setter(
            self.parts.targets[key],
            spot,
            self._frame(key),
            each,
            None if collects else source,
            picked[self.parts.keys.index(key)],
            self.extra,
            self.parts.as_adaptor and not collects,
        )

    def _check_heads(self, key: str, spot: Spot) -> None:
        if spot.heads is not None:
            building.check_heads(self.parts.subject, self.parts.representations[key], spot.heads)

    def _sources(self) -> dict[str, Inputs | None]:
        """Return each key's source; one source serves every group."""
        sources, groups = self.sources, self.parts.groups
        if sources is None:
            return {}
        listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
        if len(listed) not in (1, len(groups)):
            raise InterventionError(
                f"{len(listed)} sources for {len(groups)} "
                f"{'groups' if len(groups) < len(self.parts.keys) else 'interventions'}; give one "
                "for each (None to skip it), or one for all"
            )
        spread = len(listed) == 1 and len(groups) > 1
        listed = listed * len(groups) if spread else listed
        found: dict[str, Inputs | None] = {}
        known: dict[int, Inputs] = {}
        for source, keys in zip(listed, groups, strict=True):
            if source is not None and id(source) not in known:
                known[id(source)] = self._complete(inputs_of(source, "a source"))
            for key in keys:
                collects = isinstance(self.parts.intervention(key), CollectIntervention)
                if collects and source is not None and len(keys) == 1 and not spread:
                    if len(groups) > 1:
                        raise InterventionError(
                            f"{key}: CollectIntervention takes no source; give None in its place"
                        )
                    continue
                if not collects:
                    found[key] = None if source is None else known[id(source)]
        return found

    def _complete(self, source: Inputs) -> Inputs:
        """Return a source that can be run: a generation gives the decoder nothing to begin with."""
        subject = self.parts.subject
        begun = any(name.startswith("decoder_") or name == "labels" for name in source)
        start = subject.decoder_start
        if start is None:
            start = getattr(subject.network, "decoder_start_token_id", None)
        if self.clock is None or begun or not isinstance(start, int):
            return source
        ids = torch.full((rows_of(source), 1), start, device=subject.device)
        return {**source, "decoder_input_ids": ids}

    def _read_all(
        self,
        given: Mapping[str, Inputs | None],
        pairings: Mapping[str, Pairing],
        stored: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Read what each intervention puts in, one pass for each different source."""
        read: dict[str, Tensor] = dict(stored)
        passes: dict[int, tuple[Inputs, dict[str, Reader]]] = {}
        for key, source in given.items():
            spot = pairings[key].source
            if source is None or key in read or not self._wants(key) or spot is None:
                continue
            readers = passes.setdefault(id(source), (source, {}))[1]
            readers[key] = self._reader(key, spot, source)
        for source, readers in passes.values():
            read.update(self._read(source, readers, []))
        return read

    def _wants(self, key: str) -> bool:
        each = self.parts.intervention(key)
        if isinstance(each, LambdaIntervention):
            return each.source_representation is None
        return _takes_source(each) or each.needs_input

    def _reader(self, key: str, spot: Spot, source: Inputs) -> Reader:
        self._check_heads(key, spot)
        target, frame = self.parts.targets[key], self.parts.frame(key, source)
        if frame.rows != self.rows:
            raise InterventionError(
                f"a source has {frame.rows} rows and base has {self.rows}; give one source row "
                "for each"
            )
        each = self.parts.intervention(key)
        if each.needs_input and not _takes_source(each):
            target = replace(target, access=target.entrance)
        return Reader(target, spot, frame)

    def _read(
        self, source: Inputs, readers: Mapping[str, Reader], setters: Sequence[Setter]
    ) -> dict[str, Tensor]:
        """Run one source, with the edits of the source before it, until all is read."""
        operations = operations_of(setters)
        # Only components are known to run once; anything else must be watched to the end.
        early = all(
            self.parts.representations[key].names_component and reader.spot.times is None
            for key, reader in readers.items()
        )
        left = set(readers)

        def reading(key: str, reader: Reader) -> Operation:
            def operation(tensor: Tensor) -> None:
                reader(tensor)
                left.discard(key)
                if early and not left:
                    raise AllRead

            return operation

        for key, reader in readers.items():
            operations.append((*reader.target.place, reading(key, reader)))
        network: Callable[..., Any] = self.parts.subject.network
        with suppress(AllRead), attached(self.parts.subject.network, operations):
            network(**source)
        for each in setters:
            each.check()
        return {key: reader.result() for key, reader in readers.items()}

    def _chained(
        self, given: Mapping[str, Inputs | None], stored: Mapping[str, Tensor]
    ) -> list[Setter]:
        """Run the chain of sources, each edited by the one before it; return the edits of base."""
        groups = self.parts.groups
        steps = serial(
            self.unit_locations,
            [[self.parts.representations[key] for key in keys] for keys in groups],
            self.rows,
        )
        setters: list[Setter] = []
        for keys, pairings in zip(groups, steps, strict=True):
            source = next((given[key] for key in keys if given.get(key) is not None), None)
            read = {key: stored[key] for key in keys if key in stored}
            readers = {
                key: self._reader(key, pairing.source, source)
                for key, pairing in zip(keys, pairings, strict=True)
                if source is not None and key not in read and self._wants(key)
                and pairing.source is not None
            }  # fmt: skip
            if source is not None and readers:
                read.update(self._read(source, readers, setters))
            elif setters:
                raise InterventionError(
                    f"{', '.join(each.target.key for each in setters)}: the source after it in the "
                    "chain is missing, so it would edit nothing"
                )
            setters = []
            for key, pairing in zip(keys, pairings, strict=True):
                if pairing.base is None:
                    continue
                if key not in read and _takes_source(self.parts.intervention(key)):
                    raise InterventionError(f"{key} needs a source, and the chain gives it none")
                setters.append(self._setter(key, pairing.base, read.get(key)))
        return setters


def _takes_source(each: Intervention) -> bool:
    """Return whether an intervention cannot run without a source."""
    if isinstance(each, LambdaIntervention):
        return False
    return each.needs_source and not each.is_source_constant


def operations_of(setters: Sequence[Setter]) -> Operations:
    """Return what is attached to modules to make some edits."""
    operations: Operations = []
    for each in setters:
        operations.append((*each.target.place, each))
    # After all edits of inputs, so that what is noted is what the modules really get.
    for each in setters:
        if each.needs_input:
            operations.append((each.target.entrance.path, "input", each.note))
    return operations
