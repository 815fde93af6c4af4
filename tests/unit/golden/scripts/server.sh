check() {
[ -d /workspace ] || { fault no-folder /workspace; return 1; }
[ -d '/work it'"'"'s' ] || { fault no-folder '/work it'"'"'s'; return 1; }
command -v python3 > /dev/null || { fault no-program python3; return 1; }
}
serve() {
(
export HF_HOME=/data/hf
export NOTE='a '"'"'b'"'"'
$(c)'
export COSMOS_JOBS_SECRETS=HF_TOKEN
[ "$1" = cpu ] || export CUDA_VISIBLE_DEVICES="$(echo "$1" | tr " " ,)"
cd -- '/work it'"'"'s' || exit 127
exec python3 -m server 'it'"'"'s' "$slot"
)
}
