//! What is about agents rather than resources: who they are, which one fits a task, and whom they ask.
//!
//! - [`AgentCatalog`]: definitions in Markdown with front matter, discovered below directories, parsed
//!   once, kept in a cache file, and revalidated by one `stat` per look-up;
//! - [`AgentIndex`]: the agents that fit a task, ranked from their descriptions;
//! - [`LazyRegistry`]: components that are loaded when first needed, once, and the critical ones before;
//! - [`Provider`]: whoever answers requests, as a stream; [`RecordedProvider`] plays recorded answers.
//!
//! # Features
//! - `openai`: `OpenAiProvider`, a streaming client for servers that speak OpenAI's chat completions.
//! - `watch`: `AgentCatalog::watch`, which tells of changed definitions as it happens.
//!
//! # A definition
//!
//! ```text
//! ---
//! name: reviewer
//! description: Reviews changes for correctness; use after every edit.
//! tools: [Read, Grep]
//! tags: [quality, rust]
//! tier: quality
//! ---
//! You review code. ...
//! ```
//!
//! `description` is required; `name` defaults to the file's name. `tools`, `tags`, `model` and `tier`
//! (`fast`, `balanced`, `quality`) are understood, every other key is kept as it is. The front matter is
//! the part of YAML that people write there: scalars (plain ones to the end of the line, colons
//! included), quoted scalars, lists, `|` and `>` blocks, nested mappings and comments. What is not
//! understood is refused with its line.

#![forbid(unsafe_code)]

mod cache;
mod catalog;
#[cfg(feature = "openai")]
mod connections;
mod definition;
mod discovery;
mod error;
#[cfg(feature = "openai")]
mod events;
mod front_matter;
mod index;
#[cfg(feature = "openai")]
mod openai;
mod options;
mod provider;
mod recorded;
mod registry;
mod signature;
#[cfg(feature = "openai")]
mod sse;
mod stat;
#[cfg(feature = "watch")]
mod watch;
mod words;

pub use {
    catalog::{AgentCatalog, CatalogStats},
    definition::{AgentDefinition, ModelTier},
    error::Error,
    front_matter::Value,
    index::{AgentIndex, Ranked},
    options::{CatalogOptions, WallClock},
    provider::{Answer, Chunk, ChunkStream, Provider, Request, ToolCall, Usage},
    recorded::RecordedProvider,
    registry::{BoxFuture, Clock, ComponentStats, LazyRegistry, LazyRegistryBuilder, LoadError},
};
#[cfg(feature = "openai")]
pub use {
    connections::{Connection, Dial},
    error::BuildError,
    openai::{OpenAiBuilder, OpenAiProvider, ProviderStats},
};

#[cfg(feature = "watch")]
pub use watch::{Changes, Watching};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
