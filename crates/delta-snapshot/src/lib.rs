//! Versions of a growing state whose cost is the change.
//!
//! An agent runtime checkpoints after every step. Written whole, a session of a thousand steps takes a thousand copies
//! of itself. Here a step costs what it changed: operations ([`Thread::append`], [`Thread::set`], [`Thread::remove`],
//! [`Thread::splice`], and [`Thread::append_bytes`], [`Thread::splice_bytes`] for states that are bytes) go into a
//! compressed stream that is flushed with each [`Thread::commit`]; who has only whole states gives them to
//! [`Thread::commit_full`]. [`Snapshots::restore`] gives any version back byte for byte.
//!
//! ```
//! use mainspring_delta_snapshot::{CommitOptions, MemoryBacking, Options, Snapshots};
//!
//! let snapshots = Snapshots::open(MemoryBacking::new(), Options::new())?;
//! let thread = snapshots.thread("customer-42")?;
//! thread.set("", r#"{"messages":[]}"#)?;
//! let empty = thread.commit(CommitOptions::new())?;
//! thread.append("/messages", &[r#"{"role":"user","content":"hi"}"#])?;
//! let greeted = thread.commit(CommitOptions::new())?;
//! assert_eq!(snapshots.restore(empty)?, r#"{"messages":[]}"#);
//! assert_eq!(snapshots.restore_last_items(greeted, "/messages", 1)?.len(), 1);
//! # Ok::<(), mainspring_delta_snapshot::Error>(())
//! ```
//!
//! # The bytes of a state
//!
//! Values are given as raw JSON and kept as given: key order, white space, spelling of numbers. A value's place reaches
//! from the bracket, comma or colon before it to the comma or bracket behind it. `set` replaces all of that (a new key is
//! added at the end as `"key":value`), `append` and `splice` put items in with single commas between them, `remove`
//! takes the place and one comma out. Everything else keeps its bytes. So `set("", "{\"header\":{},\"messages\":[]}")`,
//! then `set("/header", H)` and `append("/messages", [A, B])` restore to `{"header":H,"messages":[A,B]}`.
//!
//! # How it is stored
//!
//! Versions of a thread lie in *segments*, each one zstd frame; a segment may continue a version of another segment, also of
//! another thread, which is what a fork is. When replaying would take more than [`Options::replay_bound`] allows, a
//! version is stored whole. Long strings are stored once, as *blocks* under the hash of their bytes. Each record has a
//! checksum, each version four bytes of a hash tree over the structure (its cost is the change), each segment the whole
//! hash of the version it continues. The layout is in `docs/formats/delta-snapshot-v1.md`.
//!
//! The hashes find damage. They do not stop somebody who writes to the store on purpose: give [`Options::cipher`] an
//! authenticated cipher for that.
//!
//! # LangGraph
//!
//! A `thread_id` is the name given to [`Snapshots::thread`], with a `checkpoint_ns` to [`Snapshots::thread_in`]. A
//! `checkpoint_id` is what [`VersionId`] prints, or one of your own ([`CommitOptions::checkpoint`]); [`Thread::version`]
//! finds both.
#![forbid(unsafe_code)]

mod assemble;
mod backing;
mod block;
mod blocks;
mod cadence;
mod cipher;
mod dictionary;
mod diff;
mod directory;
mod edit;
mod error;
mod form;
mod garbage;
mod gather;
mod json;
mod keys;
mod ledger;
mod memory;
#[cfg(feature = "object-store")]
mod object;
mod op;
mod options;
mod pointer;
mod prefix;
mod readers;
mod record;
mod renumber;
mod replay;
mod rewrite;
mod segment;
mod signal;
mod snapshots;
mod stats;
mod store;
mod stream;
mod sums;
mod text;
mod thread;
mod tree;
mod upkeep;
mod verify;
mod version;
mod wire;
mod work;

pub use backing::{Backing, Entry};
pub use cadence::{Cadence, Sweeper};
pub use cipher::Cipher;
pub use diff::Change;
pub use directory::DirBacking;
pub use error::{Error, Result};
pub use memory::MemoryBacking;
#[cfg(feature = "object-store")]
pub use object::ObjectBacking;
pub use options::Options;
pub use snapshots::Snapshots;
pub use stats::Stats;
pub use thread::Thread;
pub use upkeep::{GcReport, PruneReport, RetainReport, Retention};
pub use verify::{Damage, VerifyReport};
pub use version::{CommitOptions, Kind, Version, VersionId};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
