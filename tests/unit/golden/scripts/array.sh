#!/bin/sh
#SBATCH --job-name=ca_0123456789abcdef
#SBATCH --comment="cosmos-jobs ca_0123456789abcdef of ann@laptop"
#SBATCH --array=0-499%32
#SBATCH --output=/dev/null
#SBATCH --export=ALL
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --gres=gpu:h100:1
#SBATCH --time=04:00:00
#SBATCH --mem=64G
#SBATCH --cpus-per-task=8
#SBATCH --qos=normal

# An element works the batch in the line of its number. A node that does not see the folder that
# this was submitted in fails here.
exec > "$SLURM_ARRAY_TASK_ID.log" 2>&1
batch=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" batches)
cd "../../batches/${batch:?}" && exec sh run.sh element
