#!/bin/bash
# Makes the databases and logins of the parts that are not ours. Compose runs it before they start,
# each time: the image's own start scripts run on an empty volume only, and would leave an older
# installation as it was. Needs PGHOST, PGUSER and PGPASSWORD of the superuser, UNLEASH_DB_PASSWORD
# and REGISTRY_DB_PASSWORD.
set -euo pipefail
folder=$(dirname "$0")

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

own unleash "$UNLEASH_DB_PASSWORD"
own registry "$REGISTRY_DB_PASSWORD"
