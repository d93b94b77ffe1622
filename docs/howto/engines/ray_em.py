"""EM in Ray tasks: python ray_em.py FOLDER START.npz RESULT.npz"""

import sys
from pathlib import Path

import ray

import fastem

folder, start, result = sys.argv[1:]
files = sorted(Path(folder).glob("*.parquet"))
model = fastem.load(start)
before = float("-inf")

ray.init(num_cpus=2, include_dashboard=False)
e_step = ray.remote(num_cpus=1)(fastem.e_step)
for _ in range(200):
    shared = ray.put(model)  # once a pass, not once a task
    parts = [e_step.remote(file, shared, n_threads=1) for file in files]
    statistics = sum(map(ray.get, parts))
    mean = statistics.log_likelihood / statistics.total_weight
    if mean - before < 1e-4:
        break
    before = mean
    model = fastem.m_step(statistics)
model.save(result)
