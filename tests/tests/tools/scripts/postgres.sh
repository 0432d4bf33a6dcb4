client() {
    bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/postgres | tail -n 1)")
    "$bin/initdb" -D data -A trust -U agent --no-sync >/dev/null
    "$bin/pg_ctl" -s -w -D data -l log -o "-k $HOME -c listen_addresses= -c fsync=off" start
    "$bin/psql" -h "$HOME" -U agent -At postgres -c 'create table photos (name text)' -c "insert into photos values ('one')" \
        -c 'select name from photos'
    "$bin/pg_ctl" -s -w -D data -m immediate stop
}
