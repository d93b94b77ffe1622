"""Which starts find the right answer: sets like the published benchmarks of clustering, and harder ones.

python docs/explanation/starts.py            fastem's starts
python docs/explanation/starts.py --peers    scikit-learn's GaussianMixture and KMeans too, which take minutes
python docs/explanation/starts.py --parts    the start "auto" without each of its parts
"""

import sys
import time
import warnings
from contextlib import contextmanager

import numpy as np

import fastem.datasets
from fastem._em import auto, labellings, whole

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


def own_shapes(rng):
    """8 clusters, each with a covariance of its own."""
    labels, centres = rng.integers(8, size=20_000), 5 * rng.normal(size=(8, 4))
    shapes = [np.linalg.qr(rng.normal(size=(4, 4)))[0] * np.geomspace(0.3, 2, 4) for _ in range(8)]
    noise = rng.normal(size=(20_000, 4))
    return centres[labels] + np.einsum("iab,ib->ia", np.array(shapes)[labels], noise), labels


def mass_inside(rng):
    """15 % of the rows have one value, inside a normal distribution."""
    return np.r_[rng.normal(size=(1700, 1)), np.full((300, 1), 0.3)], np.repeat([0, 1], [1700, 300])


def spot_inside(rng):
    """80 tight rows inside 2,000 broad ones."""
    X = np.r_[rng.normal(size=(2000, 2)), rng.normal(0.5, 0.02, (80, 2))]
    return X, np.repeat([0, 1], [2000, 80])


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
    "own shapes": own_shapes,
    "2 long clusters": long_clusters(2, 30),
    "3 long clusters": long_clusters(3, 15),
    "a mass inside": mass_inside,
    "a dense spot inside": spot_inside,
}


def old_faithful():
    return fastem.datasets.old_faithful()


def iris():
    from sklearn.datasets import load_iris

    return load_iris().data


# Small sets, of which the highest log-likelihood known is what is right: k, covariance_type, log-likelihood.
REFERENCES = {
    "Old Faithful, full": (old_faithful, 3, "full", -1114.4405),
    "Old Faithful, tied": (old_faithful, 3, "tied", -1126.3159),
    "iris, full": (iris, 3, "full", -180.1854),
    "iris, diag": (iris, 3, "diag", -306.8605),
}


def missed(labels, found):
    """How many true clusters have no component of their own."""
    own = {int(np.bincount(found[labels == k]).argmax()) for k in range(labels.max() + 1)}
    return labels.max() + 1 - len(own)


@contextmanager
def changed(module, name, value):
    before = getattr(module, name)
    setattr(module, name, value)
    yield
    setattr(module, name, before)


def first_of(geometries):
    """The first geometry twice, as where k-means cannot tell them apart."""

    def only_first(*args):
        points, weights = geometries(*args)
        return points[:1] * 2, weights

    return only_first


def without_breaths(breathe):
    return lambda *args, **options: breathe(*args, **options | {"depth": 0})


PARTS = {
    "auto": (auto, "_HEAT", auto._HEAT),
    "no breathing": (labellings, "breathe", without_breaths(labellings.breathe)),
    "one geometry": (auto, "geometries_of", first_of(auto.geometries_of)),
    "no masses": (labellings, "repeated_rows", lambda *_: []),
    "no dense spot": (labellings, "_dense_spot", lambda points, weights, rng: np.arange(len(weights)) == 0),
    "no random seeds": (auto, "random_labels", lambda *_: []),
}


def fastem_from(init, change=None):
    def run(X, k, covariance_type, seed):
        with changed(*(change or PARTS["auto"])):
            model = fastem.fit(X, k, covariance_type=covariance_type, init=init, rng=seed)
        return model.predict(X), model.score(X)

    return run


def scikit_learn(X, k, covariance_type, seed):
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(k, covariance_type=covariance_type, random_state=seed).fit(X)
    return model.predict(X), model.score(X)


def scikit_learn_k_means(X, k, covariance_type, seed):
    from sklearn.cluster import KMeans

    return KMeans(k, random_state=seed).fit_predict(X), -np.inf


def compared(arguments):
    if "--parts" in arguments:
        whole.suits = lambda *_: False  # the kernel of small fits has these parts, but none can be taken out
        return {part: fastem_from("auto", change) for part, change in PARTS.items()}
    fits = {init: fastem_from(init) for init in ("k-means++", "auto")}
    if "--peers" in arguments:
        fits |= {"GaussianMixture": scikit_learn, "KMeans": scikit_learn_k_means}
    return fits


def cases():
    """Each set as (name, make(seed) -> (X, k, covariance_type, right(labels, score)))."""
    for name, make in SETS.items():

        def drawn(seed, make=make):
            X, labels = make(np.random.default_rng(seed))
            return X, int(labels.max()) + 1, "full", lambda found, _: missed(labels, found) == 0

        yield name, drawn
    for name, (load, k, covariance_type, highest) in REFERENCES.items():

        def known(seed, load=load, k=k, covariance_type=covariance_type, highest=highest):
            X = load()
            return X, k, covariance_type, lambda _, score: len(X) * score > highest - 0.1

        yield name, known


def main():
    fits = compared(sys.argv[1:])
    print("fits of", FITS, "that are right, and the shortest time of one in milliseconds\n")
    print("| set | rows, features, components |", " | ".join(fits), "|")
    print("|---" * (len(fits) + 2) + "|")
    total = dict.fromkeys(fits, 0)
    for name, make in cases():
        cells = {fit: [] for fit in fits}
        for seed in range(FITS):
            X, k, covariance_type, right = make(seed)
            for fit, run in fits.items():
                began = time.perf_counter()
                found, score = run(X, k, covariance_type, seed)
                cells[fit].append((right(found, score), time.perf_counter() - began))
        for fit, cell in cells.items():
            total[fit] += sum(hit for hit, _ in cell)
        shown = [
            f"{sum(hit for hit, _ in cell)}, {1e3 * min(s for _, s in cell):.3g}" for cell in cells.values()
        ]
        print(f"| {name} | {len(X):,}, {X.shape[1]}, {k} |", " | ".join(shown), "|", flush=True)
    print("| all | |", " | ".join(str(count) for count in total.values()), "|")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
