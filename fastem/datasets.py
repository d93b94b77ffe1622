"""The data set that the demo and the documentation show."""

from importlib.resources import files

import numpy as np

from fastem._typing import FloatArray


def old_faithful() -> FloatArray:
    """Return 272 eruptions of the Old Faithful geyser, (272, 2): duration and waiting time, in minutes.

    Source: Azzalini and Bowman (1990), A look at some data on the Old Faithful geyser, Applied
    Statistics 39, 357-365. These are the 272 rows that R distributes as `faithful`.
    """
    with (files("fastem") / "_data" / "old_faithful.csv").open() as file:
        return np.loadtxt(file, delimiter=",", skiprows=1)
