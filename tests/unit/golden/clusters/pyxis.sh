#!/bin/sh
#SBATCH --job-name=ca_0123456789abcdef
#SBATCH --comment="cosmos-jobs ca_0123456789abcdef of ann@laptop"
#SBATCH --array=0-3%32
#SBATCH --output=/dev/null
#SBATCH --export=ALL
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --gres=gpu:h100:2
#SBATCH --time=125
#SBATCH --mem=128G
#SBATCH --cpus-per-task=16
#SBATCH --qos=normal

# An element works the batch in the line of its number. A node that does not see the folder that
# this was submitted in fails here.
exec > "$SLURM_ARRAY_TASK_ID.log" 2>&1
batch=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" batches)
cd "../../batches/${batch:?}" && exec sh run.sh element

# How run.sh of each batch starts the engine:

check() {
command -v srun > /dev/null || { fault no-program srun; return 1; }
}
engine() {
(
srun=$(command -v srun)
export HF_HOME=/shared/hf
export PYTHONUTF8=1
set -- ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}
exec timeout --kill-after=30 7200 "$srun" --ntasks=1 --export=ALL "$@" --container-mounts="$root:$root",/shared/hf:/shared/hf --container-workdir=/workspace --container-env=HF_HOME,PYTHONUTF8 '--container-image=registry.cluster#lab/cosmos-transfer2.5:latest' python3 -m torch.distributed.run --standalone --nproc_per_node=2 examples/inference.py -i /shared/ann/cosmos-jobs/batches/ba_0123456789abcdef/batch.jsonl -o /shared/ann/cosmos-jobs/batches/ba_0123456789abcdef/out --model edge
)
}
