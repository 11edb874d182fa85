//! A database pool: SQLite connections, opened eagerly, checked when they were idle for long, with an
//! open transaction rolled back on return.

use std::path::PathBuf;

use mainspring_pool::{Manager, ResourcePool};
use rusqlite::Connection;

struct Sqlite(PathBuf);

impl Manager for Sqlite {
    type Resource = Connection;
    type Error = rusqlite::Error;

    // SQLite opens within microseconds; a slower driver would await here.
    async fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open(&self.0)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(connection)
    }

    async fn check(&self, connection: &mut Connection) -> Result<(), rusqlite::Error> {
        connection.query_row("select 1", [], |_| Ok(()))
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_autocommit() && connection.execute_batch("rollback").is_err()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let manager = Sqlite(folder.path().join("notes.sqlite"));
    let pool = ResourcePool::builder(manager).for_databases().build()?;
    pool.get()
        .await?
        .execute_batch("create table notes (text)")?;
    let writers = (0..50).map(|note| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let connection = pool.get().await.map_err(|error| error.to_string())?;
            let insert = connection.execute("insert into notes values (?1)", [note]);
            insert.map_err(|error| error.to_string())
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await??;
    }
    let connection = pool.get().await?;
    let notes: i64 = connection.query_row("select count(*) from notes", [], |row| row.get(0))?;
    println!("{notes} notes; {:?}", pool);
    Ok(())
}
