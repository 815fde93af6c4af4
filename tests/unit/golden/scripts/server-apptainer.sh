check() {
command -v apptainer > /dev/null || { fault no-program apptainer; return 1; }
[ -e /images/cosmos-transfer2.5.sif ] || { fault no-image-file /images/cosmos-transfer2.5.sif; return 1; }
}
serve() {
(
export APPTAINERENV_HF_HOME=/data/hf
export APPTAINERENV_NOTE='a '"'"'b'"'"'
$(c)'
export APPTAINERENV_COSMOS_JOBS_SECRETS=HF_TOKEN
export APPTAINERENV_HF_TOKEN="$HF_TOKEN"
if [ "$1" = cpu ]; then set --; else
export APPTAINERENV_CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"
set -- --nv
fi
exec timeout --kill-after=30 600 apptainer exec --cleanenv "$@" --bind "$root:$root" --pwd '/work it'"'"'s' --bind /data/hf:/data/hf:ro --no-home /images/cosmos-transfer2.5.sif python3 -m server 'it'"'"'s' "$slot"
)
}
