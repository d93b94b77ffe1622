"""Which starts find all clusters: sets like the published benchmarks of clustering, and fits from each start.

python docs/explanation/starts.py            fastem's starts
python docs/explanation/starts.py --peers    scikit-learn's GaussianMixture and KMeans too, which take minutes
"""

import sys
import time
import warnings

import numpy as np

import fastem

FITS = 5


def grid(rng):
    """Like Birch1: 100 clusters on a grid."""
    centres = 5.66 * np.stack(np.meshgrid(np.arange(10), np.arange(10)), -1).reshape(-1, 2)
    labels = rng.integers(100, size=100_000)
    return centres[labels] + 1.4 * rng.normal(size=(100_000, 2)), labels


def wave(rng):
    """Like Birch2: 100 clusters on a sine wave."""
    t = np.arange(100)
    centres = 2 * np.column_stack([np.pi * t, 20 * np.sin(2 * np.pi * t / 25)])
    labels = rng.integers(100, size=100_000)
    return centres[labels] + 0.6 * rng.normal(size=(100_000, 2)), labels


def spaced(rng, k, box, apart):
    """k centres in the plane; `apart(i, j)` is the least distance of two."""
    centres = []
    while len(centres) < k:
        point = rng.uniform(0, box, 2)
        if all(np.hypot(*(point - other)) > apart(len(centres), j) for j, other in enumerate(centres)):
            centres.append(point)
    return np.array(centres)


def scattered(n, k, box, distance, deviation):
    """Like A3 and S2: k clusters anywhere in the plane."""

    def make(rng):
        labels = np.arange(n) % k
        return spaced(rng, k, box, lambda i, j: distance)[labels] + deviation * rng.normal(
            size=(n, 2)
        ), labels

    return make


def unbalance(rng):
    """Three heavy clusters side by side, five light ones far away."""
    centres = np.array([[0, 0], [8, 6], [0, 12], [60, 0], [70, 0], [60, 12], [70, 12], [65, 6.0]])
    labels = np.repeat(np.arange(8), [2000] * 3 + [100] * 5)
    return centres[labels] + rng.normal(size=(len(labels), 2)), labels


def normal(n, d, k, units=0):
    """Standard normal centres times 4, unit noise; features in units that differ by 10 ** units."""

    def make(rng):
        centres, labels = 4 * rng.normal(size=(k, d)), rng.integers(k, size=n)
        return (centres[labels] + rng.normal(size=(n, d))) * np.geomspace(1, 10.0**units, d), labels

    return make


def unequal_sizes(rng):
    weights = rng.permutation(np.geomspace(1, 20, 15))
    labels = rng.choice(15, 40_000, p=weights / weights.sum())
    return spaced(rng, 15, 60, lambda i, j: 7)[labels] + rng.normal(size=(40_000, 2)), labels


def unequal_widths(rng):
    widths = rng.permutation(np.geomspace(0.4, 4, 12))
    centres = spaced(rng, 12, 90, lambda i, j: 3 * (widths[i] + widths[j]))
    labels = rng.integers(12, size=40_000)
    return centres[labels] + widths[labels, None] * rng.normal(size=(40_000, 2)), labels


def long_clusters(k, length):
    """k long clusters side by side, turned by a random angle."""

    def make(rng):
        labels, angle = rng.integers(k, size=20_000), rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        across = 0.5 * rng.normal(size=20_000) + 3 * labels
        return np.column_stack([length * rng.normal(size=20_000), across]) @ turn, labels

    return make


SETS = {
    "grid (Birch1)": grid,
    "wave (Birch2)": wave,
    "scattered (A3)": scattered(7_500, 50, 60, 5.5, 1.1),
    "scattered (S2)": scattered(5_000, 15, 40, 6, 1.6),
    "unbalance": unbalance,
    "64 clusters in 8 features": normal(64_000, 8, 64),
    "16 clusters in 16 features": normal(100_000, 16, 16),
    "16 clusters, units up to 10^7": normal(20_000, 16, 16, units=7),
    "sizes 1 to 20": unequal_sizes,
    "widths 1 to 10": unequal_widths,
    "2 long clusters": long_clusters(2, 30),
    "3 long clusters": long_clusters(3, 15),
}


def missed(labels, found):
    """How many true clusters have no component of their own."""
    own = {int(np.bincount(found[labels == k]).argmax()) for k in range(labels.max() + 1)}
    return labels.max() + 1 - len(own)


def starts(peers):
    fits = {
        init: lambda X, k, seed, init=init: fastem.fit(X, k, init=init, rng=seed).predict(X)
        for init in ("k-means++", "auto")
    }
    if peers:
        from sklearn.cluster import KMeans
        from sklearn.mixture import GaussianMixture

        fits["scikit-learn GaussianMixture"] = lambda X, k, seed: GaussianMixture(
            k, random_state=seed
        ).fit_predict(X)
        fits["scikit-learn KMeans"] = lambda X, k, seed: KMeans(k, random_state=seed).fit_predict(X)
    return fits


def main():
    fits = starts("--peers" in sys.argv[1:])
    print("fits of", FITS, "that find every cluster, and the shortest time of one\n")
    print("| set | rows, features, clusters |", " | ".join(fits), "|")
    print("|---" * (len(fits) + 2) + "|")
    for name, make in SETS.items():
        cells = {fit: [] for fit in fits}
        for seed in range(FITS):
            X, labels = make(np.random.default_rng(seed))
            k = int(labels.max()) + 1
            for fit, run in fits.items():
                began = time.perf_counter()
                found = run(X, k, seed)
                cells[fit].append((missed(labels, found) == 0, time.perf_counter() - began))
        shown = [f"{sum(hit for hit, _ in cell)}, {min(s for _, s in cell):.2f} s" for cell in cells.values()]
        print(f"| {name} | {len(X):,}, {X.shape[1]}, {k} |", " | ".join(shown), "|", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
