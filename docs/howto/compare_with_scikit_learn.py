"""Compare time, peak memory and log-likelihood of two GaussianMixture classes with default settings.

    python compare_with_scikit_learn.py            # needs Linux, scikit-learn and pillow; takes some minutes
    python compare_with_scikit_learn.py rows       # the speed-up of whole fits by the number of rows

The first runs each fit in a process of its own. Before it, a fit to a few rows loads or compiles the kernels.
The second makes the fits of both libraries in turn in one process, each up to three times, and counts the
shortest. It waits between the two. Numbers of rows may follow.
"""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def mixture(n, d, k, spread):
    """Rows of k clusters of random shape, which are `spread` times as far apart as they are wide."""
    rng = np.random.default_rng(0)
    X = spread * rng.normal(size=(k, d))[rng.integers(k, size=n)]
    return X + rng.normal(size=X.shape) @ (rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d))


def pixels(name):
    """The colours of the pixels of a sample image, one pixel a row."""
    from sklearn.datasets import load_sample_image

    return load_sample_image(name).reshape(-1, 3).astype(np.float64)


def patches():
    """Squares of 4 x 4 grey pixels, one square a row."""
    from numpy.lib.stride_tricks import sliding_window_view
    from sklearn.datasets import load_sample_image

    grey = load_sample_image("china.jpg").mean(axis=2)
    X = sliding_window_view(grey, (4, 4)).reshape(-1, 16)[::2]
    return X + np.random.default_rng(0).normal(size=X.shape)  # grey levels are whole numbers


def shape(name, n=100_000, **options):
    """The rows of one of scikit-learn's generators of data."""
    import sklearn.datasets

    return getattr(sklearn.datasets, name)(n, random_state=0, **options)[0]


PROBLEMS = {
    "pixels of china.jpg": (lambda: pixels("china.jpg"), 8),
    "pixels of flower.jpg": (lambda: pixels("flower.jpg"), 16),
    "4 x 4 patches of china.jpg": (patches, 8),
    "swiss roll": (lambda: shape("make_swiss_roll", noise=0.1), 10),
    "two moons": (lambda: shape("make_moons", noise=0.1), 6),
    "two circles": (lambda: shape("make_circles", noise=0.1), 6),
    "3 clusters": (lambda: mixture(100_000, 2, 3, 4.0), 3),
    "8 overlapping clusters": (lambda: mixture(100_000, 16, 8, 0.7), 8),
    "uniform noise": (lambda: np.random.default_rng(0).random((200_000, 4)), 5),
    "a million points": (lambda: mixture(1_000_000, 8, 16, 2.0), 16),
}


def memory(what):
    """Megabytes of this process: VmRSS is the memory now, VmHWM the peak since it was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise ValueError(what)


def measure(library, name):
    """Fit one problem with one library in this process."""
    if library == "fastem":
        from fastem.sklearn import GaussianMixture
    else:
        from sklearn.mixture import GaussianMixture
    warnings.simplefilter("ignore")
    load, k = PROBLEMS[name]
    X = load()
    GaussianMixture(k, random_state=0).fit(X[:: len(X) // 8000])
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    seconds = []
    for _ in range(5 if library == "fastem" else 1):
        began = time.perf_counter()
        model = GaussianMixture(k, random_state=0).fit(X)
        seconds.append(time.perf_counter() - began)
    return {
        "shape": X.shape,
        "k": k,
        "seconds": min(seconds),
        "megabytes": memory("VmHWM") - before,
        "n_iter": model.n_iter_,
        "log_likelihood": float(model.score(X)),
    }


# Threads of BLAS spin for a tenth of a second after their work, which would slow the library that comes next.
SETTLE_SECONDS = 0.2
ROWS = (500, 2_000, 5_000, 6_000, 20_000, 60_000, 200_000, 1_000_000)
# The features, the components, how far they are apart, and the covariance type.
MIXTURES = (
    (2, 3, 4.0, "full"),
    (2, 8, 1.5, "full"),
    (8, 3, 0.7, "full"),
    (8, 8, 1.5, "full"),
    (8, 8, 0.7, "full"),
    (2, 8, 1.5, "tied"),
    (2, 8, 1.5, "diag"),
    (2, 8, 1.5, "spherical"),
)


def by_rows(sizes):
    """Print a table of seconds and likelihoods by rows: medians over the mixtures, and the least ratio."""
    from sklearn.mixture import GaussianMixture as Theirs

    from fastem.sklearn import GaussianMixture as Ours

    warnings.simplefilter("ignore")
    print(
        "| rows | seconds: scikit-learn, fastem | ratio | least, most | gain: mean, least | lower by 0.001 |"
    )
    print("|---|---|---|---|---|---|")
    for n in sizes:
        times, gains = [], []
        for d, k, spread, covariance_type in MIXTURES:
            X = mixture(n, d, k, spread)
            seconds = {Theirs: [], Ours: []}
            Ours(k, covariance_type=covariance_type, random_state=0).fit(X)
            for seed in range(3 if n <= 60_000 else 1):
                ends, took = {}, {Theirs: [], Ours: []}
                for cls, durations in took.items():
                    time.sleep(SETTLE_SECONDS)
                    for _ in range(3 if n <= 20_000 else 1):
                        began = time.perf_counter()
                        model = cls(k, covariance_type=covariance_type, random_state=seed).fit(X)
                        durations.append(time.perf_counter() - began)
                        ends[cls] = float(model.score(X))
                gains.append(ends[Ours] - ends[Theirs])
                for cls, durations in took.items():
                    seconds[cls].append(min(durations))
            times.append([sum(durations) / len(durations) for durations in seconds.values()])
        theirs, ours = np.array(times).T
        ratios = theirs / ours
        print(
            f"| {n:,} | {np.median(theirs):.4f}, {np.median(ours):.4f} | {np.median(ratios):.1f} x "
            f"| {ratios.min():.1f}, {ratios.max():.1f} | {np.mean(gains):+.4f}, {min(gains):+.4f} "
            f"| {sum(gain < -1e-3 for gain in gains)} of {len(gains)} |",
            flush=True,
        )


def main():
    """Fit every problem with both libraries and print a table."""
    print("| data | rows x features, k | time, ratio | n_iter | peak memory, MB | gain in log-likelihood |")
    for name in PROBLEMS:
        results = []
        for library in ("scikit-learn", "fastem"):
            command = [sys.executable, __file__, library, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout))
        theirs, ours = results
        n, d = ours["shape"]
        print(
            f"| {name} | {n:,} x {d}, {ours['k']} "
            f"| {theirs['seconds']:.2f} s, {theirs['seconds'] / ours['seconds']:.1f} x "
            f"| {theirs['n_iter']}, {ours['n_iter']} "
            f"| {theirs['megabytes']:.0f}, {ours['megabytes']:.0f} "
            f"| {ours['log_likelihood'] - theirs['log_likelihood']:+.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["rows"]:
        by_rows([int(n) for n in sys.argv[2:]] or ROWS)
    elif len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
