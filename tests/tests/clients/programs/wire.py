# Speaks PostgreSQL's protocol by hand, and says what came of it: codes of errors, first columns of rows, or "closed".
import os
import socket
import struct
import sys
import time

HOST, PORT = "192.0.2.10", 5432


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def text(*words):
    return b"".join(word.encode() + b"\0" for word in words)


def startup(version=196608, **settings):
    pairs = {"user": "app", "database": "shop", **settings}
    body = struct.pack("!i", version) + b"".join(text(k, v) for k, v in pairs.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


class Wire:
    def __init__(self, login=True, **settings):
        self.socket = socket.create_connection((HOST, PORT), timeout=60)
        self.buffer = b""
        self.key = None
        if login:
            self.send(startup(**settings))
            self.said = self.until_ready()

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def read(self, length):
        while len(self.buffer) < length:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def next(self):
        kind, length = struct.unpack("!ci", self.read(5))
        return kind, self.read(length - 4)

    def until_ready(self, times=1, until=b"Z"):
        said = []
        while times:
            kind, body = self.next()
            if kind == b"E":
                fields = dict((f[:1], f[1:]) for f in body.split(b"\0") if f)
                said.append(fields[b"C"].decode())
                if fields[b"S"] == b"FATAL":
                    return said
            if kind == b"D":
                length = struct.unpack("!i", body[2:6])[0]
                said.append(body[6:6 + length].decode())
            if kind == b"K":
                self.key = body
            if kind == until:
                times -= 1
        return said

    def query(self, *queries):
        self.send(*(message(b"Q", text(q)) for q in queries))
        return self.until_ready(len(queries))


def parse(name, query):
    return message(b"P", text(name, query) + b"\0\0")


def bind(portal, name):
    return message(b"B", text(portal, name) + b"\0\0\0\0\0\0")


def execute(portal, rows=0):
    return message(b"E", text(portal) + struct.pack("!i", rows))


def close(kind, name):
    return message(b"C", kind + text(name))


def does(query, name="", portal=""):
    return parse(name, query) + bind(portal, name) + execute(portal)


SYNC, FLUSH = message(b"S"), message(b"H")
GONE = "delete from orders"


def garbage():
    wire = Wire(login=False)
    wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return wire.until_ready()


def long_startup():
    wire = Wire(login=False)
    wire.send(struct.pack("!ii", 20000, 196608) + b"x" * 19992)
    return wire.until_ready()


def short_startup():
    wire = Wire(login=False)
    wire.send(struct.pack("!ii", 4, 196608))
    return wire.until_ready()


def negative_length():
    wire = Wire()
    wire.send(b"Q" + struct.pack("!i", -5) + text(GONE))
    return wire.until_ready()


def before_login():
    wire = Wire(login=False)
    wire.send(startup(), message(b"Q", text(GONE)))
    # A server that trusts everybody may have let it in by then, and sees a query that it has to be asked for.
    said = wire.until_ready()
    return said or wire.until_ready()


def unlocked_by_startup():
    wire = Wire(default_transaction_read_only="off")
    return wire.said or wire.query(GONE)


def unlocked_by_options():
    wire = Wire(options="-c default_transaction_read_only=off")
    return wire.said or wire.query(GONE)


def sjis_by_startup():
    wire = Wire(client_encoding="SJIS")
    return wire.said or wire.query(GONE)


def replication():
    wire = Wire(replication="database")
    return wire.said or wire.query("IDENTIFY_SYSTEM")


def call():
    wire = Wire()
    oid = wire.query("select 'lo_create'::regproc::oid")[0]
    wire.send(message(b"F", struct.pack("!ihhhiih", int(oid), 1, 0, 1, 1, 0x30, 0)[:-2] + b"\0\0"))
    return wire.until_ready()


def number(value, size=4):
    return value.to_bytes(size, "big")


def called(function, *arguments, formats=(1,)):
    # By the function's number, as libpq does.
    counts = struct.pack("!ih", function, len(formats)) + b"".join(number(f, 2) for f in formats)
    each = b"".join(number(len(argument)) + argument for argument in arguments)
    return message(b"F", counts + number(len(arguments), 2) + each + number(1, 2))


LO_OPEN, LO_CLOSE, LOREAD, LOWRITE, LO_LSEEK, LO_CREAT, LO_TELL, LO_UNLINK = 952, 953, 954, 955, 956, 957, 958, 964
LO_LSEEK64, LO_TELL64, LO_TRUNCATE = 3170, 3171, 1004
INV_WRITE, INV_READ = number(0x20000), number(0x40000)


class Large:
    """The large object of the test."""

    def __init__(self):
        self.wire = Wire()
        self.wire.query("begin")
        self.object = number(int(self.wire.query("select oid from pg_largeobject_metadata")[0]))

    def call(self, *call, **more):
        self.wire.send(called(*call, **more))
        said = None
        while True:
            kind, body = self.wire.next()
            if kind == b"V":
                said = body[4:]
            if kind == b"E":
                said = dict((f[:1], f[1:]) for f in body.split(b"\0") if f)[b"C"]
            if kind == b"Z":
                return said

    def open(self, mode):
        return self.call(LO_OPEN, self.object, mode)


def reads_large_object():
    large = Large()
    file = large.open(INV_READ)
    said = [large.call(LOREAD, file, number(4)).decode()]
    tells = [large.call(LO_TELL, file), large.call(LO_LSEEK, file, number(1), number(0)), large.call(LO_TELL64, file)]
    tells.append(large.call(LO_LSEEK64, file, number(5, 8), number(0)))
    said += [str(int.from_bytes(tell, "big")) for tell in tells]
    said += [large.call(LOREAD, file, number(100)).decode(), str(int.from_bytes(large.call(LO_CLOSE, file), "big"))]
    return said + large.wire.query("commit", "select 2")


def calls():
    # Each in a transaction of its own.
    said = []
    for call in [
        lambda large: large.open(INV_WRITE),
        lambda large: large.open(number(0x60000)),
        lambda large: large.open(number(0)),
        lambda large: large.call(LO_OPEN, large.object, b"262144", formats=(1, 0)),
        lambda large: large.call(LO_CREAT, INV_READ),
        lambda large: large.call(LO_UNLINK, large.object),
        lambda large: large.call(LOWRITE, large.open(INV_READ), b"gone"),
        lambda large: large.call(LO_TRUNCATE, large.open(INV_READ), number(0)),
        lambda large: large.call(LO_OPEN, large.object, INV_READ, INV_READ),
        lambda large: large.call(1598),
    ]:
        large = Large()
        said.append(call(large).decode(errors="replace"))
        large.wire.query("commit")
    return said


def writes_large_object():
    large = Large()
    large.call(LOWRITE, large.open(INV_WRITE), b"gone")
    return large.wire.query("commit")


def in_one_batch():
    # Each by itself would be asked about, or held to reading.
    wire = Wire()
    wire.send(*(does(query) for query in sys.argv[2:]), SYNC)
    return wire.until_ready() or ["done"]


def reads_behind_a_write():
    large = Large()
    said = large.wire.query("commit", "delete from orders where id = 9", "begin")
    if said:
        return said
    said = [large.call(LOREAD, large.open(INV_READ), number(4)).decode(), large.open(INV_WRITE).decode()]
    return said + large.wire.query("rollback", "show transaction_read_only")


def huge_query():
    wire = Wire()
    return wire.query("select 1 --" + "x" * (2 << 20))


def two_strings():
    wire = Wire()
    wire.send(message(b"Q", text("select 1", GONE)))
    return wire.until_ready()


def no_end():
    wire = Wire()
    wire.send(message(b"Q", GONE.encode()))
    return wire.until_ready()


def unknown_message():
    wire = Wire()
    wire.send(message(b"z", text(GONE)))
    return wire.until_ready()


def lying_bind():
    wire = Wire()
    wire.send(parse("", "select 1"), message(b"B", text("", "") + struct.pack("!hhi", 0, 1, 1000)), SYNC)
    return wire.until_ready()


def renamed():
    # The second Parse fails at a server: the name stays what it was.
    wire = Wire()
    wire.send(parse("a", GONE), SYNC)
    wire.until_ready()
    wire.send(parse("a", "select 1"), SYNC)
    wire.until_ready()
    wire.send(bind("", "a"), execute(""), SYNC)
    return wire.until_ready()


def renamed_after_failure():
    # The Close is read past, as something has failed before it.
    wire = Wire()
    wire.send(parse("a", GONE), SYNC, bind("", "none"), close(b"S", "a"), SYNC, parse("a", "select 1"), SYNC)
    wire.until_ready(3)
    wire.send(bind("", "a"), execute(""), SYNC)
    return wire.until_ready()


def renamed_in_flight():
    wire = Wire()
    wire.send(parse("a", GONE), SYNC, parse("a", "select 1"), SYNC, bind("", "a"), execute(""), SYNC)
    return [one for one in wire.until_ready(3) if one != "42P05"]


def executed_later():
    wire = Wire()
    wire.send(parse("a", GONE), SYNC)
    wire.until_ready()
    wire.send(bind("p", "a"), execute("p"), SYNC)
    return wire.until_ready()


def executed_by_sql():
    wire = Wire()
    wire.send(parse("a", GONE), SYNC)
    wire.until_ready()
    return wire.query("execute a")


def in_a_pipeline():
    wire = Wire()
    wire.send(does("select 1 where false"), does(GONE), does("select 3"), SYNC)
    return wire.until_ready()


def after_flush():
    wire = Wire()
    wire.send(parse("a", GONE), message(b"D", b"S" + text("a")), FLUSH)
    wire.until_ready(until=b"n")
    wire.send(bind("", "a"), execute(""), SYNC)
    return wire.until_ready()


def split():
    wire = Wire()
    for byte in message(b"Q", text(GONE)):
        wire.send(bytes([byte]))
    return wire.until_ready()


def invalid_text():
    wire = Wire()
    wire.send(message(b"Q", b"select '\xff'\0"))
    return wire.until_ready()


def copied_out_of_turn():
    wire = Wire()
    wire.send(message(b"d", b"1\tx\n"), message(b"c"), message(b"Q", text("select 1")))
    return wire.until_ready()


def reads_in_a_pipeline():
    wire = Wire()
    wire.send(does("select 1"), does("select 2"), SYNC, does("select 3"), SYNC)
    return wire.until_ready(2)


def goes_on_after_refusal():
    wire = Wire()
    wire.send(does(GONE), does("select 1"), SYNC, does("select 2"), SYNC)
    return wire.until_ready(2)


def suspended():
    wire = Wire()
    wire.send(parse("", "select * from generate_series(1, 2)"), bind("p", ""), execute("p", 1), FLUSH)
    first = wire.until_ready(until=b"s")
    wire.send(execute("p", 0), SYNC)
    return first + wire.until_ready()


def cancelled():
    wire = Wire()
    wire.send(message(b"Q", text("select pg_sleep(20)")))
    wire.socket.settimeout(1)
    for _ in range(15):
        # One that comes before the query has begun cancels nothing.
        other = Wire(login=False)
        other.send(struct.pack("!ii", len(wire.key) + 8, 80877102) + wire.key)
        try:
            return wire.until_ready()
        except TimeoutError:
            continue
    return ["slept"]


def many_names():
    wire = Wire()
    said = []
    for at in range(6000):
        wire.send(does("select 1 where false", name=f"name{at}", portal=f"name{at}"))
        if at % 500 == 499:
            wire.send(SYNC)
            said += wire.until_ready()
            if said:
                return said[:1]
    return said


BIG = parse("", "select 1 --" + "x" * (2 << 20))


def own_portal():
    # A client may give its portal any name.
    wire = Wire()
    said = []
    for query in ["begin read write", GONE]:
        wire.send(close(b"P", "refused by guard"), parse("", query), bind("refused by guard", ""), BIG, SYNC)
        said += wire.until_ready()
    return said + wire.query("commit")


def long_names():
    # To a server they are the same.
    wire = Wire()
    wire.send(parse("x" * 63 + "1", "select 1"), SYNC, parse("x" * 63 + "2", GONE), SYNC)
    return wire.until_ready(2)


def other_names():
    wire = Wire(client_encoding="LATIN1")
    wire.send(message(b"P", b"\xe4" * 33 + b"\0select 1\0\0\0"), SYNC)
    return wire.until_ready()


def executed_before_prepared():
    wire = Wire()
    wire.send(parse("rw", "set session characteristics as transaction read write"), parse("gone", GONE), SYNC)
    wire.until_ready()
    return wire.query(*(f"execute {name}; deallocate {name}; prepare {name} as select 1" for name in ["rw", "gone"]))


def nested():
    wire = Wire()
    names = {"rw": "set session characteristics as transaction read write", "gone": GONE}
    for name, query in names.items():
        wire.send(parse(name, query), parse("x" + name, "execute " + name), SYNC)
        wire.until_ready()
    return wire.query("execute xrw; commit; execute xgone") + wire.query("execute xrw", "execute xgone")


def fetched():
    wire = Wire()
    bound = lambda query: parse("", query) + bind("p", "") + SYNC
    query = lambda text_: message(b"Q", text(text_))
    wire.send(
        query("begin"), bound("select set_config('default_transaction_read_only', 'off', false)"), query("fetch all from p"),
        query("commit; begin"), bound(GONE + " returning 1"), query("move all from p; commit"),
    )
    return wire.until_ready(6)


def query_in_a_batch():
    wire = Wire()
    wire.send(does("select nosuch"), FLUSH, message(b"Q", text("select 1")), SYNC)
    return wire.until_ready(2)


def query_behind_what_is_prepared():
    # What follows the error is read past, as by a server.
    wire = Wire()
    wire.send(parse("", "select nosuch"), FLUSH, message(b"Q", text("select 1")), SYNC)
    return wire.until_ready() + wire.query("select 2")


def call_in_a_batch():
    wire = Wire()
    wire.send(parse("", "select nosuch"), message(b"F", b"\0" * 10), SYNC)
    return wire.until_ready(2)


def big_sync():
    wire = Wire()
    wire.send(message(b"S", b"x" * (2 << 20)))
    return wire.until_ready()


def two_users():
    wire = Wire(login=False)
    body = struct.pack("!i", 196608) + text("user", "test", "user", "app", "database", "shop") + b"\0"
    wire.send(struct.pack("!i", len(body) + 4) + body)
    return wire.until_ready()


def write_behind_flush():
    # Whether it may write has to be settled before its transaction begins.
    wire = Wire()
    wire.send(does("select 1"), FLUSH, does(GONE), SYNC)
    return wire.until_ready()


def many_syncs():
    wire = Wire()
    wire.send(*[SYNC] * 20000)
    return wire.until_ready(20000) or ["ready"]


def prepared_and_executed():
    # As asyncpg does.
    wire = Wire()
    wire.send(parse("a", "select 7"), message(b"D", b"S" + text("a")), FLUSH)
    wire.until_ready(until=b"T")
    wire.send(bind("", "a"), execute(""), SYNC)
    return wire.until_ready()


def long_error():
    wire = Wire()
    return wire.query("select ('x' || repeat('y', 2000000))::int") + wire.query("select 2")


def long_execute():
    number = sys.argv[2]
    wire = Wire()
    wire.send(parse("w", "delete from people where name <> $1 and id = $2"), SYNC)
    wire.until_ready()
    wire.send(does(f"execute w('{'x' * 300}', {number})"), SYNC)
    return wire.until_ready()


def dates():
    style = sys.argv[2]
    wire = Wire()
    wire.query(f"set datestyle = 'ISO, {style}'")
    wire.send(parse("w", "delete from days where day = '01/02/2026'"), SYNC)
    wire.until_ready()
    wire.query("set datestyle = 'ISO, MDY'")
    wire.send(bind("", "w"), execute(""), SYNC)
    return wire.until_ready()


def fetches_a_setting():
    number = sys.argv[2]
    wire = Wire()
    wire.query("begin", "declare c cursor for select set_config('search_path', 'archive', false)")
    wire.send(does("fetch c"), does(f"delete from people where id = {number}"), SYNC)
    return wire.until_ready()[-1:]


def executes_a_setting():
    number = sys.argv[2]
    wire = Wire()
    wire.send(parse("s", "set search_path = archive"), SYNC)
    wire.until_ready()
    return wire.query(f"execute s; delete from people where id = {number}")


def no_space():
    # To a server this is a name.
    wire = Wire()
    return wire.query("insert into archive.people select * from people where\u00a0active")


def behind_an_error():
    wire = Wire()
    wire.send(does("select 1/0"), FLUSH)
    said = wire.until_ready(until=b"E")
    wire.send(parse("x", "select 1"), FLUSH, does("execute x"), SYNC)
    return said + wire.until_ready() + wire.query("select 2")


def behind_an_early_error():
    wire = Wire()
    wire.send(parse("a", "select 1/0"), FLUSH)
    said = wire.until_ready(until=b"1")
    wire.send(bind("", "a"), execute(""), FLUSH)
    said += wire.until_ready(until=b"E")
    wire.send(parse("b", "select 1"), FLUSH, SYNC)
    return said + wire.until_ready() + wire.query("select 2")


def long_pipeline():
    wire = Wire()
    wire.send(parse("a", "select 1/0"), *[bind("", "a") + execute("")] * 5000, SYNC)
    return wire.until_ready() + wire.query("select 2")


def bound_where_it_may_write():
    number = sys.argv[2]
    wire = Wire()
    said = wire.query("begin", f"update people set name = 'x' where id = {number}")
    wire.send(parse("", "select * from people where id = stably()"), bind("", ""), SYNC)
    said += wire.until_ready()
    return said + wire.query("commit")


def explained_where_it_may_write():
    number = sys.argv[2]
    wire = Wire()
    said = wire.query("begin", f"update people set name = 'y' where id = {number}")
    wire.send(parse("e", "select * from people where id = stably()"), SYNC)
    said += wire.until_ready()
    return said + [one for one in wire.query("explain execute e", "commit") if one == "25006"]


def renamed_to_a_setting():
    wire = Wire()
    wire.send(parse("s", "select 1"), SYNC)
    wire.until_ready()
    wire.query("deallocate s", "prepare s as select set_config('search_path', 'archive', false)")
    wire.send(bind("", "s"), execute(""), does("delete from people where id = " + sys.argv[2]), SYNC)
    return wire.until_ready()[-1:]


def bound_twice_where_it_may_write():
    wire = Wire()
    said = wire.query("begin", "update people set name = 'z' where id = " + sys.argv[2])
    wire.send(parse("a", "select * from people where id = stably()"), bind("", "a"), does("select 1", name="r"), SYNC)
    said += wire.until_ready()
    return said + wire.query("commit")


def begun_in_the_batch_that_binds():
    wire = Wire()
    wire.send(does("begin"), does("update people set name = 'w' where id = " + sys.argv[2], name="u", portal="u"),
              parse("a", "select * from people where id = stably()"), bind("", "a"), SYNC)
    said = wire.until_ready()
    return said + wire.query("commit")


def head_first():
    wire = Wire()
    query = message(b"Q", text("delete from people where id = " + sys.argv[2]))
    for name, part in ("head", query[:5]), ("body", query[5:]):
        open(f"{name}{sys.argv[2]}", "w").close()
        while not os.path.exists(f"{name}{sys.argv[2]}.go"):
            time.sleep(0.02)
        wire.send(part)
    return wire.until_ready()


def shapes():
    # Texts that differ in numbers alone.
    wire = Wire()
    said = wire.query(*(f"select id from people where id in ({n}, 50) limit 1" for n in (3, 4)))
    said += wire.query(*(f"select setval('orders_id_seq', {n})" for n in (3, 4)))
    return said + wire.query(*(f"select id from people where id = {n} for update" for n in (5, 6)))


def dates_read_anew():
    # A plan that holds no more is made anew from the text, when the name is bound.
    wire = Wire()
    wire.query("set datestyle = 'ISO, MDY'")
    wire.send(parse("w", "delete from days where day = '01/02/2026'"), SYNC)
    wire.until_ready()
    wire.query("discard plans", "set datestyle = 'ISO, DMY'")
    wire.send(bind("", "w"), SYNC)
    wire.until_ready()
    wire.query("set datestyle = 'ISO, MDY'")
    wire.send(bind("", "w"), execute(""), SYNC)
    return wire.until_ready()


def prepared_by_sql():
    wire = Wire()
    number = sys.argv[2]
    said = wire.query(f"prepare w as delete from people where id = {number}")
    return said + wire.query("execute w")


def two_at_once():
    wire = Wire()
    wire.send(parse("harmless", "update people set name = 'x' where id = 1"), parse("gone", GONE), SYNC)
    wire.until_ready()
    return wire.query("execute harmless; execute gone")


def bound():
    # Prepared in one batch, bound and executed in the next.
    wire = Wire()
    wire.query("begin")
    number = sys.argv[2].encode()
    values = text("p", "a") + b"\0\0\0\x01" + struct.pack("!i", len(number)) + number + b"\0\0"
    wire.send(parse("a", "delete from orders where id = $1"), SYNC)
    wire.until_ready()
    wire.send(message(b"B", values), execute("p"), SYNC)
    return wire.until_ready() + wire.query("commit")


def bound_at_once():
    values = text("", "") + b"\0\0\0\x01" + struct.pack("!i", 2) + b"50" + b"\0\0"
    update = parse("", "update people set name = 'x' where id > $1")
    wire = Wire()
    wire.send(update, message(b"B", values), execute(""), SYNC)
    return wire.until_ready()


def switched():
    wire = Wire()
    wire.send(does("set session characteristics as transaction read write"), SYNC)
    return wire.until_ready() + wire.query("show default_transaction_read_only")


def copied_in_a_batch():
    wire = Wire()
    wire.query("begin")
    wire.send(does("copy people from stdin"), SYNC, SYNC)
    return wire.until_ready(2)


def copied_beside():
    wire = Wire()
    wire.send(message(b"Q", text("copy people from stdin; select 1")), message(b"c"))
    return wire.until_ready()


def copied():
    wire = Wire()
    rows = [message(b"d", b"200\tcopied\n"), message(b"c")]
    wire.send(message(b"Q", text("copy people from stdin")), *rows)
    return wire.until_ready() + wire.query("select count(*) from people where id = 200")


def bound_earlier():
    # The portal is bound in one batch, and executed in the next, by other settings.
    wire = Wire()
    wire.query("begin", "set search_path = archive")
    wire.send(parse("", "delete from people where id = 9"), bind("p", ""), SYNC)
    wire.until_ready()
    wire.query('set search_path = "$user", public')
    wire.send(execute("p"), SYNC)
    return wire.until_ready()


def table_as_execute():
    wire = Wire()
    wire.send(parse("a", "with gone as (delete from orders returning id) select * from gone"), SYNC)
    return wire.until_ready() + wire.query("create table mine as execute a")


def unnamed():
    # As lib/pq does.
    wire = Wire()
    wire.send(parse("", "update people set name = 'unnamed' where id = 9"), SYNC)
    said = wire.until_ready()
    wire.send(bind("", ""), execute(""), SYNC)
    return said + wire.until_ready()


def current_of():
    wire = Wire()
    wire.query("begin", "declare c cursor for select * from people order by id " + sys.argv[2])
    return wire.query("fetch 1 from c", "delete from people where current of c", "commit")


def past_an_error():
    # A server reads past what follows an error, until the batch ends.
    wire = Wire()
    insert = lambda key: does(f"insert into people values ({key}, 'past')")
    wire.send(insert(901), insert("'x'::text::int"), FLUSH)
    said = wire.until_ready(until=b"E")
    wire.send(insert(903), SYNC)
    return said + wire.until_ready() + wire.query("select count(*) from people where id = 903")


def set_in_its_batch():
    wire = Wire()
    wire.send(does("set search_path = archive"), does("delete from people where id = 9"), SYNC)
    return wire.until_ready()


def many_executes():
    wire = Wire()
    wire.send(parse("a", GONE + " -- " + "x" * 8000), SYNC)
    return wire.until_ready() + wire.query("execute a;" * 6000)


try:
    said = globals()[sys.argv[1]]()
except (EOFError, ConnectionError):
    said = ["closed"]
if said[:1] in (["08P01"],) or said[-1:] == ["08P01"]:
    said = ["closed"]
print(" ".join(said))
