"""Loading networks and tokenizers from a folder or a model hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causaltest.errors import ModelError
from causaltest.model_names import ADAPTER, beside, trouble
from causaltest.spelling import did_you_mean

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
_SPREAD = "spread"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_network(name: str, *, device: str, dtype: str) -> tuple[nn.Module, Any]:
    """Load a transformers model and its tokenizer, without remote code.

    Parameters
    ----------
    name
        A folder written by `save_pretrained`, of a model or of a PEFT adapter whose base model can
        be found; a name on the hub; or `BASE+ADAPTER` for an adapter on a base of your choice.
    device
        A torch device; `auto` for an accelerator where there is one, else the CPU; or `spread` for
        all accelerators together, then memory, as accelerate's `device_map="auto"` fills them.
    dtype
        A name in `DTYPES`.

    Returns
    -------
    network, tokenizer
        The tokenizer is None where the model comes without one.

    Raises
    ------
    ModelError
        The name, device or dtype is unknown, or the files do not make a model.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}{did_you_mean(dtype, DTYPES)}")
    wrong = trouble(name)
    if wrong:
        raise ModelError(wrong)
    folder = Path(name)
    base, plus, adapter = name.partition("+")
    if plus and not folder.exists():
        return _load_adapter(adapter, base, device=device, dtype=dtype)
    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        return _load_adapter(name, _base_of(folder), device=device, dtype=dtype)
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(name)
        chosen = _class_of(config, transformers)
        placed = {"device_map": "auto"} if _is_spread(device) else {}
        with _quiet(transformers):
            network = chosen.from_pretrained(name, dtype=DTYPES[dtype], **placed)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(_cannot_load(name, error)) from error
    tokenizer = _load_tokenizer(name, folder, transformers)
    if _is_spread(device):
        return network.eval(), tokenizer
    try:
        network.to(_device(device))
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {device!r} cannot be used: {error}") from error
    return network.eval(), tokenizer


def _is_spread(device: str) -> bool:
    """Whether accelerate places the network.

    Raises
    ------
    ModelError
        It is asked to, and is not installed.
    """
    if device != _SPREAD:
        return False
    try:
        import accelerate as accelerate
    except ImportError as error:
        raise ModelError(
            f"device {_SPREAD!r} lets accelerate place the model, and it is not installed\n"
            "pip install accelerate, or name one device such as cuda:0 or cpu"
        ) from error
    return True


def _base_of(folder: Path) -> str:
    """Return the model that an adapter says it was trained on."""
    try:
        base = json.loads((folder / ADAPTER).read_text()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(f"{folder / ADAPTER} is no JSON: {error}") from error
    if not base:
        raise ModelError(
            f"the folder {folder} holds a PEFT adapter, but its {ADAPTER} names no base model\n"
            "write the model's folder or hub name there as base_model_name_or_path, or name both: "
            f"BASE+{folder}"
        )
    return str(base)


def _load_adapter(adapter: str, base: str, *, device: str, dtype: str) -> tuple[nn.Module, Any]:
    """Load a model, and put a PEFT adapter on it."""
    if not (base and adapter):
        raise ModelError(f"{base}+{adapter} names no model and adapter; expected BASE+ADAPTER")
    try:
        import peft
    except ImportError as error:
        raise ModelError(
            f"the folder {adapter} holds a PEFT adapter of {base}, and peft is not installed\n"
            "pip install peft, or load the model merged: merge_and_unload(), save_pretrained()"
        ) from error
    try:
        network, tokenizer = load_network(base, device=device, dtype=dtype)
    except ModelError as error:
        raise ModelError(f"the base model of the adapter {adapter}: {error}") from error
    import transformers

    try:
        adapted = peft.PeftModel.from_pretrained(network, adapter)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"the adapter in {adapter} does not go on {base}: {error}") from error
    own = None
    if Path(adapter).exists():
        own = _load_tokenizer(adapter, Path(adapter), transformers)
    if not _is_spread(device):
        adapted = adapted.to(device_of(network))
    return adapted.eval(), tokenizer if own is None else own


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep the progress bar of small local loads out of test output, as the user set it before."""
    log = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def _class_of(config: Any, transformers: Any) -> Any:
    for architecture in getattr(config, "architectures", None) or ():
        found = getattr(transformers, architecture, None)
        if found is not None:
            return found
    return transformers.AutoModelForCausalLM


def _cannot_load(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    folder = Path(name)
    if folder.exists():
        return f"the folder {name} holds no model that can be loaded: {first}"
    return (
        f"no model {name!r}: there is no such folder{beside(name)}, and the hub "
        f"gave none of that name ({first[:200]})"
    )


def _load_tokenizer(name: str, folder: Path, transformers: Any) -> Any:
    if folder.exists() and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer of {name} cannot be loaded: {error}") from error


def _device(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    return accelerator or torch.device("cpu")


def device_of(network: nn.Module) -> torch.device:
    """Return where a network takes its ids.

    Weights that accelerate keeps on the CPU or on disk stand on the meta device until they are
    used; then what counts is where they are brought to.
    """
    first = next(network.parameters(), None)
    if first is None or not first.is_meta:
        return torch.device("cpu") if first is None else first.device
    for module in network.modules():
        place = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if place is not None:
            return torch.device(place)
    raise ModelError(f"{type(network).__name__}: {_NO_NUMBERS}")


class Entrance:
    """Says where a network takes its ids, as `device_of` does, for whoever asks time and again.

    The way to the first weight is remembered, and looked for anew where some module on it, or the
    weight, is another.

    Parameters
    ----------
    network
        The network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._way: list[tuple[dict[str, Any], str, Any]] = []

    @property
    def device(self) -> torch.device:
        """Where ids are to be."""
        for holder, name, part in self._way:
            if holder.get(name) is not part:
                break
        else:
            if self._way:
                return self._way[-1][2].device
        self._way = _way_to_weight(self._network)
        return device_of(self._network)


def _way_to_weight(network: nn.Module) -> list[tuple[dict[str, Any], str, Any]]:
    """Return the dicts that lead to the first weight; none where it holds no numbers."""
    first = next(network.named_parameters(), None)
    if first is None or first[1].is_meta:
        return []
    *path, leaf = first[0].split(".")
    way: list[tuple[dict[str, Any], str, Any]] = []
    module = network
    for name in path:
        way.append((module._modules, name, module._modules[name]))  # noqa: SLF001
        module = way[-1][2]
    return [*way, (module._parameters, leaf, first[1])]  # noqa: SLF001


_NO_NUMBERS = (
    "its weights are on the meta device, which holds no numbers; load them, or let accelerate "
    "offload them (dispatch_model)"
)


def vocabulary(network: nn.Module) -> int | None:
    """Return how many tokens a network has embeddings for; None where that is not plain.

    Placeholders of other media may lie beyond them.
    """
    getter = getattr(network, "get_input_embeddings", None)
    try:
        table = None if getter is None else getter()
    except (NotImplementedError, AttributeError):
        return None
    if type(table) is not nn.Embedding:
        return None
    config = getattr(network, "config", None)
    beyond = [
        each + 1
        for name, each in (vars(config) if hasattr(config, "__dict__") else {}).items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(each, int)
    ]
    return max([table.num_embeddings, *beyond])


def fingerprint(network: nn.Module) -> str:
    """Return a hash of all weights and buffers that are saved with the model.

    Returns
    -------
    str
        SHA-256 over names, dtypes, shapes and bytes, independent of device.

    Raises
    ------
    ModelError
        Some weights are nowhere to be found.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        data = (_onloaded(network, name) if tensor.is_meta else tensor.detach()).to("cpu")
        data = data.contiguous()
        digest.update(f"{name}|{data.dtype}|{tuple(data.shape)}|".encode())
        digest.update(data.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _onloaded(network: nn.Module, name: str) -> torch.Tensor:
    """Return a weight that accelerate has put away."""
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    if hasattr(module, "_hf_hook"):
        from accelerate.utils import align_module_device

        with align_module_device(module, torch.device("cpu")):
            tensor = module.state_dict()[leaf]
        if not tensor.is_meta:
            return tensor
    raise ModelError(f"{type(network).__name__}: {name}: {_NO_NUMBERS}")
