"""What torch and ExecuTorch work out again in every pass although nothing has changed: done once, or left out.

Each of these is a function of theirs that is replaced while they work, and put back after. What they make is the
same to the last byte; only the time differs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._export import utils
from torch.fx import traceback


@contextlib.contextmanager
def done_once() -> Iterator[None]:
    """In here nodes share their histories, and torch lists its composite operators only when there are new ones."""
    with shared_history(), composites_listed_once():
        yield


@contextlib.contextmanager
def shared_history() -> Iterator[None]:
    """In here a node's history (`torch.fx.traceback.NodeSource`) is not copied together with the node.

    Every pass copies the histories of all nodes, each with those before it, nested ever deeper. Nothing changes a
    history once it is written, so the copies may be one and the same. Does nothing where torch has none.
    """
    record: Any = getattr(traceback, "NodeSource", None)
    if record is None or "__deepcopy__" in vars(record):
        yield
        return
    record.__deepcopy__ = lambda self, memo: self
    try:
        yield
    finally:
        del record.__deepcopy__


_LIST = "_collect_all_valid_cia_ops_for_namespace"  # of torch._export.utils, called for each namespace of operators


@contextlib.contextmanager
def composites_listed_once() -> Iterator[None]:
    """In here torch goes through a namespace of operators for its composite ones again only if some were added.

    Each export and each decomposition lists those of all namespaces, which takes 0.1 to 0.4 s, and lowering a net
    decomposes some fifteen times. torch does not keep the list because custom operators may be registered in between;
    they change the number of registrations. Does nothing where torch has no such function.
    """
    whole: Callable[[Any], set] | None = getattr(utils, _LIST, None)
    if whole is None or getattr(whole, "known", None) is not None:
        yield
        return
    known: dict[tuple[str, int, int], set] = {}

    def state(namespace: Any) -> tuple[str, int, int]:
        registered = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        return namespace.name, len(namespace._dir), len(registered)

    def listed(namespace: Any) -> set:
        if state(namespace) not in known:
            found = whole(namespace)  # which looks each operator up, and so may add to the namespace
            known[state(namespace)] = found
            return set(found)
        return set(known[state(namespace)])

    listed.known = known  # type: ignore[attr-defined]
    setattr(utils, _LIST, listed)
    try:
        yield
    finally:
        setattr(utils, _LIST, whole)


# Subgraphs that XNNPACK's lowering looks for: the function that makes them, and a word of an operator in each of them,
# or of the one that becomes it. The lowering exports and lowers small nets to get them.
_SUBGRAPHS = (
    ("bilinear_2d", "get_graphs_dict", dict, ("bilinear", "index")),
    ("sdpa", "get_graphs", list, ("attention", "matmul", "bmm", "einsum")),
)


@contextlib.contextmanager
def needless_subgraphs_left_out(program: torch.export.ExportedProgram) -> Iterator[None]:
    """In here XNNPACK's lowering does not look for subgraphs that `program` has no operators for.

    To have them takes it some seconds in each process. The partitioner has to be imported before.
    """
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    with contextlib.ExitStack() as stack:
        for module, function, nothing, words in _SUBGRAPHS:
            holder = sys.modules.get(f"executorch.backends.xnnpack.partition.graphs.{module}")
            made = getattr(holder, function, None)
            if made is not None and not any(word in operator for word in words for operator in operators):
                setattr(holder, function, nothing)
                stack.callback(setattr, holder, function, made)
        yield
