"""A user's weights into a user's module: prefixes and wrappings that trainers leave are taken off, NaN is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData
from edgekit.train.checkpoint import fit_tensors, read_tensors, torch_load

# What trainers call the state dict inside a checkpoint; looked for in this order.
_INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "net", "ema")
# What wrappers put before every key: DataParallel and DDP, torch.compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")


def load_own_weights(module: nn.Module, path: Path) -> tuple[str, ...]:
    """Fills `module`, in place, from a .safetensors file or a state dict; returns what was done to make it fit.

    A state dict inside a checkpoint is taken out of it, and a prefix that every key carries and the module does not is
    taken off. Nothing but tensors is unpickled.

    Raises:
        MissingData: no such file.
        UsageError: the weights are of another model.
        EdgekitError: damaged, or it holds no state dict.
    """
    if not path.is_file():
        raise MissingData(f"there are no weights at {path}. Check the path that --weights gives")
    found, notes = _tensors(path), []
    wanted = module.state_dict().keys()
    for prefix in _PREFIXES:
        if found and all(key.startswith(prefix) for key in found) and not any(k.startswith(prefix) for k in wanted):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
            notes.append(f"took the prefix {prefix!r} off every key of {path.name}")
    # Counters that no inference reads; checkpoints from before torch 0.4.1 lack them.
    own = {k: v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked") and k not in found}
    fit_tensors(module, found | own, path)
    return tuple(notes)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    state = torch_load(path)
    inside = [state.get(key) for key in _INSIDE] if isinstance(state, Mapping) else []
    for candidate in (*inside, state):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return dict(candidate)
    holds = f"keys {', '.join(map(str, list(state)[:5]))}" if isinstance(state, Mapping) else type(state).__name__
    raise EdgekitError(
        f"{path} holds no state dict of tensors, but {holds}. Save it with torch.save(model.state_dict())"
    )


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
