"""The arguments that commands share, and what they mean."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastem import plot
from fastem._plot.canvas import picture_formats
from fastem._tools.outputs import check_written, naming, replacing

# What the library's messages call its parameters, and what the command line calls them. Names in quotes are
# those of columns.
_OPTIONS = [
    (r"columns=\[\.\.\.\]", "--columns"),
    (r"^columns must", "--columns must"),
    (r"^noise must", "--noise must"),
    (r"\bfit\(X, k, init=(?:error\.)?model\)", "fit --init MODEL.npz"),
    (r"\binit=(?:error\.)?model\b", "--init MODEL.npz"),
    (r"^init as a model", "--init as a model"),
    (r'\bdistribution="(\w+)"', r"--distribution \1"),
    (r'\bpass missing="(\w+)"', r"pass --missing \1"),
    (r'\bmissing="(\w+)"', r"--missing \1"),
    (r"(?<!['\"\w])max_iter\b", "--max-iter"),
    (r"(?<!['\"\w])n_init\b", "--n-init"),
    (r"(?<!['\"\w])covariance_type='(\w+)'", r"--covariance-type \1"),
    (r"(?<!['\"\w])covariance_type\b", "--covariance-type"),
]


def add_data(command: argparse.ArgumentParser) -> None:
    """FILE and --columns, for `data_of`."""
    command.add_argument(
        "file", metavar="FILE", type=Path, help=".csv, .npy, .parquet or a folder of Parquet"
    )
    command.add_argument(
        "--columns",
        type=_names_of,
        metavar="A,B,...",
        help="use these columns: names, or numbers from 0 if the file has no names",
    )


def add_noise(command: argparse.ArgumentParser) -> None:
    """--noise, as in `fit`."""
    command.add_argument(
        "--noise",
        type=_names_of,
        metavar="VA,VB,...",
        help="columns with the known variances of the noise, in the order of the features",
    )


def _names_of(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def add_results(command: argparse.ArgumentParser, saved: str) -> None:
    """--seed, --plot and --output, for `check_results` and `save_picture`."""
    command.add_argument("--seed", type=int, default=None, help="for the same result in every run")
    command.add_argument(
        "--plot", type=Path, metavar="PICTURE", help="draw the result into this .png, .svg or .pdf"
    )
    command.add_argument("-o", "--output", type=Path, help=saved)


def add_missing(command: argparse.ArgumentParser) -> None:
    """--missing, as in `fit`."""
    command.add_argument(
        "--missing",
        choices=("error", "marginalise"),
        default="error",
        help="marginalise: cells without a number are missing at random (default error)",
    )


def add_stopping(command: argparse.ArgumentParser, max_iter: int) -> None:
    """--n-init, --tol and --max-iter, as in `fit`."""
    command.add_argument("--n-init", type=int, default=1, help="number of starts (default %(default)s)")
    command.add_argument("--tol", type=float, default=1e-4, help="default %(default)s")
    command.add_argument("--max-iter", type=int, default=max_iter, help="default %(default)s")


def add_rows_output(command: argparse.ArgumentParser, *, required: bool) -> None:
    """--output and --keep, for `check_rows_output`."""
    command.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        required=required,
        help="write to this .csv, .parquet or .npy",
    )
    command.add_argument("--keep", action="store_true", help="copy all columns of FILE to OUT too")


def number_of(text: str) -> int:
    """Return the number that `fit` takes for -k."""
    try:
        return int(text)
    except ValueError:
        numbers_of(text)
        raise argparse.ArgumentTypeError(
            f"{text!r} is more than one number. To compare them: python -m fastem select FILE -k {text}"
        ) from None


def share_or_number(text: str) -> float | int:
    """Return 5 as an integer, and 0.2 as a float."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 5 or 0.2") from None


def numbers_of(text: str) -> Sequence[int]:
    """Return the numbers that `select` takes for -k: 3 is one, 1:10 all of 1 to 10, and 2,4,8 these."""
    try:
        if ":" in text:
            first, last = map(int, text.split(":"))
            if last < first:
                raise argparse.ArgumentTypeError(f"{text!r} has no numbers; the lower one comes first")
            return range(first, last + 1)
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of the forms 3, 1:10 and 2,4,8") from None


def as_options(text: str) -> str:
    """Return what the library says, with the options of the command line in place of its parameters."""
    for pattern, option in _OPTIONS:
        text = re.sub(pattern, option, text)
    return text


def joined(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``--below -1e-5`` as ``--below=-1e-5``.

    By itself, argparse takes negative numbers for options where they have exponents or are infinite.
    """
    found: list[str] = []
    for argument in arguments:
        of_script = found[:1] == ["accelerate"]
        if found and not of_script and found[-1].startswith("--") and _is_negative(argument):
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def _is_negative(text: str) -> bool:
    if not text.startswith("-"):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def shows_progress() -> bool:
    """Return whether a progress bar has a place to be, and tqdm to draw it."""
    return sys.stderr.isatty() and find_spec("tqdm") is not None


def check_results(options: argparse.Namespace) -> None:
    """Raise an error before the work is done, not after it, if its results cannot be drawn or saved."""
    for name, path in (("--output", options.output), ("--plot", options.plot)):
        if path is not None:
            check_written(name, path, options.file)
    if options.plot is None:
        return
    if find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install matplotlib.")
    if options.plot.suffix[1:].lower() not in picture_formats():
        raise ValueError(f"--plot must end in .png, .svg or .pdf; got {str(options.plot)!r}.")


def save_picture(options: argparse.Namespace, draw: Callable[[Any], Any]) -> None:
    """Save what `draw` draws with the functions of `fastem.plot`, if --plot asks for it.

    It returns a figure, or the axes or an array of axes in it.
    """
    if options.plot is None:
        return
    drawn = draw(plot)
    figure = np.asarray(drawn, dtype=object).reshape(-1)[0].figure
    with naming(options.plot), replacing(options.plot) as path:
        figure.savefig(path, format=options.plot.suffix[1:].lower(), dpi=150, bbox_inches="tight")
    print(f"drawn to {options.plot}")
