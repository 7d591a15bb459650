#!/bin/sh
# Debian packages that tests/compose/run.py needs: a container engine and what makes images without a registry.
set -eu
packages="curl docker.io docker-compose debootstrap iptables iproute2 mosquitto-clients"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
root=""
[ "$(id -u)" = 0 ] || root=sudo
# run.py starts an engine of its own, in a network of its own: one that the package starts is not used.
$root apt-get update -qq
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $missing
