#!/bin/sh
# Makes the root directory of the image: the program, the libraries that it loads, the certificate
# authorities, and a user.
#
#   docker/root.sh target/dist/cachewarp /root-of-image
#
# The Dockerfile runs it, and tests/packaging.sh, which measures the directory and starts the
# program in it. Needs a system with glibc, such as the one that built the program.
set -eu
program=$1 root=$2

mkdir -p "$root/usr/local/bin" "$root/etc/cachewarp" "$root/etc/ssl/certs"
cp "$program" "$root/usr/local/bin/cachewarp"
# `ldd` prints `name => path (address)`, and `path (address)` for the loader.
for library in $(ldd "$program" | sed -n 's|^[^/]*\(/[^ ]*\) (.*|\1|p'); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'cachewarp:x:10001:10001::/:/nonexistent\n' > "$root/etc/passwd"
printf 'cachewarp:x:10001:\n' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
