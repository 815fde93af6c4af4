# What counts stands in the project file: variables of Slurm's programs would win over it, and those
# of a job that we may be in over those that its nodes set.
for variable in $(env | sed -n 's/^\(S[A-Z]*_[A-Z0-9_]*\)=.*/\1/p'); do
  case $variable in
    SLURM_CONF | SLURM_CLUSTERS | SLURM_JWT) ;;
    SLURM_* | SBATCH_* | SQUEUE_* | SCANCEL_* | SACCT_* | SINFO_*) unset "$variable" ;;
  esac
done

