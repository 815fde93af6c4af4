# What a machine says of itself, for whoever asks later how a video was made.

# Ask something that is good to know, but that nothing may wait for.
ask() { timeout -k 2 10 "$@" < /dev/null 2>/dev/null; }

# Note what the machine, and its GPUs $1, say of themselves.
note_facts() {
  commit= digest=$image_name card=
  if [ -n "$image" ]; then
    digest=$(ask docker image inspect --format \
      '{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}' "$image")
  fi
  # Without a repository of its own it may be in somebody else's.
  if [ -n "$checkout" ] && [ -e "$checkout/.git" ]; then
    commit=$(ask_git rev-parse HEAD) || commit=
    [ -z "$commit" ] || [ -z "$(ask_git status --porcelain -uno | head -c 1)" ] ||
      commit="$commit-dirty"
  fi
  [ "$1" = cpu ] || card=$(ask nvidia-smi --query-gpu=name,driver_version --format=csv,noheader \
    -i "$(echo "$1" | tr ' ' ,)") || card=
  card=$(printf '%s\n' "$card" | head -n 1)
  {
    [ -z "$commit" ] || printf 'commit %s\n' "$commit"
    [ -z "$digest" ] || printf 'image %s\n' "$digest"
    case "$card" in *", "*)
      printf 'gpu_name %s\ndriver %s\n' "${card%, *}" "${card##*, }" ;;
    esac
    own_facts
  } | put $its_facts
}

# The owner of a repository may be another than we; and we are not to lock its index.
ask_git() { ask git --no-optional-locks -c safe.directory='*' -C "$checkout" "$@"; }
