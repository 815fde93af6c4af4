check() {
command -v srun > /dev/null || { fault no-program srun; return 1; }
}
engine() {
(
srun=$(command -v srun)
export HF_HOME=/data/hf
export NOTE='a '"'"'b'"'"'
$(c)'
set -- ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}
exec timeout --kill-after=30 600 "$srun" --ntasks=1 --export=ALL "$@" --container-mounts="$root:$root"',/data/my models:/models:ro' --container-workdir="$folder" --container-env=HF_HOME,HF_TOKEN,NOTE '--container-image=nvcr.io#nvidia/cosmos:2.5' --mpi=none python3 -m engine 'it'"'"'s $(touch hacked)'
)
}
