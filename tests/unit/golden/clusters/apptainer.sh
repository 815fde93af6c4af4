#!/bin/sh
#SBATCH --job-name=ca_0123456789abcdef
#SBATCH --comment="cosmos-jobs ca_0123456789abcdef of ann@laptop"
#SBATCH --array=0-3%8
#SBATCH --output=/dev/null
#SBATCH --export=ALL
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --gres=gpu:h100:1
#SBATCH --time=04:00:00
#SBATCH --mem=64G
#SBATCH --cpus-per-task=8

# An element works the batch in the line of its number. A node that does not see the folder that
# this was submitted in fails here.
exec > "$SLURM_ARRAY_TASK_ID.log" 2>&1
batch=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" batches)
cd "../../batches/${batch:?}" && exec sh run.sh element

# How run.sh of each batch starts the engine:

check() {
command -v apptainer > /dev/null || { fault no-program apptainer; return 1; }
[ -e /shared/images/cosmos-transfer2.5.sif ] || { fault no-image-file /shared/images/cosmos-transfer2.5.sif; return 1; }
}
engine() {
(
export APPTAINERENV_HF_HOME=/shared/hf
export APPTAINERENV_PYTHONUTF8=1
export APPTAINERENV_HF_TOKEN="$HF_TOKEN"
if [ "$1" = cpu ]; then set --; else
export APPTAINERENV_CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"
set -- --nv
fi
exec timeout --kill-after=30 7200 apptainer exec --cleanenv "$@" --bind "$root:$root" --pwd /workspace --bind /shared/hf:/shared/hf /shared/images/cosmos-transfer2.5.sif python3 examples/inference.py -i /shared/ann/cosmos-jobs/batches/ba_0123456789abcdef/batch.jsonl -o /shared/ann/cosmos-jobs/batches/ba_0123456789abcdef/out --model edge
)
}
