"""numpy to torch and back, for the engines that run torch modules. Knows nothing about models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def tensors_of(arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """Tensors of copies: a model may write into its inputs, and the caller's arrays are never changed."""
    return [torch.from_numpy(array.copy()) for array in arrays]


def arrays_of(outputs: Any, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """The outputs of a module, one tensor or several, as arrays that share no memory with the inputs or each other."""
    arrays = []
    taken = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    for tensor in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
        place = tensor.untyped_storage().data_ptr()
        if place in taken or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(place)
        arrays.append(tensor.numpy())
    return arrays
