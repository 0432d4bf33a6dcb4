client() {
    sqlite3 db 'pragma journal_mode=wal; create table photos (name text); insert into photos values ("one");'
    # Readers open the log anew where nobody has it, and keep writers out until they have.
    sqlite3 -cmd '.timeout 20000' db 'begin immediate; insert into photos values ("two"); commit;' &
    writer=$!
    sqlite3 -cmd '.timeout 20000' db 'select count(*) >= 1 from photos'
    wait "$writer"
    sqlite3 db 'select name from photos order by name'
}
