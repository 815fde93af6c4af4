"""How WorkflowOperations is put together: functions of a session become its methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import MethodType
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from cosmos_jobs.operations.session import Session

P = ParamSpec("P")
T = TypeVar("T")


class HasSession(Protocol):
    """What operations are called on."""

    session: Session


class Operation(Generic[P, T]):
    """A function of a session, as a method: called on operations, it is given their session."""

    def __init__(self, function: Callable[Concatenate[Session, P], T]) -> None:
        self._given = function

    @cached_property
    def _function(self) -> Callable[Concatenate[Session, P], T]:
        return self._given.imported() if isinstance(self._given, _Named) else self._given

    @overload
    def __get__(self, on: None, owner: type) -> Callable[Concatenate[Session, P], T]: ...

    @overload
    def __get__(self, on: HasSession, owner: type) -> Callable[P, T]: ...

    def __get__(self, on: HasSession | None, owner: type) -> Callable[..., T]:
        """Return the method; read from the class it is the function, for `help`."""
        return self._function if on is None else MethodType(self._function, on.session)


@dataclass(frozen=True, slots=True)
class Part:
    """A module of this package; it is imported when one of its functions is first needed.

    So the command `validate` does not import what `apply` needs.
    """

    name: str

    def __getattr__(self, function: str) -> _Named:
        return _Named(self.name, function)


@dataclass(frozen=True, slots=True)
class _Named:
    part: str
    function: str

    def imported(self) -> Callable[..., object]:
        module = import_module(f"cosmos_jobs.operations.{self.part}")
        found: Callable[..., object] = getattr(module, self.function)
        return found
