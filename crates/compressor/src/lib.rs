//! Context that fits its window: a lossless message model, token counting and compaction with a
//! deterministic floor.
//!
//! # From a file to a request
//!
//! [`read_sessions`] opens a recorded session and tells its format from the content. Each session
//! is a [`Transcript`]: the raw JSON items, untouched, and over them an index of who answers whom.
//! Calls and results that do not pair up are [`Finding`]s, *explained* when the session itself
//! records the interruption between them and damage otherwise; [`Transcript::mend`] makes a valid
//! request of a damaged one, and [`validate`] checks it.
//!
//! # A live context
//!
//! A [`Context`] holds what is sent to the model next, counted by a [`Tokenizer`]. A [`Compactor`]
//! appends to it and keeps it within its [`Budget`]: at 0.92 of the usable window it makes a
//! [`Plan`], pure and printable, and applies it. What it takes out comes back as [`Blob`]s for the
//! caller to store. What a person wrote and what is pinned always stays, an exchange is kept or cut
//! as a whole, and every result is checked against the rules of its wire format.
//!
//! # Quality
//!
//! [`Quality`] counts facts of the original that stand in the result word for word: user messages,
//! paths, commands, errors, pending tasks, intact pairs. It is a floor, not a judgement of meaning.
//!
//! [`probes`] asks more: questions made out of the original, and [`recall`] counts how many of them the
//! result answers, directly or by one bounded retrieval ([`Blob::excerpt`]).
//!
//! # Guarantees
//!
//! The same input gives the same bytes: no clock, no randomness, no iteration over hash maps
//! reaches the output. Reading is linear and bounded in depth, counts and sizes. No input panics.
//!
//! ```
//! use mainspring_compressor::{Role, read_sessions};
//!
//! let file = r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]"#;
//! let import = read_sessions(file)?;
//! let transcript = &import.sessions()[0].transcript;
//! assert_eq!(transcript.items()[0].role(), Role::Human);
//! assert_eq!(import.export(), file.as_bytes());
//! # Ok::<(), mainspring_compressor::Error>(())
//! ```

#![forbid(unsafe_code)]

mod access;
mod batches;
#[cfg(any(feature = "gzip", feature = "zstd"))]
mod codec;
mod compactor;
mod context;
mod error;
mod extract;
mod format;
mod item;
mod json;
mod ledger;
mod memory_file;
mod mend;
mod optimizer;
mod pairing;
mod probe;
mod prompt_cache;
mod quality;
mod retrieval;
mod saved;
mod session;
mod similar;
mod snippet;
mod stream;
mod tokens;
mod transcript;
mod units;
mod validate;
mod violation;
mod windows;
mod wire;

pub use access::{Access, AccessKind};
pub use batches::{TokenBatch, TokenBatches};
#[cfg(feature = "zstd")]
pub use codec::Zstd;
#[cfg(feature = "gzip")]
pub use codec::{GZIP_ABOVE, gunzip, gzip_body};
pub use compactor::{
    Advised, Appended, BuildError, Compaction, Compactor, CompactorBuilder, Plan, PlanStep,
    Section, Strategy, Summarizer, SummarizerError, SummaryRequest,
};
pub use context::{Blob, Budget, Context, ContextStats, Pushed};
pub use error::Error;
pub use format::Format;
pub use item::{Item, Role, ToolCall, ToolResult};
pub use memory_file::{MemoryFile, MemoryReport};
pub use mend::Repair;
pub use optimizer::{Optimized, TextStrategy, TokenOptimizer};
pub use pairing::{ExchangeState, Finding, Place, Problem, ToolExchange};
pub use probe::{Probe, ProbeKind, Recall, probes, recall};
pub use prompt_cache::CacheReport;
pub use quality::{Preserved, Quality};
pub use session::{Import, Piece, Quarantined, Session, read_sessions};
pub use stream::{TokenChunk, TokenStream};
#[cfg(feature = "openai")]
pub use tokens::OpenAi;
#[cfg(feature = "open-models")]
pub use tokens::OpenModel;
pub use tokens::{ContentClass, Estimate, Profile, Tally, Tokenizer, count_item};
pub use transcript::{Transcript, Turn};
pub use validate::validate;
pub use violation::{Rule, Violation, violations};
pub use windows::ModelWindows;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
