#!/usr/bin/env bash
# Verifies manifests/ on the nodes of a cluster, and lets the whole decide. `./slurm.sh` submits an array of shards
# and the job that joins their records, both in the folder that holds manifests/; `verify` is in the path.
set -euo pipefail
shards=4

case "${1:-submit}" in
submit)
    array=$(sbatch --parsable --array="1-$shards" --cpus-per-task=8 --requeue "$0" shard)
    # afterany: a shard that refutes fails, and its record is wanted all the more.
    sbatch --dependency="afterany:$array" "$0" merge
    ;;
shard)
    # Requeued, it goes on where it was stopped, on a node with as many threads and the same instructions.
    index=$SLURM_ARRAY_TASK_ID
    verify manifests --no-measure --threads "${SLURM_CPUS_PER_TASK:-1}" \
        --shard "$index/$SLURM_ARRAY_TASK_COUNT" --json "record-$index.json" --resume
    ;;
merge)
    # Its exit code is that of one machine that ran everything.
    verify merge record-*.json --json record.json --junit report.xml
    ;;
esac
