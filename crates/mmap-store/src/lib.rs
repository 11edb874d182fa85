//! An embedded, crash-safe, log-structured key-value store for sessions: one writer process, any
//! number of reader threads and processes, one directory.
//!
//! ```
//! use mainspring_mmap_store::{Batch, Durability, Options};
//!
//! # fn main() -> mainspring_mmap_store::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! let store = Options::new().create(true).durability(Durability::Always).open(dir)?;
//! store.put(b"session/7/000001", b"{\"role\":\"user\"}")?;
//!
//! let mut batch = Batch::new();
//! batch.put(b"session/7/000002", b"{}").put(b"session/7/head", b"000002");
//! store.write(batch)?; // all or nothing, also across a power cut
//!
//! assert!(store.compare_and_set(b"session/7/head", Some(b"000002"), Some(b"000003"))?);
//! for pair in store.scan_prefix(b"session/7/")?.rev().take(2) {
//!     let (key, value) = pair?;
//!     println!("{} {}", key.escape_ascii(), value.len());
//! }
//! store.close()
//! # }
//! ```
//!
//! # What it guarantees
//!
//! * **Acknowledged is kept.** After [`Durability::Always`] a power cut takes nothing that was
//!   acknowledged; after [`Durability::Interval`] at most what is younger than the interval; after
//!   [`Durability::Os`] a suffix of the newest writes. What is lost is always the newest, and a batch
//!   is there whole or not at all. A crash of the process alone loses nothing in any mode.
//! * **Wrong data is never shown.** Each record, header, footer, manifest and index is checked; a
//!   record that fails is an error for its key, and the rest stays readable. In a closed store
//!   every byte is covered: [`Store::verify`] names file and offset of whatever changed. In a store
//!   whose writer was killed, a change in the very last record cannot be told from a torn write; and
//!   where damage hides the key of a record that no index knew yet, an older value of that key can
//!   show: [`Store::damage`] is not empty then.
//! * **A full disk is an error.** Everything acknowledged stays readable, and writes work again
//!   once there is space. After any other failed write or sync the handle takes no more writes.
//! * **A killed owner never blocks.** The writer's lock belongs to the system.
//!
//! # Reading
//!
//! By default values are read by position, one system call each, into memory of their own: another
//! process that truncates a file causes an error, never a signal. With [`Options::mapped`], which is
//! `unsafe` for this reason, sealed segments are mapped: a [`get`](Store::get) is then no system call
//! and no copy, and keeping other processes from truncating the files is the caller's duty. The
//! active segment is always read by position. No signal handler is installed in either mode.
//!
//! A read-only handle in another process sees a consistent state and moves on to the writer's by
//! [`Store::refresh`]. It may show writes that a power cut still takes back.
//!
//! # Cost
//!
//! Opening reads the heads of the files and the log behind the last
//! [checkpoint](Options::checkpoint_every); a 256th of the index is read when a key of it is first
//! asked for. Then the index holds every key in 16 to 23 bytes of memory, whatever its length: 15 to 19
//! of its table, the rest of a filter by which most lookups of absent keys end without a lock or a read.
//! The keys of the active segment are also held in order once somebody scans or writes, and a thread that
//! reads keeps 4 KiB. A record takes
//! 32 bytes and padding to 8 besides key and value, about 10 bytes plus the differing part of its
//! key in a footer, and 12 bytes in the index.
//! The file format is written down in `docs/formats/mmap-store-v1.md` of the repository.
//!
//! # Features
//!
//! * `crc-fast` (default): checks records with the widest instructions that the processor has.
//! * `metrics`: `mmap_store_gets_total` (by `outcome`: `hit`, `miss`, `error`), `mmap_store_writes_total`
//!   (`applied`, `refused`, `error`), `mmap_store_read_bytes_total` and `mmap_store_written_bytes_total`
//!   (of values read, and of keys and values written), `mmap_store_freed_bytes_total` (by compaction),
//!   and the histograms `mmap_store_{get,write,flush,compact}_seconds`, through the `metrics` facade.
//! * `tracing`: spans `mmap_store.{open,flush,compact,verify,repair}`.
//! * `tokio`: `AsyncStore`, whose calls run on blocking threads.
//! * `zstd`: `Options::compress_above`; without it a compressed value is an error.

mod absence;
mod ahead;
#[cfg(feature = "tokio")]
mod asynchronous;
mod backlog;
mod backup;
mod batch;
mod chain;
mod check;
mod checkpoint;
mod compact;
mod directory;
mod error;
mod flusher;
mod footer;
mod index;
mod insertion;
mod janitor;
mod journal;
mod lazy;
mod lookup;
mod manifest;
mod mapping;
mod missing;
mod options;
mod order;
mod packing;
mod place;
mod queue;
mod record;
mod recover;
mod repair;
mod replay;
mod rotation;
mod scan;
mod segment;
mod stats;
mod storage;
mod store;
mod table;
mod telemetry;
mod upkeep;
mod verify;
mod view;
mod walk;
mod writer;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncScan, AsyncStore};
pub use batch::Batch;
pub use compact::CompactReport;
pub use error::{Error, Result};
pub use insertion::{Inserted, ScanInserted};
pub use lazy::{LazyRecord, LazyRecordBuilder};
pub use options::{Durability, Options};
pub use repair::RepairReport;
pub use scan::Scan;
pub use stats::Stats;
pub use storage::{Access, Storage, StorageFile};
pub use store::Store;
pub use verify::{Damage, VerifyReport};
