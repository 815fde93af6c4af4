check() {
docker image inspect cosmos-transfer2.5:latest > /dev/null 2> docker.err && { return 0; }
if grep -qi 'no such image' docker.err; then fault no-image cosmos-transfer2.5:latest; return 1; fi
fault no-docker "$(head -n 1 docker.err)"; return 1
}
serve() {
device="\"device=$(echo "$1" | tr " " ,)\""
if [ "$1" = cpu ]; then set --; else set -- --gpus "$device"; fi
place=$(printf %s "$root" | sed 's/"/""/g')
docker run --rm --name "$box" --label "cosmos-jobs.server=${slot##*/}" --label "cosmos-jobs.root=$root" "$@" --mount "type=bind,\"source=$place\",\"target=$place\"" --workdir '/work it'"'"'s' --env HF_HOME=/data/hf --env 'NOTE=a '"'"'b'"'"'
$(c)' --env COSMOS_JOBS_SECRETS=HF_TOKEN --env HF_TOKEN --volume /data/hf:/data/hf --volume '/data/my models:/models:ro' --ipc=host --shm-size=32g --label 'note=it'"'"'s "so" $(touch hacked)' cosmos-transfer2.5:latest python3 -m server 'it'"'"'s' "$slot"
}
