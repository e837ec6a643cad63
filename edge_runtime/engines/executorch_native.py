"""ExecuTorch programs (`.pte`) through its C++ runtime: no torch in the process, numpy in and out over ctypes.

Drives `executorch_shim.cpp`, which `executorch_build` compiles. Knows nothing of the Python runtime: `executorch`
chooses between the two.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.manifest import Manifest
from ..errors import EngineError, InputError
from .engine import Options
from .executorch_build import SOURCE, build, missing, package_folder, version_of

__all__ = ["NativeSession", "build", "missing", "open_session", "prepare", "registered"]

_INTERNAL_CONSISTENCY = 1  # checks the whole flatbuffer: damaged programs become errors instead of crashes
_MAP_FILE = 1  # rather than read it: the peak memory is the same, and a large program loads in two thirds of the time
# ExecuTorch's ScalarType -> numpy, which has no bfloat16 and no quantized types.
_DTYPES = {
    0: np.uint8, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.int64, 5: np.float16, 6: np.float32, 7: np.float64,
    11: np.bool_, 27: np.uint16, 28: np.uint32, 29: np.uint64,
}  # fmt: skip


class _TensorView(ctypes.Structure):
    """`TensorView` of the shim."""

    _fields_ = (
        ("scalar_type", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("sizes", ctypes.c_int32 * 16),
        ("strides", ctypes.c_int32 * 16),
    )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sizes[: self.ndim])

    def dtype(self, what: str) -> np.dtype:
        if self.scalar_type not in _DTYPES:
            raise EngineError(
                f"{what} has ExecuTorch's type {self.scalar_type}, which numpy does not have. Export it with float32"
            )
        return np.dtype(_DTYPES[self.scalar_type])

    def array(self) -> np.ndarray:
        """A view of the runtime's own memory."""
        dtype = self.dtype("an output")
        strides = [step * dtype.itemsize for step in self.strides[: self.ndim]]
        if self.data is None or 0 in self.shape:
            return np.empty(self.shape, dtype)
        last = sum((size - 1) * step for size, step in zip(self.shape, strides, strict=True))
        memory = (ctypes.c_char * (last + dtype.itemsize)).from_address(self.data)
        return np.ndarray(self.shape, dtype, memory, 0, strides)


class NativeSession:
    """The `forward` method of one loaded program. Runs from several threads wait for each other."""

    version: str

    def __init__(self, path: Path, num_threads: int, library: Any = None):
        self._library = library = library or load_library()
        self.version = f"executorch {version_of(package_folder())} (native)"
        self.num_threads = num_threads
        self._error = error = ctypes.create_string_buffer(2048)
        handle = library.edgekit_open(
            os.fsencode(path), _INTERNAL_CONSISTENCY, _MAP_FILE, num_threads, error, len(error)
        )
        if not handle:
            raise EngineError(f"{path.name} could not be loaded: {_text(error)}")
        self._handle = handle
        # Not at exit: by then the libraries' own globals are going, and the system frees everything faster anyway.
        weakref.finalize(self, library.edgekit_close, handle).atexit = False
        self._lock = threading.Lock()
        self._pointers = (ctypes.c_void_p * max(1, library.edgekit_inputs(handle)))()
        views = [self._view(library.edgekit_input, i) for i in range(library.edgekit_inputs(handle))]
        self._dtypes = [view.dtype(f"{path.name}: input {i}") for i, view in enumerate(views)]
        self._shapes = [view.shape for view in views]
        self._outputs: list[np.ndarray] = []
        self._find_outputs()
        # The arguments of every run, converted once: ctypes would convert them each time.
        self._arguments = (handle, ctypes.addressof(self._pointers), ctypes.addressof(error), len(error))

    def run(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Runs `forward`. Raises InputError on a wrong count or dtype, and EngineError on what ExecuTorch refuses."""
        with self._lock:
            if len(inputs) != len(self._dtypes):
                raise InputError(f"the program takes {len(self._dtypes)} inputs, found {len(inputs)}")
            pointers = self._pointers
            alive = []  # a contiguous copy must outlive the call
            for i, array in enumerate(inputs):
                if array.dtype != self._dtypes[i]:
                    raise InputError(f"input {i} of the program is {self._dtypes[i]}, found {array.dtype}")
                if array.shape != self._shapes[i]:
                    self._reshape(i, array.shape)
                if not array.flags.c_contiguous:
                    array = np.ascontiguousarray(array)
                alive.append(array)
                pointers[i] = array.__array_interface__["data"][0]
            status = self._library.edgekit_run(*self._arguments)
            if status:
                if status < 0:
                    raise EngineError(f"{self.version}: {_text(self._error)}")
                self._find_outputs()
            return [output.copy() for output in self._outputs]

    def _reshape(self, index: int, shape: tuple[int, ...]) -> None:
        if len(shape) != len(self._shapes[index]):
            raise InputError(f"input {index} of the program is {list(self._shapes[index])}, found {list(shape)}")
        sizes = (ctypes.c_int32 * max(1, len(shape)))(*shape)
        if self._library.edgekit_reshape(self._handle, index, sizes, self._error, len(self._error)):
            raise EngineError(f"{self.version}: {_text(self._error)}")
        self._shapes[index] = shape

    def trace(self) -> None:
        """Records what every run does from now on; `library` has to be the one of the tracer.

        Raises:
            EngineError: the program cannot be traced.
        """
        if self._library.edgekit_trace(self._handle, self._error, len(self._error)):
            raise EngineError(f"{self.version}: the program could not be traced: {_text(self._error)}")
        self._find_outputs()

    def _find_outputs(self) -> None:
        library = self._library
        count = library.edgekit_outputs(self._handle)
        self._outputs = [self._view(library.edgekit_output, i).array() for i in range(count)]

    def _view(self, describe: Any, index: int) -> _TensorView:
        view = _TensorView()
        describe(self._handle, index, ctypes.byref(view))
        return view


def open_session(path: Path, manifest: Manifest, options: Options) -> NativeSession:
    """Loads a `.pte`. The first call on a machine compiles the shim, which takes seconds.

    Raises:
        MissingDependency: executorch or a C++ compiler is not installed.
        EngineError: the shim could not be built, or ExecuTorch refused the file; what it said is in the text.
    """
    return NativeSession(path, options.num_threads)


def prepare() -> None:
    """Builds and loads the shim, so that `open_session` only has to load the model. Raises as `open_session` does."""
    load_library()


def registered() -> tuple[list[str], list[str]]:
    """The names of the backends and operators that programs can use here. Builds the shim if there is none."""
    library = load_library()
    text = ctypes.create_string_buffer(library.edgekit_registered(ctypes.create_string_buffer(1), 1) + 1)
    library.edgekit_registered(text, len(text))
    lines = [line.split(" ", 1) for line in _text(text, keep="\n").splitlines()]
    backends, operators = ([name for kind, name in lines if kind == wanted] for wanted in ("backend", "operator"))
    return backends, sorted(set(operators))


@functools.cache
def load_library(source: Path = SOURCE) -> Any:
    """The compiled shim, or another `source` that includes it, with the types of its functions. Builds it if needed."""
    path = build(source)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise EngineError(f"{path} could not be loaded: {error}. Delete it, and it will be built again") from None
    pointer, text, size, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
    view = ctypes.POINTER(_TensorView)
    for name, result, arguments in (
        ("open", pointer, (text, number, number, number, text, size)),
        ("inputs", number, (pointer,)),
        ("outputs", number, (pointer,)),
        ("input", None, (pointer, number, view)),
        ("output", None, (pointer, number, view)),
        ("reshape", number, (pointer, number, ctypes.POINTER(ctypes.c_int32), text, size)),
        ("run", number, (pointer, pointer, pointer, size)),
        ("registered", number, (text, size)),
        ("close", None, (pointer,)),
    ):
        function = getattr(library, f"edgekit_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _text(error: ctypes.Array[ctypes.c_char], keep: str = "") -> str:
    # ExecuTorch quotes names from the file, and a damaged file may hold any byte.
    return "".join(c if c.isprintable() or c in keep else "?" for c in error.value.decode(errors="replace"))
