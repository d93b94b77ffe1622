"""Command line: ``python -m fastem COMMAND``, such as fit, select, kmeans, predict and score."""

import argparse
import os
import platform
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numba
import numpy as np

import fastem
from fastem._checks import check_integer
from fastem._criteria import CRITERIA
from fastem._em import seeds
from fastem._em.starts import INIT_NAMES
from fastem._families.registry import DISTRIBUTIONS, GAUSSIANS, MCLUST, STUDENTS
from fastem._kernels._target import describe_target
from fastem._tools.arguments import (
    add_data,
    add_missing,
    add_noise,
    add_results,
    add_rows_output,
    add_stopping,
    as_options,
    joined,
    number_of,
    numbers_of,
    share_or_number,
)
from fastem._tools.bench import run_bench
from fastem._tools.commands import run_fit, run_kmeans, run_predict, run_score, run_select
from fastem._tools.demo import run_demo
from fastem._tools.warmup import run_warmup

# What wrong input can raise. It is told in one line, and anything else with a traceback.
_MISTAKES = (ValueError, TypeError, OSError, ImportError)
_INTERRUPTED = 128 + 2  # what shells say of a program that SIGINT has ended
_BROKEN_PIPE = 128 + 13  # and of one that SIGPIPE has

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

TYPES = tuple(dict.fromkeys((*GAUSSIANS, *MCLUST)))


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    try:
        try:
            return _run(_parser().parse_args(joined(sys.argv[1:] if arguments is None else arguments)))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as head, has enough. Python would complain when it flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _run(options: argparse.Namespace) -> int:
    try:
        with warnings.catch_warnings():
            if options.run is not _accelerate:  # the warnings of a user's script are its own
                warnings.showwarning = _show_warning
            options.run(options)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("fastem: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except fastem.FitInterrupted as error:
        return _failed(error.reason)
    except _MISTAKES as error:
        return _failed(str(error))
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"fastem: warning: {as_options(_on_one_line(str(message)))}", file=sys.stderr)


def _failed(reason: str) -> int:
    print(f"fastem: {as_options(_on_one_line(reason))}", file=sys.stderr)
    return 1


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastem", description=fastem.__doc__)
    parser.add_argument("--version", action="version", version=f"fastem {fastem.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_tools, _add_fit, _add_select, _add_kmeans, _add_scores, _add_accelerate):
        add(commands)
    return parser


def _add_tools(commands: _Commands) -> None:
    """Add the commands that take no data."""
    demo = commands.add_parser("demo", help="fit Old Faithful, then a million points")
    demo.add_argument(
        "--rows", type=int, default=1_000_000, help="number of points in the second fit (default %(default)s)"
    )
    demo.set_defaults(run=_demo)

    info = commands.add_parser("info", help="print versions, threads, SIMD width and cache folder")
    info.set_defaults(run=_info)

    warmup = commands.add_parser("warmup", help="compile kernels now, not at their first use")
    warmup.add_argument("--distribution", nargs="+", choices=DISTRIBUTIONS, default=["gaussian"])
    warmup.add_argument(
        "--covariance-type", nargs="+", choices=tuple(STUDENTS), default=["full"], metavar="TYPE"
    )
    warmup.add_argument("--dtype", nargs="+", choices=("float64", "float32"), default=["float64"])
    warmup.add_argument("--kmeans", action="store_true", help="also those of k-means")
    warmup.set_defaults(run=_warmup)

    bench = commands.add_parser("bench", help="time one pass and compare with other libraries")
    bench.add_argument("--peers", action="store_true", help="also measure other installed libraries")
    bench.add_argument("--scale", type=float, default=1.0, help="factor on the number of rows")
    bench.add_argument("--repeat", type=int, default=5, help="runs of each case (default %(default)s)")
    bench.add_argument("-o", "--output", type=Path, help="write the table to this JSON file")
    bench.set_defaults(run=_bench)


def _add_fit(commands: _Commands) -> None:
    fit = commands.add_parser("fit", help="fit a file, print the model, save it and draw it")
    add_data(fit)
    fit.add_argument("-k", type=number_of, required=True, help="number of components")
    fit.add_argument("--distribution", choices=DISTRIBUTIONS, default="gaussian")
    fit.add_argument(
        "--covariance-type",
        choices=TYPES,
        metavar="TYPE",
        help="full, tied, diag, spherical or one of mclust's fourteen (default full)",
    )
    fit.add_argument(
        "--init",
        default="auto",
        help=f"{', '.join(INIT_NAMES)}, or a model .npz to go on from (default auto)",
    )
    add_missing(fit)
    add_noise(fit)
    add_stopping(fit, max_iter=200)
    add_results(fit, "save the model to this .npz")
    fit.set_defaults(run=run_fit)


def _add_select(commands: _Commands) -> None:
    select = commands.add_parser("select", help="compare numbers of components and covariance types")
    add_data(select)
    select.add_argument(
        "-k", type=numbers_of, default=list(range(1, 10)), help="3, 1:10 or 2,4,8 (default 1:9)"
    )
    select.add_argument("--distribution", choices=DISTRIBUTIONS, default="gaussian")
    select.add_argument(
        "--covariance-type",
        choices=(*TYPES, "mclust"),
        nargs="+",
        metavar="TYPE",
        help="such as full VEV, or mclust for its fourteen (default: full tied diag spherical)",
    )
    select.add_argument("--criterion", choices=CRITERIA, help="default bic")
    select.add_argument(
        "--held-out",
        type=share_or_number,
        metavar="N",
        help="compare by rows that are held out, in so many folds, or a share such as 0.2 (default 5)",
    )
    add_missing(select)
    add_stopping(select, max_iter=200)
    add_results(select, "save the best model to this .npz")
    select.set_defaults(run=run_select)


def _add_kmeans(commands: _Commands) -> None:
    kmeans = commands.add_parser("kmeans", help="divide a file into clusters, print and save them")
    add_data(kmeans)
    kmeans.add_argument("-k", type=number_of, required=True, help="number of clusters")
    kmeans.add_argument("--init", choices=seeds.INIT_NAMES, default="auto")
    add_stopping(kmeans, max_iter=300)
    add_results(kmeans, "save the clusters to this .npz")
    kmeans.set_defaults(run=run_kmeans)


def _add_scores(commands: _Commands) -> None:
    """Add the commands that take a model, and write what it says of rows."""
    predict = commands.add_parser("predict", help="write the component of each row of a file")
    predict.add_argument("model", metavar="MODEL", type=Path, help="what fit, select or kmeans has saved")
    add_data(predict)
    add_noise(predict)
    predict.add_argument("--proba", action="store_true", help="write the responsibilities too")
    add_rows_output(predict, required=True)
    predict.set_defaults(run=run_predict)

    score = commands.add_parser("score", help="write the log-density of each row, and flag the lowest")
    score.add_argument("model", metavar="MODEL", type=Path, help="what fit or select has saved")
    add_data(score)
    add_noise(score)
    line = score.add_mutually_exclusive_group()
    line.add_argument("--flag", type=float, metavar="SHARE", help="flag this share of the rows: the lowest")
    line.add_argument("--below", type=float, metavar="DENSITY", help="flag rows of a log-density below this")
    add_rows_output(score, required=False)
    score.set_defaults(run=run_score)


def _add_accelerate(commands: _Commands) -> None:
    accelerate = commands.add_parser("accelerate", help="run a script with scikit-learn accelerated")
    accelerate.add_argument("script", type=Path)
    accelerate.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the script")
    accelerate.set_defaults(run=_accelerate)


def _demo(options: argparse.Namespace) -> None:
    run_demo(options.rows)


def _warmup(options: argparse.Namespace) -> None:
    run_warmup(options.distribution, options.covariance_type, options.dtype, options.kmeans)


def _bench(options: argparse.Namespace) -> None:
    repeat = check_integer("--repeat", options.repeat, 1)
    run_bench(peers=options.peers, scale=options.scale, repeat=repeat, output=options.output)


def _info(options: argparse.Namespace) -> None:
    rows = {
        "fastem": fastem.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        **describe_target(),
    }
    for name, value in rows.items():
        print(f"{name:<16} {value}")


def _accelerate(options: argparse.Namespace) -> None:
    """Run a script as ``python SCRIPT ...`` would. Its errors are shown with their tracebacks."""
    if not options.script.is_file():
        raise FileNotFoundError(f"SCRIPT must be a Python file; there is no {str(options.script)!r}.")
    sys.argv = [str(options.script), *options.arguments]
    sys.path[0] = str(options.script.resolve().parent)
    with fastem.accelerate():
        try:
            runpy.run_path(str(options.script), run_name="__main__")
        except Exception:
            sys.excepthook(*sys.exc_info())
            raise SystemExit(1) from None


if __name__ == "__main__":
    sys.exit(main())
