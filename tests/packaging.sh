#!/usr/bin/env bash
# Checks the files below docker/ with the tools that exist: promtool, systemd-analyze, kubectl,
# kubernetes-validate (pip), docker compose, jq. Names each tool that is missing. Makes the root
# directory of the image around the program that the tests have built, and starts it there.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cd docker

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lacks() { ! command -v "$1" >/dev/null && printf '%s is missing: %s not checked\n' "$1" "$2"; }

fail() { printf 'tests/packaging.sh: %s\n' "$1" >&2; exit 1; }

# The image: versions of what it is built from, an empty base, and a user without rights.
bases=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' Dockerfile)
[ "$(tail -n 1 <<< "$bases")" = scratch ] || fail "the image has a base"
! grep -vxE 'scratch|[a-z/.-]+:[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*(@sha256:[0-9a-f]{64})?' <<< "$bases" \
    || fail "the Dockerfile names an image without its version"
sed '1,/^FROM scratch$/d' Dockerfile > "$work/image"
grep -qxE 'USER [1-9][0-9]*:[1-9][0-9]*' "$work/image" || fail "the image runs as root"
! grep -q '^RUN' "$work/image" || fail "the image has no shell, so no step can run in it"
! grep -E '^HEALTHCHECK|^ENTRYPOINT' "$work/image" | grep -v '\["' || fail "a command of the image needs a shell"
for rule in 'read_only: true' 'cap_drop: ["ALL"]' 'security_opt: ["no-new-privileges:true"]'; do
    sed -n '/^  cachewarp:$/,/^  [a-z]*:$/p' docker-compose.yml | grep -qF "    $rule" \
        || fail "the Compose file does not say $rule"
done

# Its root: at most 30 MB with the program of image and packages, if it is built.
for profile in debug dist; do
    [ -x "$target/$profile/cachewarp" ] || continue
    root=$work/$profile
    ./root.sh "$target/$profile/cachewarp" "$root"
    chroot=(chroot --userspec=10001:10001)
    [ "$(id -u)" = 0 ] || chroot=(unshare --map-root-user chroot)
    [ "$("${chroot[@]}" "$root" /usr/local/bin/cachewarp --version)" = "$("$target/$profile/cachewarp" --version)" ] \
        || fail "the program does not start in the root of the image"
    # The debug build is large; the rest is the same.
    [ "$profile" = dist ] || rm "$root/usr/local/bin/cachewarp"
    kilobytes=$(du --summarize --apparent-size --block-size=1000 "$root" | cut -f 1)
    [ "$kilobytes" -le "$([ "$profile" = dist ] && echo 30000 || echo 8000)" ] \
        || fail "the root of the image has $kilobytes kB"
done

lacks promtool "the alert rules are" || promtool check rules observe/alerts.yml >/dev/null

if ! lacks systemd-analyze "the systemd units are"; then
    # The unit names a program that this machine may not have.
    sed 's|^ExecStart=.*|ExecStart=/bin/true|' systemd/cachewarp.service > "$work/cachewarp.service"
    cp systemd/cachewarp.socket "$work/"
    systemd-analyze verify "$work/cachewarp.service" "$work/cachewarp.socket"
    # Exposure in tenths: at most 2.0 of 10.
    systemd-analyze security --offline=true --threshold=20 "$work/cachewarp.service" >/dev/null
fi

lacks jq "the board is" \
    || jq --exit-status '(.panels | length > 0) and .uid != null' observe/grafana/dashboards/*.json >/dev/null

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
