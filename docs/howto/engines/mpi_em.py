"""EM on MPI ranks: mpiexec -n 2 python -m mpi4py mpi_em.py FOLDER START.npz RESULT.npz"""

import sys
from pathlib import Path

from mpi4py import MPI

import fastem

folder, start, result = sys.argv[1:]
ranks = MPI.COMM_WORLD
files = sorted(Path(folder).glob("*.parquet"))[ranks.rank :: ranks.size]
model = fastem.load(start)
before = float("-inf")

for _ in range(200):
    part = sum(fastem.e_step(file, model, n_threads=1) for file in files)
    statistics = ranks.allreduce(part)
    mean = statistics.log_likelihood / statistics.total_weight
    if mean - before < 1e-4:
        break
    before = mean
    model = ranks.bcast(fastem.m_step(statistics))  # of rank 0: machines may round differently
if ranks.rank == 0:
    model.save(result)
