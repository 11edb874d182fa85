//! Tool calls in parallel without races: resource keys, policies, DAGs, batching, retries, rate limits and budgets.
//!
//! A [`Scheduler`] runs [`ToolCall`]s on the tools of a [`Toolbox`]: each call passes six [`Phase`]s and ends in exactly
//! one [`ToolOutcome`]. What a call reads and writes is its [`Access`]; conflicting calls run one after the other in the
//! order in which they were issued, everything else side by side up to the limit, in the order of a [`Policy`].
//!
//! | Looking for | Start at |
//! | --- | --- |
//! | running what a model asked for | [`Scheduler::run`], [`Scheduler::stream`] |
//! | any other future under the same limit | [`Scheduler::submit`]; many of them: [`Scheduler::submit_each`] |
//! | tasks that depend on each other | [`Dag`] |
//! | a human's approval | [`Decision`], [`Approvals`] |
//! | money, tokens | [`Budget`], [`RateLimiter`], [`ModelRouter`] |
//! | sub-agents | [`Agents`] |
//! | requests together, streams in pieces | [`Batcher`], [`Pipeline`]; HTTP requests: `RequestOptimiser` |
//! | a limit that follows the load | [`Scaling`] |
//! | several executors, regions, late answers | [`Balancer`], [`Regions`], [`hedge()`] |
//! | the decisions without a runtime | [`Machine`] |
//!
//! Architecture invariant: [`Machine`] and everything below it know no clock, no thread and no runtime; `driver.rs` alone
//! feeds it. Architecture invariant: no code of a tool, a hook or a caller runs, and none is dropped, under a lock.
//!
//! # Cancellation
//!
//! Dropping any future of this crate stops what it stood for: a [`Scheduler::run`] its calls, a [`TaskHandle`] its task,
//! a [`Dag::run`] its nodes, an [`AgentHandle`] its agent. Slots, keys, rates and money return as soon as the stopped work
//! is dropped, which happens at its next await point.
//!
//! # Features
//!
//! `jsonschema`: all of JSON Schema for arguments and results instead of a built-in subset (see [`Toolbox`]).
//! `process`: `Process`, child processes under resource limits (unix).
//! `requests`: `RequestOptimiser`, which compresses the bodies of HTTP requests and sends safe reads of one endpoint together.
//! `rmcp`: `McpTool`, and conversions from and to the types of the crate `rmcp` (Model Context Protocol).
//! `tower`: `SchedulerLayer`, which runs the calls of any tower service under a scheduler, and `BalancedService`, one service made of several.
#![cfg_attr(not(feature = "process"), forbid(unsafe_code))]
#![cfg_attr(feature = "process", deny(unsafe_code))]

mod access;
mod agent;
mod approval;
mod balance;
mod batch;
mod budget;
mod call;
mod complexity;
mod cooldown;
mod counts;
mod dag;
mod driver;
mod error;
mod event;
#[cfg(feature = "requests")]
mod gzip;
mod hedge;
mod hold;
mod key;
mod ledger;
mod locks;
mod machine;
#[cfg(feature = "rmcp")]
mod mcp;
mod model;
mod outcome;
mod pipeline;
mod policy;
#[cfg(all(feature = "process", unix))]
mod process;
mod queue;
mod rate;
mod region;
#[cfg(feature = "requests")]
mod request;
mod retry;
mod run;
mod scaling;
mod scheduler;
mod schema;
mod services;
mod slot;
mod stats;
mod sync;
mod task;
mod task_stream;
mod tool;
mod toolbox;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "tower")]
mod tower_balance;
mod wake_once;

pub use access::{Access, Annotations};
pub use agent::{AgentContext, AgentHandle, AgentReport, AgentSpec, Agents};
pub use approval::{Approval, ApprovalInbox, Approvals, Decision};
pub use balance::{Balancer, ExecutorStats, Lease};
pub use batch::{BatchQueues, BatchResults, BatchSettings, BatchStats, Batcher};
pub use budget::{Budget, BudgetLevel, BudgetStats, Reservation};
pub use complexity::complexity;
pub use cooldown::Cooldowns;
pub use dag::{Dag, NodeError, NodeId, NodeOutcome};
pub use error::{BuildError, Error, Refused};
pub use event::{Action, Event, Stop, Submission, TaskId, Verdict};
#[cfg(feature = "requests")]
pub use gzip::compress_body;
pub use hedge::hedge;
pub use hold::Hold;
pub use key::ResourceKey;
pub use machine::Machine;
#[cfg(feature = "rmcp")]
pub use mcp::McpTool;
pub use model::{ModelRequest, ModelRouter, Prices, Route, Tier};
pub use outcome::{
    CallError, CallErrorKind, Cost, Phase, ToolError, ToolErrorKind, ToolOutcome, ToolOutput,
};
pub use pipeline::{Pipeline, Processed};
pub use policy::{Measures, Policy};
#[cfg(all(feature = "process", unix))]
pub use process::{Captured, Process, ProcessEnd, ProcessLimits, ProcessOutput};
pub use rate::{RateLimiter, RateReservation};
pub use region::{RegionLease, RegionStats, Regions};
#[cfg(feature = "requests")]
pub use request::{RequestKind, RequestOptimiser, RequestStats};
pub use retry::{Retry, RetryAfter};
pub use run::Outcomes;
pub use scaling::Scaling;
pub use scheduler::{Scheduler, SchedulerBuilder};
pub use stats::{PhaseStats, Stats, ToolStats};
pub use task::TaskHandle;
pub use task_stream::TaskStream;
pub use tool::{BoxFuture, FnTool, OutputChunk, Tool, ToolCall, ToolContext};
pub use toolbox::Toolbox;
#[cfg(feature = "tower")]
pub use tower::{Scheduled, ScheduledError, ScheduledFuture, SchedulerLayer};
#[cfg(feature = "tower")]
pub use tower_balance::BalancedService;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
