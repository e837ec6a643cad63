"""What a user's `forward` takes: arrays are bound to its arguments by name, in its order, or refused by name.

Reads signatures and runs nothing. How bound tensors are handed over is a `Passing`, which can be written out as code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import InputError

Structure = Literal["", "dict", "list", "tuple"]
# What a type is called that holds several tensors; the last that fits is taken.
_STRUCTURES: dict[Structure, str] = {"list": "list|sequence", "tuple": "tuple", "dict": "dict|mapping|batch"}


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of `forward`."""

    name: str
    """As it is written there."""
    required: bool = True
    """Whether it has no default."""
    keyword: bool = False
    """Whether it can be given by its name alone."""
    annotation: str = ""
    """Its type in words; "" where none is written."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What `forward` takes; `free` where it takes any (`*inputs`, `**inputs`, or compiled code that says nothing)."""

    arguments: tuple[Argument, ...]
    """In order, those with defaults as well."""
    free: Literal["", "*", "**"] = ""
    """How arrays are handed over where no argument is named."""
    main: str = ""
    """The argument that a Hugging Face model calls its main input."""

    @classmethod
    def of(cls, *names: str) -> Signature:
        """Of arguments of these names, all of them required."""
        return cls(arguments=tuple(Argument(name=name) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.arguments)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.arguments if one.required)

    @property
    def text(self) -> str:
        """For a message: "a, b and, if given, c"."""
        more = [one.name for one in self.arguments if not one.required]
        first = ", ".join(self.required)
        if not self.arguments:
            return "any" if self.free else "nothing"
        return f"{first} and, if given, {', '.join(more)}" if first and more else first or ", ".join(more)

    @property
    def first(self) -> str:
        """The argument that a single array without a name is for."""
        if self.main in self.names:
            return self.main
        return next(iter((*self.required, *self.names)), "input")

    def called(self, count: int) -> tuple[str, ...]:
        """The names of `count` arrays that were given in order, without names.

        Raises:
            InputError: more arrays than arguments.
        """
        if count == 1:
            return (self.first,)
        if self.free and len(self.arguments) < count:
            return self.names + tuple(f"input_{i}" for i in range(len(self.arguments), count))
        if self._structured([f"input_{i}" for i in range(count)]) is not None:
            return tuple(f"input_{i}" for i in range(count))
        if len(self.names) < count:
            raise InputError(
                f"{count} arrays were given, and forward takes {len(self.names)}: {self.text}. Give one for each, or a "
                "dict by their names"
            )
        return self.names[:count]

    def bound(self, arrays: Mapping[str, np.ndarray], where: str) -> Arrays:
        """The arrays under the names and in the order that `forward` has; `where` begins an error.

        A single array goes to the one argument that `forward` needs, whatever its name.

        Raises:
            InputError: an array that is no argument, or an argument without an array; it is named.
        """
        given = dict(arrays)
        if len(given) == 1 and not given.keys() & set(self.names) and self._structured(tuple(given)) is None:
            only = self.required or self.names
            if len(only) == 1:
                given = {only[0]: next(iter(given.values()))}
        return {name: given[name] for name in self.order(tuple(given), where)}

    def order(self, given: Sequence[str], where: str) -> tuple[str, ...]:
        """The names that were given in the order of `forward`. Raises as `bound`."""
        if self.free and not self.arguments:
            return tuple(given)
        if self._structured(given) is not None:
            return tuple(given)
        strangers = [name for name in given if name not in self.names]
        if strangers and not self.free:
            raise InputError(
                f"{where}: {strangers[0]!r} is no argument of forward, which takes {self.text}. Name the arrays like "
                "its arguments, and leave out what the model does not take"
            )
        if missing := [name for name in self.required if name not in given]:
            raise InputError(
                f"{where} has no array for the input {missing[0]!r}. The model takes {self.text}; it holds "
                f"{', '.join(given) or 'nothing'}. Name the arrays like the arguments of forward"
            )
        return (*(name for name in self.names if name in given), *strangers)

    def passings(self, names: Sequence[str], *, picture: bool = False) -> tuple[Passing, ...]:
        """How inputs of these names, in the order of `order`, can be handed over, the likeliest first.

        A `picture` goes to the first argument. There are several ways only where one argument without a type takes all.
        """
        if picture:
            names = (self.first,)
        if (one := self._structured(names)) is not None:
            kinds: tuple[Structure, ...] = ("dict", "list", "tuple")
            for kind, words in _STRUCTURES.items():
                if re.search(words, one.annotation, re.IGNORECASE):
                    kinds = (kind,)
            keyword = one.name if one.keyword else ""
            return tuple(
                Passing(
                    keywords=tuple(names) if kind == "dict" else ("",) * len(names), structure=kind, argument=keyword
                )
                for kind in kinds
            )
        if not self.arguments:
            by_position = len(names) == 1 or self.free == "*"
            return (Passing(keywords=tuple("" if by_position else name for name in names)),)
        by_name = {one.name: one for one in self.arguments}
        keywords, in_order = [], True
        for place, name in enumerate(names):
            argument = by_name.get(name)
            in_order = in_order and (argument is None or (place < len(self.names) and self.names[place] == name))
            keywords.append(name if argument is not None and (argument.keyword or not in_order) else "")
        return (Passing(keywords=tuple(keywords)),)

    def _structured(self, given: Sequence[str]) -> Argument | None:
        """The one argument that takes several arrays at once, in a dict or list; None where each has its own."""
        only = [one for one in self.arguments if one.required] or list(self.arguments)
        if len(only) != 1 or self.free or set(given) & set(self.names):
            return None
        held = re.search("|".join(_STRUCTURES.values()), only[0].annotation, re.IGNORECASE)
        alone = len(self.arguments) == 1 and not only[0].annotation
        return only[0] if held or (alone and len(given) > 1) else None


@dataclass(frozen=True, kw_only=True)
class Passing:
    """How tensors are handed to `forward`: each by position ("") or by its keyword, or all in one structure."""

    keywords: tuple[str, ...]
    """For each input; of a dict its key."""
    structure: Structure = ""
    """What they are put into together; "" for nothing."""
    argument: str = ""
    """The keyword of the structure, where it needs one."""

    def call(self, module: Any, tensors: Sequence[Tensor]) -> Any:
        """What the module gives to them."""
        if self.structure:
            held: Any = dict(zip(self.keywords, tensors, strict=True))
            if self.structure != "dict":
                held = list(tensors) if self.structure == "list" else tuple(tensors)
            return module(**{self.argument: held}) if self.argument else module(held)
        pairs = list(zip(self.keywords, tensors, strict=True))
        return module(*(t for key, t in pairs if not key), **{key: t for key, t in pairs if key})

    def written(self, values: Sequence[str]) -> str:
        """The arguments of the call as code, of expressions for the tensors."""
        if self.structure:
            if self.structure == "dict":
                held = "{" + ", ".join(f"{k!r}: {v}" for k, v in zip(self.keywords, values, strict=True)) + "}"
            else:
                held = ", ".join(values)
                held = f"[{held}]" if self.structure == "list" else f"({held},)"
            return f"{self.argument}={held}" if self.argument else held
        return ", ".join(f"{key}={value}" if key else value for key, value in zip(self.keywords, values, strict=True))


def signature_of(module: nn.Module) -> Signature:
    """What a module's `forward` takes."""
    main = getattr(module, "main_input_name", "")
    if isinstance(module, torch.jit.ScriptModule):
        schema = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        return Signature(
            arguments=tuple(
                Argument(
                    name=one.name,
                    required=not one.has_default_value(),
                    keyword=one.kwarg_only,
                    annotation="" if str(one.type) == "Tensor" else str(one.type),
                )
                for one in schema
            )
        )
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # compiled code without a signature
        return Signature(arguments=(), free="*")
    kinds = inspect.Parameter
    free: Literal["", "*", "**"] = ""
    arguments = []
    for one in parameters:
        if one.kind is kinds.VAR_KEYWORD:
            free = "**"
        elif one.kind is kinds.VAR_POSITIONAL:
            free = free or "*"
        else:
            arguments.append(Argument(
                name=one.name,
                required=one.default is kinds.empty,
                keyword=one.kind is kinds.KEYWORD_ONLY,
                annotation=_annotation(one.annotation),
            ))  # fmt: skip
    if arguments and free == "**":
        free = ""  # what `**options` takes it may as well ignore, so that a name with a slip would be lost in it
    return Signature(arguments=tuple(arguments), free=free, main=main if isinstance(main, str) else "")


def _annotation(annotation: object) -> str:
    if annotation is inspect.Parameter.empty or annotation is Tensor:
        return ""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    text = str(annotation) if "[" in str(annotation) else text
    return "" if re.fullmatch(r"(?:torch\.)?(?:Float|Long)?Tensor", text.strip()) else text
