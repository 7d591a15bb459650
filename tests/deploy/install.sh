#!/bin/sh
# A kustomize for tests/deploy/test_deploy_kustomize.py, where neither it nor kubectl is on the PATH: built with Go, once.
set -eu
folder=${GUESTHOUSE_KUSTOMIZE:-$HOME/.cache/guesthouse/kustomize}
version=v5.7.1
command -v kubectl >/dev/null || command -v kustomize >/dev/null || [ -x "$folder/kustomize" ] && exit 0
go=$(command -v go || echo /usr/local/go/bin/go)
[ -x "$go" ] || { echo "error: Go is needed to build kustomize: install it from go.dev, or kubectl" >&2; exit 1; }
GOBIN=$folder GOTOOLCHAIN=local CGO_ENABLED=0 "$go" install -trimpath "sigs.k8s.io/kustomize/kustomize/v5@$version"
