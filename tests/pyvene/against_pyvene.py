"""Run the same calls on pyvene, or on causaltest.pyvene, and write what they return.

python against_pyvene.py LIBRARY OUT, with LIBRARY pyvene or causaltest.pyvene. Only calls on which
pyvene is right are made here; what it gets wrong has tests of its own.
"""

import importlib
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

VOCABULARY = 50
Case = tuple[str, Callable[[Any, Any], list[Tensor]]]


def build(family: str) -> torch.nn.Module:
    """Return a small network with random weights, the same in every process."""
    import transformers

    common: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
    if family == "gpt2":
        config = transformers.GPT2Config(n_embd=24, n_layer=3, n_head=4, n_positions=64, **common)
        network = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=44,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            **common,
        )
        network = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if parameter.ndim == 1 else 0.15 * noise)
    return network.eval()


def inputs(seed: int, rows: int = 3, tokens: int = 6) -> dict[str, Tensor]:
    """Return random token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (rows, tokens), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def seeded(model: Any) -> Any:
    """Give the interventions' parameters the same random numbers in both libraries."""
    generator = torch.Generator().manual_seed(5)
    for intervention in model.interventions.values():
        # An older pyvene keeps (intervention, hook).
        each = intervention[0] if isinstance(intervention, (list, tuple)) else intervention
        for name, value in sorted(each.state_dict().items()):
            if name in ("masks", "mask"):
                value.copy_(torch.randn(value.shape, generator=generator))
        layer = getattr(each, "rotate_layer", None)
        if layer is not None:
            noise = torch.randn(layer.weight.shape, generator=generator)
            # torch completes a low-rank basis at random; gradients are in its coordinates.
            torch.manual_seed(3)
            layer.weight = torch.linalg.qr(noise).Q
    return model


def cases() -> Iterator[Case]:
    """Yield the calls by name."""
    plain = (
        "block_input", "block_output", "mlp_input", "mlp_activation", "mlp_output",
        "attention_input", "attention_output", "attention_value_output", "query_output",
        "key_output", "value_output",
    )  # fmt: skip
    for component in plain:
        for name in ("Vanilla", "Addition", "Subtraction", "Zero", "Collect"):
            yield f"{name} {component}", one(component, name)
    for component in ("head_attention_value_output", "head_query_output", "head_key_output"):
        yield f"heads of {component}", heads(component)
    for name in (
        "RotatedSpace", "LowRankRotatedSpace", "BoundlessRotatedSpace", "SigmoidMaskRotatedSpace",
        "SigmoidMask",
    ):  # fmt: skip
        yield f"trained {name}", trained(name)
    yield "per row positions", per_row
    yield "source into another position", moved
    yield "no locations", everywhere
    yield "two units in one basis", joined
    yield "one dim of all", subspace
    yield "partition", partition
    yield "two sources, parallel", two_sources
    yield "two sources, serial", chained
    yield "stored vector", stored
    yield "linked subspaces at one site", linked
    yield "one of two is skipped", skipped
    yield "groups", grouped
    yield "collect downstream of an edit", downstream
    yield "noise on four positions", noise
    yield "a plain function", function
    yield "original output", original
    yield "a skipped block", skip
    yield "steer every new token", steered
    yield "edit the prompt of a generation", prompted
    yield "a causal model", reasoned


def representation(pv: Any, component: str, name: str, layer: int = 1, **more: Any) -> Any:
    """Return a representation."""
    kind = getattr(pv, f"{name}Intervention")
    return pv.RepresentationConfig(layer=layer, component=component, intervention_type=kind, **more)


def model_of(pv: Any, network: Any, *representations: Any, **more: Any) -> Any:
    """Return an intervenable model."""
    config = pv.IntervenableConfig(representations=list(representations), **more)
    return seeded(pv.IntervenableModel(config, network))


def logits(answer: Any) -> list[Tensor]:
    """Return the intervened logits, and what was collected."""
    first, outputs = answer
    collected = first[1] if isinstance(first, tuple) else []
    return [outputs.logits.detach(), *(each.detach() for each in collected)]


def one(component: str, name: str) -> Callable[[Any, Any], list[Tensor]]:
    """Return a call with one intervention at one position."""

    def call(pv: Any, network: Any) -> list[Tensor]:
        model = model_of(pv, network, representation(pv, component, name))
        if name in ("Zero", "Collect"):
            return logits(model(inputs(1), unit_locations={"base": 3}))
        return logits(model(inputs(1), [inputs(2)], {"sources->base": 3}))

    return call


def heads(component: str) -> Callable[[Any, Any], list[Tensor]]:
    """Return an interchange of two heads at two positions."""

    def call(pv: Any, network: Any) -> list[Tensor]:
        each = representation(pv, component, "Vanilla", unit="h.pos", max_number_of_units=2)
        places = [[[[0, 2]] * 3, [[1, 4]] * 3]]
        model = model_of(pv, network, each)
        return logits(model(inputs(1), [inputs(2)], {"sources->base": (places, places)}))

    return call


def trained(name: str) -> Callable[[Any, Any], list[Tensor]]:
    """Return an interchange in a basis, with the gradients of its parameters."""

    def call(pv: Any, network: Any) -> list[Tensor]:
        more = {"low_rank_dimension": 5} if name.startswith("LowRank") else {}
        model = model_of(pv, network, representation(pv, "block_output", name, **more))
        (intervention,) = model.interventions.values()
        if name == "RotatedSpace":
            intervention.set_interchange_dim(7)
        if hasattr(intervention, "set_temperature"):
            intervention.set_temperature(torch.tensor(2.0))
        _, outputs = model(inputs(1), [inputs(2)], {"sources->base": 3})
        outputs.logits[:, -1, 7].sum().backward()
        gradients = [
            parameter.grad
            for key, parameter in sorted(intervention.named_parameters())
            if parameter.grad is not None and "temperature" not in key
        ]
        return [outputs.logits.detach(), *gradients]

    return call


def per_row(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange at each row's own positions."""
    model = model_of(pv, network, representation(pv, "block_output", "Vanilla"))
    places = ([[[1], [5], [0]]], [[[3], [2], [4]]])
    return logits(model(inputs(1), [inputs(2)], {"sources->base": places}))


def moved(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange from one position into another."""
    model = model_of(pv, network, representation(pv, "mlp_output", "Vanilla"))
    return logits(model(inputs(1), [inputs(2)], {"sources->base": (1, 4)}))


def everywhere(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange of a whole activation."""
    model = model_of(pv, network, representation(pv, "attention_output", "Vanilla"))
    return logits(model(inputs(1), [inputs(2)]))


def joined(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange in one basis over two positions."""
    each = representation(
        pv, "block_output", "LowRankRotatedSpace", low_rank_dimension=4, max_number_of_units=2
    )
    places = ([[[1, 3]] * 3], [[[1, 3]] * 3])
    return logits(model_of(pv, network, each)(inputs(1), [inputs(2)], {"sources->base": places}))


def subspace(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange of chosen dims."""
    model = model_of(pv, network, representation(pv, "mlp_activation", "Vanilla"))
    call = model(inputs(1), [inputs(2)], {"sources->base": 3}, subspaces=[4, 9, 2])
    return logits(call)


def partition(pv: Any, network: Any) -> list[Tensor]:
    """Return an interchange of one group of rotated dims."""
    each = representation(pv, "block_output", "RotatedSpace", subspace_partition=[[0, 6], [6, 24]])
    return logits(
        model_of(pv, network, each)(inputs(1), [inputs(2)], {"sources->base": 3}, subspaces=0)
    )


def two_sources(pv: Any, network: Any) -> list[Tensor]:
    """Return two sources at two sites."""
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "Vanilla", layer=0),
        representation(pv, "mlp_output", "Addition", layer=2),
    )
    places = ([[[3]] * 3, [[2]] * 3], [[[3]] * 3, [[4]] * 3])
    return logits(model(inputs(1), [inputs(2), inputs(3)], {"sources->base": places}))


def chained(pv: Any, network: Any) -> list[Tensor]:
    """Return a source that is edited by another before it is read."""
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "Vanilla", layer=0),
        representation(pv, "block_output", "Vanilla", layer=1),
        mode="serial",
    )
    places = {
        "source_0->source_1": ([[[3]] * 3], [[[2]] * 3]),
        "source_1->base": ([[[4]] * 3], [[[4]] * 3]),
    }
    return logits(model(inputs(1), [inputs(2), inputs(3)], places))


def stored(pv: Any, network: Any) -> list[Tensor]:
    """Return the addition of a stored vector."""
    width = network.get_input_embeddings().weight.shape[1]
    vector = torch.linspace(-1, 1, width)
    model = model_of(pv, network, representation(pv, "block_output", "Addition"))
    call = model(inputs(1), unit_locations={"base": 2}, source_representations=vector)
    return logits(call)


def linked(pv: Any, network: Any) -> list[Tensor]:
    """Return two groups of dims of one learned basis, each from its own source."""
    more = {"subspace_partition": [[0, 6], [6, 12]], "intervention_link_key": 0}
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "RotatedSpace", **more),
        representation(pv, "block_output", "RotatedSpace", **more),
    )
    places = ([[[3]] * 3, [[3]] * 3], [[[3]] * 3, [[3]] * 3])
    return logits(
        model(
            inputs(1),
            [inputs(2), inputs(3)],
            {"sources->base": places},
            subspaces=[[[0]] * 3, [[1]] * 3],
        )
    )


def skipped(pv: Any, network: Any) -> list[Tensor]:
    """Return one of two interventions, the other's source being None."""
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "Vanilla", layer=0),
        representation(pv, "block_output", "Vanilla", layer=1),
    )
    places = ([None, [[3]] * 3], [None, [[3]] * 3])
    return logits(model(inputs(1), [None, inputs(2)], {"sources->base": places}))


def grouped(pv: Any, network: Any) -> list[Tensor]:
    """Return two sites of one source and one of another."""
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "Vanilla", layer=0, group_key=0),
        representation(pv, "mlp_output", "Vanilla", layer=1, group_key=0),
        representation(pv, "attention_output", "Vanilla", layer=2, group_key=1),
    )
    return logits(model(inputs(1), [inputs(2), inputs(3)], {"sources->base": 3}))


def downstream(pv: Any, network: Any) -> list[Tensor]:
    """Return what is collected behind an edit."""
    model = model_of(
        pv,
        network,
        representation(pv, "block_output", "Vanilla", layer=0),
        representation(pv, "block_output", "Collect", layer=2),
    )
    return logits(model(inputs(1), [inputs(2), None], {"sources->base": 3}))


def noise(pv: Any, network: Any) -> list[Tensor]:
    """Return noise on four positions."""
    model = model_of(pv, network, representation(pv, "block_input", "Noise", layer=0))
    return logits(model(inputs(1), unit_locations={"base": [[[0, 1, 2, 3]] * 3]}))


def function(pv: Any, network: Any) -> list[Tensor]:
    """Return the edit of a plain function."""

    def half(base: Tensor, source: Tensor) -> Tensor:
        return 0.5 * (base + source)

    each = pv.RepresentationConfig(layer=1, component="mlp_output", intervention=half)
    return logits(model_of(pv, network, each)(inputs(1), [inputs(2)], {"sources->base": 3}))


def original(pv: Any, network: Any) -> list[Tensor]:
    """Return the original output beside the intervened."""
    model = model_of(pv, network, representation(pv, "mlp_output", "Zero"))
    before, after = model(inputs(1), unit_locations={"base": 3}, output_original_output=True)
    return [before.logits.detach(), after.logits.detach()]


def skip(pv: Any, network: Any) -> list[Tensor]:
    """Return a block that gives what it takes."""
    model = model_of(pv, network, representation(pv, "block_output", "Skip"))
    return logits(model(inputs(1), [inputs(1)], {"sources->base": 3}))


def steered(pv: Any, network: Any) -> list[Tensor]:
    """Return a text whose every new token is steered."""
    width = network.get_input_embeddings().weight.shape[1]
    each = representation(pv, "block_output", "Addition")
    model = model_of(pv, network, each)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    vector = 3 * torch.linspace(-1, 1, width)
    return [model.generate(inputs(1), source_representations=vector, **options)[1]]


def prompted(pv: Any, network: Any) -> list[Tensor]:
    """Return a text behind an edited prompt."""
    model = model_of(pv, network, representation(pv, "block_output", "Vanilla"))
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    places = {"sources->base": 5}
    answer = model.generate(inputs(1), [inputs(2)], places, intervene_on_prompt=True, **options)
    return [answer[1]]


def reasoned(pv: Any, _network: Any) -> list[Tensor]:
    """Run a causal model of arrays: settings, interchanges, classes, live paths, tensors."""
    entities = [np.array([each, -each]) for each in (0.5, 0.25, 0.75)]
    booleans, computed = [True, False], ("WX", "YZ", "O")
    model = pv.CausalModel(
        ["W", "X", "Y", "Z", "WX", "YZ", "O"],
        {**dict.fromkeys("WXYZ", entities), **dict.fromkeys(computed, booleans)},
        {**{name: [] for name in "WXYZ"}, "WX": ["W", "X"], "YZ": ["Y", "Z"], "O": ["WX", "YZ"]},
        {
            **dict.fromkeys("WXYZ", lambda: entities[0]),
            **dict.fromkeys(["WX", "YZ"], lambda x, y: bool(np.array_equal(x, y))),
            "O": lambda left, right: left == right,
        },
    )  # fmt: skip
    inputs = [
        dict(zip("WXYZ", each, strict=True)) for each in itertools.product(entities, repeat=4)
    ]
    runs = [model.run_forward(each) for each in inputs]
    numbers = [[float(each[name]) for name in computed] for each in runs]
    found = [torch.tensor(numbers), torch.tensor([float(model.run_forward()["O"])])]
    changed = [
        model.run_interchange(base, {"WX": source, "Z": source}) for base, source in
        zip(inputs, inputs[::-1], strict=True)
    ]  # fmt: skip
    found.append(torch.tensor([float(each["O"]) for each in changed]))
    found += [model.input_to_tensor(inputs[5]), model.output_to_tensor(runs[5])]
    model.generate_equiv_classes()
    found.append(torch.tensor([len(model.equiv_classes[name][True]) for name in computed]))
    found.append(torch.tensor([model.timesteps[name] for name in ("W", "WX", "O")]))
    paths = [model.find_live_paths(each) for each in inputs[:9]]
    found.append(torch.tensor([[len(each.get(size, [])) for size in (2, 3)] for each in paths]))
    check = model.get_specific_path_filter("W", "O")
    found.append(torch.tensor([float(check(each)) for each in runs[:9]]))
    return found


def main(library: str, path: str) -> None:
    """Write what a library returns for every case, or the error it raises."""
    warnings.filterwarnings("ignore")
    pv = importlib.import_module(library)
    found: dict[str, Any] = {}
    for family in ("gpt2", "llama"):
        for name, call in cases():
            try:
                found[f"{family}: {name}"] = call(pv, build(family))
            except Exception as error:  # noqa: BLE001 - what it raises is what is to be compared
                found[f"{family}: {name}"] = f"{type(error).__name__}: {error}"
    torch.save(found, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
