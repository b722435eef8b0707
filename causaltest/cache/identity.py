"""What a model's numbers depend on: weights, settings, code, precision, device and versions."""

from __future__ import annotations

import functools
import hashlib
import platform
import types
from collections.abc import Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import causaltest
from causaltest.cache.store import SCHEMA, digest
from causaltest.engine.model import Model
from causaltest.engine.standing import weights
from causaltest.engine.turns import callers_hooks
from causaltest.errors import ModelError

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy", "accelerate")
_KNOWN_CODE = frozenset({"torch", "transformers", "peft", "builtins", "causaltest"})
"""Packages whose code is known by their versions; code of anybody else may change unseen."""
_COMPUTING = (
    "cache", "engine", "experiment.py", "interventions", "metrics.py", "pairs", "sites",
    "sweeps",
)  # fmt: skip
"""What numbers depend on in this package; statistics and reports make something of numbers."""
_ATTENTIONS = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_WITHOUT_EFFECT = frozenset(
    {"generation_config", "warnings_issued", "name_or_path", "_name_or_path"}
)


class Unkeyed(Exception):  # noqa: N818 - a signal, not an error
    """Raised where not everything that numbers depend on can be told; they are not kept then."""


class Identity:
    """The identity of a model, and whether it still has it.

    Parameters
    ----------
    model
        The model.

    Raises
    ------
    Unkeyed
        The model runs code that is known by no version, or hooks of the caller.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._settings = self._described()
        self._weights = _stamps(model.network)
        try:
            saved = model.sha256
        except ModelError as error:
            raise Unkeyed(str(error)) from error
        # The fingerprint leaves out buffers that are not saved with the model.
        buffers = [[name, _bytes(each)] for name, each in model.network.named_buffers()]
        words = _tokenizer(model.prompts.tokenizer)
        self.sha256 = digest([self._settings, saved, buffers, words, _versions()])

    def check(self) -> None:
        """Make sure that the model is the same as in the beginning.

        Raises
        ------
        Unkeyed
            It is another one.
        """
        if self._described() != self._settings or _stamps(self._model.network) != self._weights:
            raise Unkeyed("the model changed while it was measured")

    def _described(self) -> list[object]:
        """Return code, settings and precision."""
        network = self._model.network
        if not self._model.forwards_itself:
            raise Unkeyed("the model runs through a function of its own (forward=)")
        if any(True for _ in callers_hooks(network)):
            raise Unkeyed("the network has hooks of the caller")
        describe = _Describing()
        modules = [
            [name, *describe.code(module), describe.settings(module)]
            for name, module in network.named_modules()
        ]
        return [modules, precision(self._model)]


def _stamps(network: nn.Module) -> tuple[object, ...]:
    """Return what shows that weights changed."""
    found = weights(network)
    if any(each[-1] is None for each in found):
        if any(each.is_meta for each in network.parameters()):
            raise Unkeyed("some weights are on the meta device")
        raise Unkeyed("some weights are of a kind that cannot be looked at")
    return found


class _Describing:
    """Describes modules; configurations, which many modules share, once."""

    def __init__(self) -> None:
        self._configurations: dict[int, object] = {}

    def code(self, module: nn.Module) -> list[object]:
        """Return the class of a module, which must be of a known version."""
        kind = type(module)
        for code in (kind, kind.forward, kind.__call__):
            _check_known(code)
        return [f"{kind.__module__}.{kind.__qualname__}", module.extra_repr()]

    def settings(self, module: nn.Module) -> dict[str, object]:
        """Return the plain attributes of a module."""
        return {
            name: self.plain(value)
            for name, value in vars(module).items()
            if name not in _OF_EVERY_MODULE and name not in _WITHOUT_EFFECT
        }

    def plain(self, value: Any) -> object:  # noqa: PLR0911 - one for each type
        """Return a value as plain data."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value.hex()
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in cast("list[object]", value)]
        if isinstance(value, (set, frozenset)):
            return sorted(str(self.plain(each)) for each in cast("set[object]", value))
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return [[str(key), self.plain(each)] for key, each in items]
        if isinstance(value, (torch.dtype, torch.device, slice, Enum)):
            return str(value)
        if isinstance(value, torch.Tensor):
            return [str(value.dtype), list(value.shape), _bytes(value)]
        return self._code_or_configuration(value)

    def _code_or_configuration(self, value: Any) -> object:
        if isinstance(value, functools.partial):
            whole = cast("functools.partial[object]", value)
            return [self.plain(each) for each in (whole.func, whole.args, whole.keywords)]
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
            return _named(value)
        if hasattr(value, "to_dict"):
            return self._configuration(value)
        raise Unkeyed(f"a module holds a {type(value).__module__}.{type(value).__qualname__}")

    def _configuration(self, config: Any) -> object:
        if id(config) not in self._configurations:
            _check_known(type(config))
            attention = getattr(config, "_attn_implementation", None)
            if attention not in _ATTENTIONS:
                raise Unkeyed(f"the attention {attention!r} is known by no version")
            fields = {
                name: each for name, each in config.to_dict().items() if name not in _WITHOUT_EFFECT
            }
            self._configurations[id(config)] = [attention, repr(sorted(fields.items()))]
        return self._configurations[id(config)]


def _named(function: Any) -> str:
    """Return the name of a function that its package's version tells everything about."""
    if "<" in function.__qualname__:
        raise Unkeyed(f"a module holds the function {function.__qualname__}")
    _check_known(function)
    return f"{function.__module__}.{function.__qualname__}"


def _check_known(code: Any) -> None:
    home = str(getattr(code, "__module__", None) or "builtins")
    if home.partition(".")[0] not in _KNOWN_CODE:
        name = getattr(code, "__qualname__", type(code).__qualname__)
        raise Unkeyed(f"{home}.{name} is code that is known by no version")


def _bytes(tensor: torch.Tensor) -> str:
    data = tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(data.numpy().data).hexdigest()


def precision(model: Model) -> list[object]:
    """Return what else numbers depend on that can change while a program runs."""
    device = model.device
    cuda = device.type == "cuda"
    return [
        device.type,
        torch.cuda.get_device_name(device) if cuda else "",
        str(model.dtype),
        str(torch.get_default_dtype()),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled(device.type),
        [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32] if cuda else [],
    ]


def _tokenizer(tokenizer: Any) -> object:
    """Return what a tokenizer makes of texts, or refuse one that does not tell."""
    if tokenizer is None:
        return None
    _check_known(type(tokenizer))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise Unkeyed("the tokenizer does not tell how it works")
    whole = str(backend.to_str())
    return [type(tokenizer).__qualname__, hashlib.sha256(whole.encode()).hexdigest()]


@functools.cache
def _versions() -> dict[str, object]:
    """Return versions of everything that computes; of this package, its code as it stands."""
    code = hashlib.sha256()
    folder = Path(causaltest.__file__).parent
    parts = (each for part in _COMPUTING for each in (folder / part, *(folder / part).rglob("*")))
    for path in sorted(each for each in parts if each.suffix == ".py"):
        code.update(path.relative_to(folder).as_posix().encode() + b"\n" + path.read_bytes())
    return {
        "schema": SCHEMA,
        "causaltest": [causaltest.__version__, code.hexdigest()],
        "python": platform.python_version(),
        "machine": [platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability()],
        **{package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
