"""A model of what a pass of EM costs on many machines, and the measurements that it needs.

    python scaling.py              # prints the table from the constants in this file: put in your own
    python scaling.py --measure    # measures the constants of this machine; takes a minute; needs pyarrow
    python scaling.py --check      # predicts and measures passes on this machine; needs joblib and pyarrow

The measurements use the data of ``python -m fastem bench``.
"""

import math
import operator
import pickle
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import fastem
from fastem._tools.cases import Case, problem

D, K, ROWS = 32, 64, 100_000

e_step = partial(fastem.e_step, n_threads=1)


@dataclass(frozen=True)
class Measured:
    """Measured constants, in seconds. The defaults are those of the page: D, K, full covariances, float64."""

    pair: float = 40e-9  # of one core for a row and a component
    decode: float = 1.45e-9  # of one core, to decode a byte of rows from Parquet
    task: float = 0.8e-3  # of the driver for a task: it sends the model, receives the statistics, adds them
    merge: float = 0.12e-3  # of a rank of a tree: it pickles, unpickles and adds the statistics
    m_step: float = 2.2e-3
    statistics: float = 0.56e6  # in bytes; the model has as many


@dataclass(frozen=True)
class Assumed:
    """Constants that were not measured: those of a plausible cluster."""

    cores: int = 32  # cores of one machine
    efficiency: float = 0.9  # speed of a core while all others work, relative to a core alone
    network: float = 1.25e9  # bytes a second for each machine: 10 Gbit/s
    disk: float = 3e9  # bytes a second for each machine


def prediction(machines, measured, assumed, rows=1e9):
    """Seconds of one pass: to compute, to read, and to collect the statistics in each of three ways."""
    workers = machines * assumed.cores
    transfer = measured.statistics / assumed.network if machines > 1 else 0.0
    core_seconds = rows * (K * measured.pair + 8 * D * measured.decode)
    compute = core_seconds / (workers * assumed.efficiency)
    read = rows * 8 * D / (machines * assumed.disk)
    ways = {
        "task a core": workers * (measured.task + 2 * transfer),
        "task a machine": machines * (measured.task + 2 * transfer),
        "tree": 2 * (math.log2(workers) * measured.merge + math.log2(machines) * transfer),
    }
    return compute, read, ways


def table(measured, assumed):
    """Print the predicted seconds of one pass on 1, 8 and 64 machines."""
    titles = ["compute", "read", "task a core", "task a machine", "tree", "pass, by tree"]
    print("machines", *(f"{title:>14}" for title in titles))
    for machines in (1, 8, 64):
        compute, read, ways = prediction(machines, measured, assumed)
        whole = max(compute, read) + ways["tree"] + measured.m_step
        print(f"{machines:8}", *(f"{value:12.3g} s" for value in (compute, read, *ways.values(), whole)))


def limits(measured, assumed):
    """For each way: from how many machines on collecting the statistics takes longer than computing."""
    machines = dict.fromkeys(prediction(1, measured, assumed)[2], 1)
    for way in machines:
        while True:
            compute, _, ways = prediction(machines[way], measured, assumed)
            if ways[way] > compute:
                break
            machines[way] += 1
    return machines


def seconds(function, *arguments, repeats=5, clock=time.perf_counter):
    """The shortest of some calls, after a first call that may compile."""
    function(*arguments)
    times = []
    for _ in range(repeats):
        began = clock()
        function(*arguments)
        times.append(clock() - began)
    return min(times)


def pair(covariance_type, data, threads):
    """Seconds of an E-step for one row and one component."""
    X, model = problem(Case(covariance_type, D, K, ROWS, data=data))
    if data == "clusters":  # the model of the case has not found the clusters yet
        model = fastem.fit(X, K, covariance_type=covariance_type, max_iter=5, tol=0, rng=0)
    return seconds(partial(fastem.e_step, n_threads=threads), X, model) / (ROWS * K)


def merge(statistics):
    """What a rank of a tree does with the statistics that it receives."""
    return pickle.loads(pickle.dumps(statistics)) + statistics


def write(path, X):
    """Write the rows of X to a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({f"x{j}": column for j, column in enumerate(X.T.copy())}), path)


def decode(folder):
    """Seconds of all threads to decode a byte of rows: those over Parquet minus those over an array."""
    X, model = problem(Case("diag", D, 1, 500_000))
    write(folder / "X.parquet", X)
    array, parquet = (
        seconds(e_step, rows, model, repeats=3, clock=time.process_time) for rows in (X, folder / "X.parquet")
    )
    return (parquet - array) / X.nbytes


def measure(folder):
    """Print the constants of this machine."""
    warnings.simplefilter("ignore", fastem.FitWarning)  # fits of five iterations do not converge
    for covariance_type in ("full", "tied", "diag"):
        for data in ("overlap", "clusters"):
            one, two = (pair(covariance_type, data, threads) for threads in (1, 2))
            print(f"{covariance_type}, {data}: {one * 1e9:.1f} ns a pair, two threads {one / two:.2f} x")
        statistics = fastem.e_step(*problem(Case(covariance_type, D, K, 5_000, data="overlap")))
        content = statistics.to_bytes()
        for name, function, *arguments in (
            ("add", operator.add, statistics, statistics),
            ("to_bytes", fastem.Statistics.to_bytes, statistics),
            ("from_bytes", fastem.Statistics.from_bytes, content),
            ("pickle, unpickle and add", merge, statistics),
            ("M-step", fastem.m_step, statistics),
        ):
            print(f"  {name}: {seconds(function, *arguments) * 1e3:.3f} ms")
        print(f"  {len(content)} bytes")
    print(f"Parquet: {decode(folder) * 1e9:.2f} ns a byte")


def check(folder):
    """Predict and measure passes by one thread, and by two processes with tasks of many and of few rows."""
    from joblib import Parallel, delayed

    X, model = problem(Case("full", D, K, 1_000_000, data="overlap"))
    one = seconds(e_step, X[:ROWS], model, repeats=3) / (ROWS * K)
    byte = decode(folder)

    def report(what, predicted, measured):
        print(f"{what}: {predicted:.2f} s predicted, {measured:.2f} s, {measured / predicted - 1:+.0%}")

    for rows in (200_000, 1_000_000):
        report(f"{rows} rows, one thread", rows * K * one, seconds(e_step, X[:rows], model, repeats=1))
    with Parallel(n_jobs=2, return_as="generator") as parallel:

        def sweep(files):
            return sum(parallel(delayed(e_step)(file, model) for file in files))

        write(folder / "row.parquet", X[:1])
        files = [folder / "row.parquet"] * 100
        task, driver = (
            seconds(sweep, files, repeats=2, clock=clock) / 100
            for clock in (time.perf_counter, time.process_time)
        )
        print(f"a task of one row: {task * 1e3:.2f} ms, of which the driver computes {driver * 1e3:.2f} ms")
        for tasks in (10, 100):
            files = [folder / f"{tasks}_{number}.parquet" for number in range(tasks)]
            for file, rows in zip(files, np.array_split(X, tasks)):
                write(file, rows)
            predicted = len(X) * (K * one + 8 * D * byte) / 2 + tasks * task
            once = seconds(sweep, files, repeats=2)
            report(f"{len(X)} rows, two processes, {tasks} files", predicted, once)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        table(Measured(), Assumed())
        print(limits(Measured(), Assumed()))
    else:
        with tempfile.TemporaryDirectory() as name:
            {"--measure": measure, "--check": check}[sys.argv[1]](Path(name))
