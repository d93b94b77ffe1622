"""Some of the features or components of what a pass needs."""

from typing import Any

from fastem._families.frame import Frame
from fastem._typing import Array


def of_columns(frame: Frame, columns: Array) -> Frame:
    return Frame(*(array[columns] for array in frame))


def part_of(whole: Any, chosen: slice, shift: Array, inverse_scale: Array) -> Any:
    """Return what kernels need of some components, in coordinates of their own."""
    frame = {"shift": shift, "inverse_scale": inverse_scale}
    values = {
        name: part_of(value, chosen, shift, inverse_scale) if isinstance(value, tuple) else value[chosen]
        for name, value in whole._asdict().items()
        if name not in frame
    }
    return whole._replace(**values, **frame)
