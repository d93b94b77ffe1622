"""Models do not change, so threads can share them, and what they prepared for scoring stays right."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn


class Immutable:
    """Its subclasses set their attributes by `_keep`, once."""

    _elsewhere: ClassVar[Mapping[str, str]] = {}  # what to use in place of names that other libraries have

    def _keep(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable. Make a new one to change {name!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable.")

    if not TYPE_CHECKING:  # or any attribute would be right for a type checker

        def __getattr__(self, name: str) -> Any:
            """Say what to use. This is called for attributes that do not exist.

            It is also called for a property that raises an AttributeError. Asking it again keeps that error.
            """
            for owner in type(self).__mro__:
                if hasattr(attribute := vars(owner).get(name), "__get__"):
                    return attribute.__get__(self, type(self))
            message = f"{type(self).__name__} has no attribute {name!r}."
            advice = self._advice_on(name)
            raise AttributeError(f"{message} {advice}" if advice else message, name=name, obj=self)

    def _advice_on(self, name: str) -> str | None:
        return self._elsewhere.get(name)
