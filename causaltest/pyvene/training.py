"""Learning and scoring interventions from batches that say where each source goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from tqdm.auto import tqdm

from causaltest.errors import InterventionError

if TYPE_CHECKING:
    from causaltest.pyvene.model import IntervenableModel

Loss = Callable[[Any, Any], Tensor]
Metrics = Callable[[list[Any], list[Any]], Mapping[str, float]]


def locations(model: IntervenableModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the unit locations that a batch holds.

    Parameters
    ----------
    model
        Whose interventions are meant.
    batch
        For intervention i and each part u of its unit, `source_i->base.0.u` (source) and
        `source_i->base.1.u` (base), (rows, units) each; in serial mode `source_i->source_j`.

    Raises
    ------
    InterventionError
        A key is missing.
    """
    found: dict[str, Any] = {}
    parallel: tuple[list[Any], list[Any]] = ([], [])
    last = len(model.representations) - 1
    for index, each in enumerate(model.representations):
        to = "base" if model.mode == "parallel" or index == last else f"source_{index + 1}"
        name = f"source_{index}->{to}"
        sides: list[Any] = []
        for side in (0, 1):
            keys = [f"{name}.{side}.{unit}" for unit in each.unit.split(".")]
            missing = [key for key in keys if key not in batch]
            if missing:
                raise InterventionError(
                    f"the batch has no {missing[0]!r}, the {('source', 'base')[side]} locations of "
                    f"intervention {index}\nit has {', '.join(map(repr, batch))}"
                )
            parts = [batch[key] for key in keys]
            sides.append(parts[0] if len(parts) == 1 else parts)
        if model.mode == "parallel":
            parallel[0].append(sides[0])
            parallel[1].append(sides[1])
        else:
            found[name] = ([sides[0]], [sides[1]])
    return {"sources->base": parallel} if model.mode == "parallel" else found


def _logits(model: IntervenableModel, batch: Mapping[str, Any]) -> Any:
    for key in ("input_ids", "source_input_ids", "labels"):
        if key not in batch:
            raise InterventionError(
                f"the batch has no {key!r}; it has {', '.join(map(repr, batch))}"
            )
    _, outputs = model(
        {"input_ids": batch["input_ids"]},
        [{"input_ids": batch["source_input_ids"]}],
        locations(model, batch),
        subspaces=batch.get("subspaces"),
    )
    return outputs.logits


def train(
    model: IntervenableModel,
    batches: Any,
    compute_loss: Loss,
    compute_metrics: Metrics,
    inputs_collator: Callable[[Any], Mapping[str, Any]] | None = None,
    *,
    lr: float = 1e-3,
    epochs: int = 10,
    gradient_accumulation_steps: int = 1,
    optimizer: Any = None,
    scheduler: Any = None,
    temperature: tuple[float, float] | None = (50.0, 0.1),
) -> list[float]:
    """Train a model's interventions.

    Parameters
    ----------
    model
        Its trainable parameters are learned.
    batches
        A sized iterable of batches with `input_ids`, `source_input_ids`, `labels`, the keys of
        `locations`, and optionally `subspaces`.
    compute_loss
        A function of (logits, labels).
    compute_metrics
        A function of ([logits], [labels]), shown while training.
    inputs_collator
        Applied to each batch first.
    lr, epochs
        Of Adam with a linear warm-up over the first tenth and a linear decay.
    gradient_accumulation_steps
        Batches to one step; what is left at the end makes a step too.
    optimizer, scheduler
        Instead of these.
    temperature
        First and last temperature of the interventions that have one; None leaves it alone.

    Returns
    -------
    list of float
        The loss of every batch.

    Raises
    ------
    InterventionError
        A key is missing in a batch, or nothing can be trained.
    """
    trained = model.get_trainable_parameters()
    if not trained:
        raise InterventionError(f"{model.subject.name} has no trainable interventions")
    batches_total = len(batches) * epochs
    steps = max(1, -(-batches_total // gradient_accumulation_steps))
    optimizer = optimizer or torch.optim.Adam(trained, lr=lr)
    scheduler = scheduler or torch.optim.lr_scheduler.LambdaLR(optimizer, _ramp(steps))
    losses: list[float] = []
    model.set_zero_grad()
    progress = tqdm(total=batches_total, desc="training", leave=False)
    for _ in range(epochs):
        for batch in batches:
            inputs = batch if inputs_collator is None else inputs_collator(batch)
            if temperature is not None:
                first, final = temperature
                share = len(losses) / max(1, batches_total - 1)
                model.set_temperature(first + (final - first) * share)
            logits = _logits(model, inputs)
            loss = compute_loss(logits, inputs["labels"])
            (loss / gradient_accumulation_steps).backward()
            losses.append(float(loss.detach()))
            shown = compute_metrics([logits], [inputs["labels"]])
            progress.set_postfix({"loss": losses[-1], **shown})
            progress.update()
            if not len(losses) % gradient_accumulation_steps or len(losses) == batches_total:
                optimizer.step()
                scheduler.step()
                model.set_zero_grad()
    progress.close()
    return losses


def _ramp(steps: int) -> Callable[[int], float]:
    warm = 0.1 * steps

    def factor(step: int) -> float:
        if step < warm:
            return step / max(1.0, warm)
        return max(0.0, (steps - step) / max(1.0, steps - warm))

    return factor


def evaluate(
    model: IntervenableModel,
    batches: Any,
    compute_metrics: Metrics,
    inputs_collator: Callable[[Any], Mapping[str, Any]] | None = None,
) -> dict[str, float]:
    """Return each metric's mean over all rows.

    Parameters
    ----------
    model, batches, compute_metrics, inputs_collator
        As for `train`.
    """
    sums: dict[str, float] = {}
    rows = 0
    with torch.no_grad():
        for batch in batches:
            inputs = batch if inputs_collator is None else inputs_collator(batch)
            size = len(cast("Sequence[Any]", inputs["input_ids"]))
            found = compute_metrics([_logits(model, inputs)], [inputs["labels"]])
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) * size
            rows += size
    if not rows:
        raise InterventionError("there are no batches to score")
    return {name: value / rows for name, value in sums.items()}
