# Say what a cluster has: fact by fact, as the questions to every machine do, which these stand in.

if ! has sbatch; then fact slurm-trouble 'sbatch is not installed'
elif said=$(limited scontrol show config 2>&1); then
    fact slurm "$(printf '%s\n' "$said" | sed -n 's/^SLURM_VERSION *= *//p')"
    fact accounting "$(printf '%s\n' "$said" | sed -n 's/^AccountingStorageType *= *//p')"
    limited sinfo --noheader --format='%P|%a|%l|%D|%G|%c|%m|%f' 2> /dev/null |
        while IFS= read -r line; do fact partition "$line"; done
    if said=$(request | limited sbatch --test-only 2>&1)
    then fact slurm-test "$said"; else fact slurm-refusal "$said"; fi
    limited sacctmgr --noheader --parsable2 show associations where user="$(id -un)" \
        format=Account,QOS 2> /dev/null | while IFS= read -r line; do fact account "$line"; done
else fact slurm-trouble "$said"; fi
( flock --nonblock 9 ) 9> "$probe" && fact locks; rm -f "$probe"
