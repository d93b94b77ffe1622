"""The two pictures of the first page, and films for any page."""

import base64
import json
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.animation import Animation
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

import fastem.plot
from fastem.datasets import old_faithful

# What the chart shows of the twenty cases: a few sizes of the default, and one of each other kind.
SHOWN = [
    ("full", 2, "clusters", "pass"),
    ("full", 16, "clusters", "pass"),
    ("full", 64, "clusters", "pass"),
    ("full", 16, "overlap", "pass"),
    ("full", 64, "overlap", "pass"),
    ("tied", 16, "clusters", "pass"),
    ("diag", 16, "clusters", "pass"),
    ("full", 16, "clusters", "predict"),
]
COLOURS = {"scikit-learn": "#e08214", "oneDAL": "#7b5fb5", "fastem": "#1b8a7a"}


def animation() -> HTML:
    """EM at work on Old Faithful, from a start far off. Who wants no motion sees the last frame."""
    X = old_faithful()
    start = fastem.GaussianMixture(
        [0.5, 0.5], [[2.2, 88.0], [4.6, 46.0]], [np.diag(X.var(axis=0))] * 2, "full"
    )
    figure, axes = plt.subplots(figsize=(5.2, 4.2), dpi=120, layout="constrained")
    film = fastem.plot.animate(
        pd.DataFrame(X, columns=["eruption (minutes)", "wait for the next (minutes)"]),
        2,
        init=start,
        tol=1e-6,
        ax=axes,
    )
    return moving(
        film,
        figure,
        "Eruptions of Old Faithful, in two groups. Two ellipses start far off and move onto the groups in a "
        "dozen steps, and the points take their colours.",
    )


def moving(film: Animation, figure: Figure, alt: str) -> HTML:
    """Return a film that plays in a page. Who wants no motion sees its last frame."""
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.apng"
        film.save(path, writer="pillow")
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(path))]
    times = (
        [1200] + [350] * (len(frames) - 2) + [2500]
    )  # milliseconds; the first and the last are worth a look
    film_file, still = BytesIO(), BytesIO()
    frames[0].save(
        film_file, "webp", save_all=True, append_images=frames[1:], duration=times, loop=0, quality=80
    )
    frames[-1].save(still, "webp", lossless=True)
    moved, stays = (data_uri("webp", file.getvalue()) for file in (film_file, still))
    plt.close(figure)
    return HTML(
        f'<picture><source srcset="{stays}" media="(prefers-reduced-motion: reduce)">'
        f'<img class="chart" src="{moved}" width="{width}" height="{height}" alt="{alt}"></picture>'
    )


def speed_chart(path: str) -> HTML:
    """How many times longer other libraries take, from a file of ``python -m fastem bench --peers -o``."""
    rows = {
        (row["covariance_type"], row["d"], row["data"], row["operation"]): row
        for row in json.loads(Path(path).read_text())["rows"]
        if row["dtype"] == "float64"
    }
    figure, axes = plt.subplots(figsize=(6.6, 4.8), layout="constrained")
    names = []
    for place, case in enumerate(SHOWN):
        row = rows[case]
        what = row["data"] if row["operation"] == "pass" else row["operation"]
        names.append(f"{row['covariance_type']}, {what}, d={row['d']}, K={row['k']}")
        for shift, name in ((-0.2, "scikit-learn"), (0.2, "oneDAL")):
            if "minimum" in row["seconds"].get(name, {}):
                times = row["seconds"][name]["minimum"] / row["seconds"]["fastem"]["minimum"]
                label = name if place == 1 else None
                axes.barh(place + shift, times, height=0.38, color=COLOURS[name], label=label)
                axes.text(times * 1.04, place + shift, f"{times:.3g} x", va="center", fontsize=9)
    axes.axvline(1, color=COLOURS["fastem"], lw=2.5, label="fastem")
    axes.set(xscale="log", xlim=(0.95, 300), xlabel="time relative to fastem, shorter is faster")
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.set_yticks(range(len(SHOWN)), names)
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    chart = BytesIO()
    figure.savefig(chart, format="svg")
    plt.close(figure)
    return HTML(
        f'<img class="chart" src="{data_uri("svg+xml", chart.getvalue())}" width="736" height="535" '
        'alt="Bars for eight cases: scikit-learn takes 16 to 145 times as long as fastem, oneDAL 2 to 9.">'
    )


def data_uri(kind: str, content: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
