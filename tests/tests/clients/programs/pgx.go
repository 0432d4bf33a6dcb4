// Reads and writes by pgx: pgx read|write|copy
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v4"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(rows pgx.Rows, err error) {
	must(err)
	for rows.Next() {
		values, err := rows.Values()
		must(err)
		fmt.Println(values...)
	}
	must(rows.Err())
}

func read(client *pgx.Conn) {
	// Once the server has described a statement, the driver only names it.
	for _, id := range []int{7, 8} {
		show(client.Query(ctx, "select name, id > 7 from people where id = $1", id))
	}
	show(client.Query(ctx, "select name from people where id = $1", pgx.QuerySimpleProtocol(true), 7))
	_, err := client.Prepare(ctx, "named", "select count(*) from people where id > $1")
	must(err)
	show(client.Query(ctx, "named", 50))
	batch := &pgx.Batch{}
	batch.Queue("select 1")
	batch.Queue("named", 90)
	results := client.SendBatch(ctx, batch)
	show(results.Query())
	show(results.Query())
	must(results.Close())
	only := pgx.TxOptions{AccessMode: pgx.ReadOnly, IsoLevel: pgx.RepeatableRead}
	must(client.BeginTxFunc(ctx, only, func(within pgx.Tx) error {
		_, err := within.Exec(ctx, "declare rows cursor for select id from people order by id")
		must(err)
		show(within.Query(ctx, "fetch 3 from rows"))
		// A savepoint.
		return within.BeginFunc(ctx, func(inner pgx.Tx) error {
			show(inner.Query(ctx, "select column_name from information_schema.columns where table_name = 'orders' order by 1"))
			return nil
		})
	}))
	var rows bytes.Buffer
	done, err := client.PgConn().CopyTo(ctx, &rows, "copy people to stdout (format binary)")
	must(err)
	fmt.Println(done, rows.Len())
}

func write(client *pgx.Conn) {
	must(client.BeginFunc(ctx, func(within pgx.Tx) error {
		done, err := within.Exec(ctx, "update people set name = $1 where id = $2", "by pgx", 7)
		fmt.Println(done)
		return err
	}))
}

func copies(client *pgx.Conn) {
	rows := [][]interface{}{{201, "copied"}, {202, "copied"}}
	done, err := client.CopyFrom(ctx, pgx.Identifier{"people"}, []string{"id", "name"}, pgx.CopyFromRows(rows))
	fmt.Println(done)
	must(err)
}

func main() {
	client, err := pgx.Connect(ctx, "postgres://app:hunter2-of-the-shop@192.0.2.10/shop?sslmode=disable")
	must(err)
	map[string]func(*pgx.Conn){"read": read, "write": write, "copy": copies}[os.Args[1]](client)
	must(client.Close(ctx))
}
