# Say what the cluster allows, and first the partition that jobs go to: `partition`, or the default.

ask scontrol show config || { echo "$said" >&2; exit 75; }
config=$said
if [ -n "$partition" ]; then
  ask scontrol --oneliner show partition "$partition"
else
  ask scontrol --oneliner show partition && said=$(printf '%s\n' "$said" | grep ' Default=YES')
fi
printf '%s\n%s\n' "$said" "$config"
