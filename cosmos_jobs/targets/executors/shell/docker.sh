if ! has docker; then fact docker-trouble 'docker is not installed'
elif said=$(limited docker version --format '{{.Server.Version}}' 2>&1); then fact docker "$said"
else fact docker-trouble "$said"; fi
