#!/usr/bin/env bash
# All RecBole runs of this comparison, one after the other on one core. Finished runs are skipped,
# so the script can be stopped and started again. README.md says how to make the environment.
#   FINDREC_RAW=... PYTHON=.recbole-venv/bin/python SCRATCH=/tmp/recbole ./run_all.sh
set -u
cd "$(dirname "$0")"
: "${FINDREC_RAW:?the folder that holds beauty/sequences.txt}" "${PYTHON:?}" "${SCRATCH:?}"
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
# Freed memory stays with the process instead of going back to the kernel: evaluation allocates
# the full score matrix, and RecBole is faster with these (README.md).
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$SCRATCH"

run() {
    "$PYTHON" recbole_runs.py --scratch "$SCRATCH" "$@" || echo "FAILED: $*" >&2
}

# Time to valid NDCG@10 of 0.10 (first of two evaluations in a row), SASRec on Beauty. The first
# goes on to its plateau.
run --dataset beauty --model SASRec --batch 256 --lr 2e-3 --limit-minutes 120
run --dataset beauty --model SASRec --batch 2048 --lr 2e-3 --stop-at-threshold
run --dataset beauty --model SASRec --batch 2048 --lr 1e-3 --stop-at-threshold
# The quality at the plateau. 256 / 1e-3 is also the fourth time to quality.
run --dataset beauty --model SASRec --batch 256 --lr 1e-3 --limit-minutes 120
run --dataset ml-100k --model SASRec --batch 2048 --lr 2e-3 --limit-minutes 20
run --dataset ml-100k --model SASRec --batch 2048 --lr 1e-3 --limit-minutes 20
run --dataset ml-100k --model GRU4Rec --batch 2048 --lr 2e-3 --limit-minutes 20
run --dataset ml-100k --model GRU4Rec --batch 2048 --lr 1e-3 --limit-minutes 20
run --dataset beauty --model GRU4Rec --batch 2048 --lr 2e-3 --limit-minutes 45
run --dataset beauty --model GRU4Rec --batch 2048 --lr 1e-3 --limit-minutes 45
run --dataset beauty --model GRU4Rec --batch 256 --lr 1e-3 --limit-minutes 45
# ML-100k again with small batches: far more updates for the same seconds.
run --dataset ml-100k --model SASRec --batch 256 --lr 1e-3 --limit-minutes 60
run --dataset ml-100k --model GRU4Rec --batch 256 --lr 1e-3 --limit-minutes 45
run --dataset ml-100k --model BERT4Rec --batch 256 --lr 1e-3 --limit-minutes 60
run --dataset beauty --model BERT4Rec --batch 256 --lr 1e-3 --limit-minutes 90
