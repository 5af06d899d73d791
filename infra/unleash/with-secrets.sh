#!/bin/sh
# Runs a program that reads secrets from its environment alone. Each NAME_FILE that lies in
# MOUNTED_SECRETS holds the value of NAME; no setting of the container shows it then.
set -eu
mounted=${MOUNTED_SECRETS:-/run/secrets}
for name in $(env | sed -n "s|^\([A-Z][A-Z_]*\)_FILE=$mounted/.*|\1|p"); do
  value=$(cat "$(printenv "${name}_FILE")")
  export "$name=$value"
done
exec "$@"
