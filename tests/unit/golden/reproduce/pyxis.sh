#!/bin/sh
#SBATCH --partition=gpu
#SBATCH --gres=gpu:2
#SBATCH --qos=normal
# rs_4fa8c5434328124e, transfer2.5: night/calm/edges
# host: gpu-1
# node: gpu-7
# Slurm job: 12_3
# GPU: NVIDIA H100 PCIe
# driver: 570.1
# image: 0123abcd
# batch: ba_0123456789abcdef
# color: cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc inputs/pier/color.mp4
# edge: eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
# image_context: ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff refs/look.jpg
set -eu
mkdir -p '/data/a root/reproduce/rs_4fa8c5434328124e/out'
cd '/data/a root/reproduce/rs_4fa8c5434328124e'
cat > batch.jsonl << 'END OF FILE'
{"name": "rs-4fa8c5434328124e", "prompt": "It's \"night\" $(touch hacked)\n`ls`", "video_path": "/data/a root/inputs/cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.mp4", "seed": 7, "guidance": 3, "num_steps": 35, "num_conditional_frames": 1, "num_video_frames_per_chunk": 93, "keep_input_resolution": true, "show_control_condition": false, "show_input": false, "resolution": "720", "image_context_path": "/data/a root/inputs/ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff.jpg", "edge": {"control_weight": 0.7, "control_path": "/data/a root/inputs/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee.mp4"}}
END OF FILE
export HF_TOKEN="${HF_TOKEN}"
export root='/data/a root'
export folder='/data/a root/reproduce/rs_4fa8c5434328124e'
set -- "${CUDA_VISIBLE_DEVICES:-cpu}"
(
srun=$(command -v srun)
export HF_HOME='/data/it'"'"'s hf'
export PYTHONUTF8=1
set -- ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}
exec "$srun" --ntasks=1 --export=ALL "$@" --container-mounts="$root:$root",/data/hf:/data/hf --container-workdir=/workspace --container-env=HF_HOME,HF_TOKEN,PYTHONUTF8 '--container-image=nvcr.io#cosmos:1' python3 examples/inference.py -i '/data/a root/reproduce/rs_4fa8c5434328124e/batch.jsonl' -o '/data/a root/reproduce/rs_4fa8c5434328124e/out' --model edge
)
