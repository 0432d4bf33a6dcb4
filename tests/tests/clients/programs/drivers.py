# Reads and writes by a driver of Python's: drivers.py DRIVER read|write
import sys

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


globals()[driver]()
