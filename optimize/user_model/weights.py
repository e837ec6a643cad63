"""A user's weights into a user's module: prefixes and wrappings that trainers leave are taken off, NaN is named."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData, UsageError
from edgekit.train.checkpoint import fit_tensors, read_tensors

from .weights_file import StandIn, program_in, read_checkpoint, whole_module

# What trainers call the state dict inside a checkpoint, at any depth; looked for in this order.
_INSIDE = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params"),
    *("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "params_ema", "average"),
)
_AVERAGED = re.compile("ema|average", re.IGNORECASE)
# What wrappers put before every key: DataParallel and DDP, torch.compile, Lightning and trainers of one's own.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_MOST_DEEP = 3
_EXTRA = "_extra_state"  # the end of the key of what a module itself adds to its state dict


def load_own_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Fills `module`, in place, from a .safetensors file or a checkpoint; returns what was done to make it fit.

    It is filled by its own `load_state_dict`, with the state dict as it was saved: `_metadata` included, by which a
    module reads weights of its earlier versions. A state dict inside a checkpoint is taken out of it; a prefix that its
    keys carry and the module does not is taken off. No object is unpickled but tensors and plain containers.

    Raises:
        MissingData: no such file.
        UsageError: the weights are of another model, or the file is no file of weights.
        EdgekitError: damaged, or it holds no state dict.
    """
    path, asked = _chosen(path)
    found = _states(path)
    if asked:
        found = [(where, state) for where, state in found if asked in where.split(".")]
        if not found:
            raise UsageError(f"{path} has no state dict under {asked!r}. Leave out #{asked}")
    tried: list[tuple[str, Mapping[str, Any]]] = []
    for where, state in found:
        for words, fitted, left in _ways(module, state):
            if _loads(module, fitted):
                return _notes(path, where, words, left, [name for name, _ in found])
            tried.append((where, fitted))
    best = min(tried, key=lambda one: len(module.state_dict().keys() ^ one[1].keys()))[1]
    fit_tensors(module, {key: value for key, value in best.items() if isinstance(value, Tensor)}, path)
    raise UsageError(f"{path} could not be loaded into {type(module).__name__} by its own load_state_dict")


def _chosen(path: Path) -> tuple[Path, str]:
    """The file, and the part of it that is asked for behind a #; "" for none."""
    if path.is_file():
        return path, ""
    file, mark, part = str(path).rpartition("#")
    if mark and Path(file).is_file():
        return Path(file), part
    raise MissingData(f"there are no weights at {path}. Check the path that --weights gives")


def _states(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Every state dict in a file, with the keys that lead to it."""
    if path.suffix == ".safetensors":
        return [("", read_tensors(path))]
    if program_in(path, load=False):
        raise UsageError(
            f"{path} is a whole program, TorchScript or torch.export, and no state dict. Give it as the model: "
            + command_line("optimize", path)
        )
    whole = read_checkpoint(path)
    found: list[tuple[str, Mapping[str, Any]]] = []
    modules: list[tuple[str, str]] = []

    def look(held: Any, where: str, depth: int) -> None:
        if kind := whole_module(held):
            modules.append((where, kind))
        elif _is_state(held):
            found.append((where, held))
        elif isinstance(held, Mapping) and depth < _MOST_DEEP:
            for key in (key for key in _INSIDE if key in held):
                look(held[key], f"{where}.{key}" if where else key, depth + 1)

    look(whole, "", 0)
    if not found and modules:
        where, kind = modules[0]
        taken = "".join(f"[{key!r}]" for key in where.split(".") if key)
        raise UsageError(
            f"{path} is a pickled {kind}, and reading it would run code. Where it was made, two lines turn it into "
            f"weights:\n  net = torch.load({path.name!r}, weights_only=False){taken}\n"
            f"  torch.save(net.state_dict(), 'weights.pt')"
        )
    if not found:
        holds = f"keys {', '.join(map(str, list(whole)[:5]))}" if isinstance(whole, Mapping) else _kind(whole)
        raise EdgekitError(
            f"{path} holds no state dict of tensors, but {holds}. Save it with torch.save(model.state_dict())"
        )
    return found


def _is_state(held: Any) -> bool:
    if not isinstance(held, Mapping) or not held:
        return False
    tensors = sum(isinstance(value, Tensor) for value in held.values())
    return tensors > 0 and all(isinstance(v, Tensor) or str(k).endswith(_EXTRA) for k, v in held.items())


def _kind(held: Any) -> str:
    return held.kind if isinstance(held, StandIn) else type(held).__name__


def _ways(module: nn.Module, state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], list[str]]]:
    """The state dict as it is, then with prefixes taken off or put on: in words, and the keys that are left out."""
    wanted = module.state_dict().keys()
    yield "", _completed(module, state), []
    stripped, words = state, []
    for _ in range(_MOST_DEEP):
        counts = {p: sum(key.startswith(p) for key in stripped) for p in _PREFIXES}
        prefix = max(counts, key=counts.__getitem__)
        inside = any(key.startswith(prefix) for key in wanted)
        if not counts[prefix] or (inside and counts[prefix] < len(stripped)):
            break
        left = [key for key in stripped if not key.startswith(prefix)]
        stripped = _renamed(stripped, prefix)
        words.append(f"took the prefix {prefix!r} off {'the keys' if left else 'every key'}")
        yield ", ".join(words), _completed(module, stripped), left
    for prefix in _PREFIXES:
        if wanted and all(key.startswith(prefix) for key in wanted):
            yield f"put the prefix {prefix!r} before every key", _prefixed(state, prefix), []


def _renamed(state: Mapping[str, Any], prefix: str) -> OrderedDict[str, Any]:
    """What has the prefix, without it; the versions in `_metadata` too."""
    found = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items() if key.startswith(prefix))
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        pairs = ((f"{key}.", value) for key, value in versions.items())
        kept = {key.removeprefix(prefix).rstrip("."): value for key, value in pairs if key.startswith(prefix)}
        found._metadata = OrderedDict(kept)  # type: ignore[attr-defined]
    return found


def _prefixed(state: Mapping[str, Any], prefix: str) -> OrderedDict[str, Any]:
    found = OrderedDict((prefix + key, value) for key, value in state.items())
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        found._metadata = OrderedDict(  # type: ignore[attr-defined]
            ((prefix + key).rstrip("."), value) for key, value in versions.items()
        )
    return found


def _completed(module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict with what no inference reads, and with weights that the module shares with others of its own."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    # Counters of batch norms: checkpoints from before torch 0.4.1 lack them.
    added = {key: own[key] for key in missing if key.endswith("num_batches_tracked")}
    for key in missing:
        same = (k for k in state if k in own and k != key and own[k].data_ptr() == own[key].data_ptr())
        if own[key].numel() and key not in added and (other := next(same, None)) is not None:
            added[key] = state[other]
    if not added:
        return state
    found = OrderedDict(state) | added
    if (versions := getattr(state, "_metadata", None)) is not None:
        found._metadata = versions  # type: ignore[attr-defined]
    return found


def _loads(module: nn.Module, state: Mapping[str, Any]) -> bool:
    """Fills the module where every key fits, by its own `load_state_dict`; else it may be filled in part."""
    try:
        module.load_state_dict(state, strict=True)
    except Exception:  # RuntimeError of torch; a module's own reading of earlier versions may raise anything
        return False
    return True


def _notes(path: Path, where: str, words: str, left: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    notes = [f"{words} of {path.name}"] if words else []
    if left:
        notes.append(f"left out of {path.name}, since the model has no such weights: {', '.join(left[:5])}")
    if where and len(others) > 1:
        averaged = [name for name in others if name != where and _AVERAGED.search(name)]
        more = f" The averaged ones are --weights {path}#{averaged[0].rpartition('.')[2]}" if averaged else ""
        notes.append(f"took the weights under {where!r} of {path.name}; there are others under "
                     f"{', '.join(name for name in others if name != where)}.{more}")  # fmt: skip
    return tuple(notes)


def check_weights(module: nn.Module) -> None:
    """Raises InputError naming the first parameter with NaN or infinity, or buffer with NaN.

    An infinite buffer is left alone: masks of attention are made of them.
    """
    for kind, tensors, also_infinite in (
        ("parameter", module.named_parameters(), True),
        ("buffer", module.named_buffers(), False),
    ):
        for name, tensor in tensors:
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            bad = ~torch.isfinite(tensor) if also_infinite else torch.isnan(tensor)
            if count := int(bad.sum()):
                raise InputError(
                    f"{kind} {name!r} holds {count:,} NaN or infinite of {tensor.numel():,} values. The training "
                    "diverged or the file is damaged: take an earlier checkpoint"
                )


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weights_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers: what a file of its weights has, but for the header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
