# A site of Django's with some of its own applications, and the tables that are there: manage.py COMMAND|read|write
import os
import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line

HOST = "192.0.2.10"
LOGIN = {"NAME": os.environ.get("DATABASE", "shop"), "USER": "app", "PASSWORD": "hunter2-of-the-shop", "HOST": HOST}
APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **LOGIN}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=APPS,
    USE_TZ=True,
)
django.setup()

from django.db import connection, models, transaction


class Person(models.Model):
    name = models.TextField()

    class Meta:
        app_label = "shop"
        db_table = "people"
        managed = False


class Order(models.Model):
    person = models.ForeignKey(Person, models.CASCADE, db_column="person")
    total = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        app_label = "shop"
        db_table = "orders"
        managed = False


def read():
    print(Person.objects.get(pk=7).name, Person.objects.filter(name__icontains="SON 2").count())
    for order in Order.objects.select_related("person").order_by("-total")[:2]:
        print(order.total, order.person.name)
    print(Order.objects.filter(total__gt=70).values("person__name").annotate(all=models.Sum("total")).order_by("all"))
    orders = Order.objects.filter(person=models.OuterRef("pk"))
    print(Person.objects.filter(models.Exists(orders)).exists(), Order.objects.aggregate(models.Avg("total")))
    # A cursor of the server's, which outlives its transaction.
    print(sum(person.pk for person in Person.objects.iterator(chunk_size=30)))
    with transaction.atomic():
        print(len(Person.objects.raw("select * from people where id < %s", [5])))
        with transaction.atomic():
            print(Person.objects.all().explain(costs=False))
    with connection.cursor() as cursor:
        print(sorted(table.name for table in connection.introspection.get_table_list(cursor)))
        print(connection.introspection.get_constraints(cursor, "orders"))


def write():
    with transaction.atomic():
        person = Person.objects.get(pk=7)
        person.name = "by django"
        person.save()


if sys.argv[1] in ("read", "write"):
    globals()[sys.argv[1]]()
else:
    execute_from_command_line(sys.argv)
