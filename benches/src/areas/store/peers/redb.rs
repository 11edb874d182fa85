use std::path::Path;

use anyhow::Result;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition, TableError};

use super::{CACHE, Job, Peer};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

struct Redb(Database);

pub(super) fn open(dir: &Path, _: &Job) -> Result<Box<dyn Peer>> {
    let database = Database::builder()
        .set_cache_size(CACHE)
        .create(dir.join("records.redb"))?;
    Ok(Box::new(Redb(database)))
}

impl Redb {
    fn write(&self, pairs: &[(&[u8], &[u8])], durability: Durability) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in pairs {
                table.insert(key, value)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Peer for Redb {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        self.write(pairs, Durability::None)
    }

    fn flush(&self) -> Result<()> {
        self.write(&[], Durability::Immediate)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(&[(key, value)], Durability::Immediate)
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(false),
            table => table?,
        };
        let found = table.get(key)?;
        Ok(found.inspect(|value| see(value.value())).is_some())
    }
}
