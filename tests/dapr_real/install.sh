#!/bin/sh
# Installs the servers that the tests of this folder start by themselves, Redis and Mosquitto, and curl. Debian; root or
# sudo.
set -eu
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if command -v redis-server && command -v mosquitto && command -v mosquitto_pub && command -v curl; then exit; fi
as_root apt-get update
# They are started by hand, on free ports: the package's own services would only be in the way.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    trap 'as_root rm -f "$policy"' EXIT
fi
as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    redis-server mosquitto mosquitto-clients curl
