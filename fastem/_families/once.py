"""A property that is computed once for each object.

That of `functools` has one lock for all objects until Python 3.11. So fits in threads would wait for each
other's moments, and a child that is forked in the meantime would wait for ever.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class computed_once(Generic[T]):
    """The object keeps the value under the name of the property, where Python finds it first."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "computed_once[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "computed_once[T] | T":
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._compute(instance)
        return value
