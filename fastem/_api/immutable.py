"""Models do not change, so threads can share them, and what they prepared for scoring stays right."""

from typing import Any, NoReturn


class Immutable:
    """Its subclasses set their attributes by `_keep`, once."""

    def _keep(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable. Make a new one to change {name!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable.")
