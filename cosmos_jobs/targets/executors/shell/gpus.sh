if ! has nvidia-smi; then fact gpu-trouble 'nvidia-smi is not installed'
elif said=$(limited nvidia-smi --query-gpu=index,uuid,name,memory.total,memory.used \
    --format=csv,noheader 2>&1)
then printf '%s\n' "$said" | while IFS= read -r line; do fact gpu "$line"; done
    fact gpu-parts "$(limited nvidia-smi -L 2> /dev/null)"
else fact gpu-trouble "$said"; fi
