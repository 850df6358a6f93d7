#!/usr/bin/env bash
# Checks the files below docker/ with the tools that exist: promtool, systemd-analyze, kubectl,
# kubernetes-validate (pip), docker compose. Names each tool that is missing.
set -euo pipefail
cd "$(dirname "$0")/../docker"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lacks() { ! command -v "$1" >/dev/null && printf '%s is missing: %s not checked\n' "$1" "$2"; }

lacks promtool "the alert rules are" || promtool check rules observe/alerts.yml >/dev/null

if ! lacks systemd-analyze "the systemd units are"; then
    # The unit names a program that this machine may not have.
    sed 's|^ExecStart=.*|ExecStart=/bin/true|' systemd/cachewarp.service > "$work/cachewarp.service"
    cp systemd/cachewarp.socket "$work/"
    systemd-analyze verify "$work/cachewarp.service" "$work/cachewarp.socket"
    # Exposure in tenths: at most 2.0 of 10.
    systemd-analyze security --offline=true --threshold=20 "$work/cachewarp.service" >/dev/null
fi

if ! lacks kubectl "the Kubernetes manifests are"; then
    kubectl kustomize kubernetes > "$work/all.yaml"
    # The schemas of Kubernetes do not have the resource of the Prometheus Operator.
    awk 'BEGIN { RS = "---\n"; ORS = "---\n" } !/kind: ServiceMonitor/' "$work/all.yaml" > "$work/core.yaml"
    lacks kubernetes-validate "their schemas are" \
        || kubernetes-validate --strict --quiet -k 1.30 "$work/core.yaml"
fi

if docker compose version >/dev/null 2>&1; then
    docker compose -f docker-compose.yml --profile observe config --quiet
else
    echo "docker compose is missing: the Compose file is not checked"
fi
