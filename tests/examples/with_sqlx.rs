//! `DATABASE_URL=… with_sqlx read|write`: what a program does that uses sqlx.

use std::env;

use anyhow::{Context as _, Result, bail};
use sqlx::postgres::{PgPoolOptions, Postgres};
use sqlx::{Column as _, Executor as _, Pool, Row as _};
use tokio::runtime::Builder;
use tokio_stream::StreamExt as _;

fn main() -> Result<()> {
    let what = env::args().nth(1).context("read or write?")?;
    let url = env::var("DATABASE_URL").context("DATABASE_URL")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect(&url)
            .await?;
        match what.as_str() {
            "read" => read(&pool).await?,
            "write" => write(&pool).await?,
            other => bail!("{other}?"),
        }
        pool.close().await;
        Ok(())
    })
}

async fn read(pool: &Pool<Postgres>) -> Result<()> {
    // Once the server has described a statement, the driver only names it.
    for id in [7, 8] {
        let person: (String,) = sqlx::query_as("select name from people where id = $1")
            .bind(id)
            .fetch_one(pool)
            .await?;
        println!("{}", person.0);
    }
    // Of a type that the driver does not know it asks the server.
    let whole = sqlx::query("select people, id from people where id = 7")
        .fetch_one(pool)
        .await?;
    println!(
        "{} {}",
        whole.column(0).type_info(),
        whole.get::<i32, _>("id")
    );
    let mut within = pool.begin().await?;
    within.execute("set transaction read only").await?;
    let count: i64 = sqlx::query_scalar("select count(*) from people where id > $1")
        .bind(50)
        .fetch_one(&mut *within)
        .await?;
    println!("{count}");
    within.commit().await?;
    let mut connection = pool.acquire().await?;
    let mut rows = connection.copy_out_raw("copy people to stdout").await?;
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        bytes += row?.len();
    }
    println!("{bytes}");
    Ok(())
}

async fn write(pool: &Pool<Postgres>) -> Result<()> {
    let mut within = pool.begin().await?;
    let done = sqlx::query("update people set name = $1 where id = $2")
        .bind("by sqlx")
        .bind(7)
        .execute(&mut *within)
        .await?;
    println!("{}", done.rows_affected());
    within.commit().await?;
    Ok(())
}
