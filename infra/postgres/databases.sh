#!/bin/bash
# Makes the databases and logins of the parts that are not ours. Compose runs it before they start,
# each time: the image's own start scripts run on an empty volume only, and would leave an older
# installation as it was. Needs PGHOST and PGUSER of the superuser, and the files that
# POSTGRES_PASSWORD_FILE, UNLEASH_DB_PASSWORD_FILE and REGISTRY_DB_PASSWORD_FILE name.
set -euo pipefail
folder=$(dirname "$0")
PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export PGPASSWORD

# On a busy machine the server may be gone again for a moment after its first sign of health.
for _ in {1..60}; do
  if pg_isready -q; then break; fi
  sleep 1
done

own() {
  local part=$1 password=$2
  if [ -z "$(psql -d postgres -tAc "select 1 from pg_database where datname = '$part'")" ]; then
    psql -q -d postgres -c "create database $part"
  fi
  # A blank or a backslash would end the option.
  password=${password//\\/\\\\}
  PGOPTIONS="-c own.role=$part -c own.password=${password// /\\ }" \
    psql -q -v ON_ERROR_STOP=1 -d "$part" -f "$folder/own-database.sql"
}

own unleash "$(cat "$UNLEASH_DB_PASSWORD_FILE")"
own registry "$(cat "$REGISTRY_DB_PASSWORD_FILE")"
