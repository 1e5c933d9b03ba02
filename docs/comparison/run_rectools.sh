#!/usr/bin/env bash
# All runs of the comparison with RecTools, one after the other on one core: ours, theirs, and the
# table. About 15 CPU minutes a RecTools run at most; finished ones are skipped.
#   OURS=$PWD/../../.venv/bin/python RECTOOLS=$PWD/.rectools-venv/bin/python SCRATCH=/tmp/rectools ./run_rectools.sh
set -u
cd "$(dirname "$0")"
: "${OURS:?}" "${RECTOOLS:?}" "${SCRATCH:?}"
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456
root="$PWD/../.."

ours() {
    (cd "$root" && PYTHONPATH=. "$OURS" docs/comparison/rectools_ours.py "$@" --scratch "$SCRATCH") ||
        echo "FAILED: $*" >&2
}
theirs() {
    "$RECTOOLS" rectools_runs.py --scratch "$SCRATCH" "$@" || echo "FAILED: $*" >&2
}

ours split
# This project's setting on this project's windows, then RecTools's own: each user's last 51 items.
for dataset in ml-100k beauty; do
    batch=32 masked=0.2
    [ $dataset = beauty ] && batch=128 masked=0.6
    ours train --dataset $dataset --model SASRec
    theirs --dataset $dataset --model SASRec --feed windows --lr 2e-3 --batch $batch
    theirs --dataset $dataset --model SASRec --feed windows --lr 1e-3 --batch $batch
    theirs --dataset $dataset --model SASRec --feed whole --eval-every 5
    ours train --dataset $dataset --model BERT4Rec
    theirs --dataset $dataset --model BERT4Rec --feed windows --lr 1e-3 --batch $batch \
        --mask-prob $masked --eval-every 2
    theirs --dataset $dataset --model BERT4Rec --feed whole --eval-every 5
done
ours compare
