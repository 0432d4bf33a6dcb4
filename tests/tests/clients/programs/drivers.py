# Reads and writes by a driver of Python's: drivers.py DRIVER read|write|copy
import asyncio
import io
import sys
from decimal import Decimal

HOST = "192.0.2.10"
LOGIN = dict(host=HOST, user="app", dbname="shop", password="hunter2-of-the-shop")
driver, what = sys.argv[1:3]


def by_dbapi(connect):
    connection = connect(**LOGIN)
    cursor = connection.cursor()
    cursor.execute("select name from people where id = %s", (7,))
    print(cursor.fetchall())
    cursor.execute("select count(*) from people")
    print(cursor.fetchone())
    connection.commit()
    if what == "write":
        cursor.execute("update people set name = %s where id = %s", ("by " + driver, 7))
        print(cursor.rowcount)
        connection.commit()
    connection.close()


def psycopg():
    import psycopg

    by_dbapi(psycopg.connect)
    with psycopg.connect(**LOGIN, autocommit=True) as connection:
        with connection.pipeline():
            first = connection.execute("select 1")
            second = connection.execute("select %s::int + 1", (1,))
        print(first.fetchone(), second.fetchone())
        with connection.cursor("named") as cursor:
            pass
        with connection.transaction(), connection.cursor("named") as cursor:
            cursor.execute("select id from people order by id")
            print(cursor.fetchmany(3))
        with connection.cursor().copy("copy people to stdout") as copy:
            print(sum(1 for _ in copy))
        if what == "copy":
            with connection.cursor().copy("copy people (id, name) from stdin") as copy:
                copy.write_row((401, "copied"))


def psycopg2():
    import psycopg2

    by_dbapi(psycopg2.connect)


def sqlalchemy():
    import sqlalchemy
    from sqlalchemy.orm import declarative_base, Session

    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://app:hunter2-of-the-shop@{HOST}/shop")
    Base = declarative_base()

    class Person(Base):
        __tablename__ = "people"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
        name = sqlalchemy.Column(sqlalchemy.Text)

    inspector = sqlalchemy.inspect(engine)
    print(sorted(inspector.get_table_names()), [c["name"] for c in inspector.get_columns("people")])
    print(inspector.get_foreign_keys("orders"), inspector.get_indexes("orders"), inspector.get_view_names())
    with Session(engine) as session:
        print([person.name for person in session.query(Person).order_by(Person.id).limit(2)])
        if what == "write":
            session.get(Person, 7).name = "by sqlalchemy"
            session.commit()


def pg8000():
    import pg8000

    by_dbapi(lambda dbname, **login: pg8000.connect(database=dbname, **login))
    connection = pg8000.connect(host=HOST, user="app", database="shop", password=LOGIN["password"])
    cursor = connection.cursor()
    for number in (7, 8):
        cursor.execute("select id, name, now() > '2020-01-01' from people where id > %s order by id limit 2", (number,))
        print(list(cursor.fetchall()))
    cursor.execute("select total, array[person, 1] from orders where total = %s", (Decimal("10.5"),))
    print(list(cursor.fetchall()))
    rows = io.BytesIO()
    cursor.execute("copy people to stdout", stream=rows)
    print(len(rows.getvalue().splitlines()))
    connection.rollback()


def asyncpg():
    asyncio.run(by_asyncpg())


async def by_asyncpg():
    import asyncpg

    connection = await asyncpg.connect(host=HOST, user="app", database="shop", password=LOGIN["password"])
    print(await connection.fetch("select name from people where id = $1", 7))
    named = await connection.prepare("select count(*) from people where id > $1")
    print(await named.fetchval(1), await named.fetchval(50), named.get_parameters())
    print((await named.explain(50))[0]["Plan"]["Node Type"])
    # As sqlx asks about a statement that it has prepared.
    planned = f"explain (verbose, format json) execute {named.get_name()}(null)"
    print("Aggregate" in await connection.fetchval(planned))
    # The driver asks the server about types that it does not know.
    print(await connection.fetchval("select array[people] from people where id = 1"))
    # Newer releases turn the compiler off before, and on again behind it.
    jit = await connection.fetchrow("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new")
    print(jit, await connection.fetchval("SELECT set_config('jit', $1, false)", jit["cur"]))
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = [row["id"] async for row in connection.cursor("select id from people order by id", prefetch=30)]
        print(len(rows))
        async with connection.transaction():
            cursor = await connection.cursor("select id from people order by id")
            await cursor.forward(5)
            print(await cursor.fetch(2))
    rows = io.BytesIO()
    print(await connection.copy_from_table("people", output=rows, format="binary"), len(rows.getvalue()))
    print(await connection.copy_from_query("select name from people where id = $1", 3, output=rows))
    if what == "write":
        async with connection.transaction():
            print(await connection.execute("update people set name = $1 where id = $2", "by asyncpg", 7))
    if what == "copy":
        rows = [(301, "copied"), (302, "copied")]
        print(await connection.copy_records_to_table("people", records=rows, columns=["id", "name"]))
    await connection.close()
    async with asyncpg.create_pool(**connections(min_size=1, max_size=2)) as pool:
        for _ in range(2):
            print(await pool.fetchval("select count(*) from people"))


def connections(**more):
    return dict(host=HOST, user="app", database="shop", password=LOGIN["password"], **more)


globals()[driver]()
