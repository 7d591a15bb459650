#!/bin/sh
# Installs RabbitMQ for test_bindings_rabbitmq.py. Debian; root or sudo. Without it those tests fail and say so.
set -eu
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if [ -e /usr/lib/rabbitmq/bin/rabbitmq-server ]; then exit; fi
as_root apt-get update
# It is started by hand, on free ports: the package's own service would only be in the way.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    trap 'as_root rm -f "$policy"' EXIT
fi
as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends rabbitmq-server
