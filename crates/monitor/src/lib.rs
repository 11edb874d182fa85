//! Metrics at the cost of a plain store: counters, histograms, process sampling, leak detection,
//! Prometheus text.
//!
//! A [`Registry`] hands out handles that are bound to one series. An update through a handle writes
//! cells that belong to the calling thread alone; whoever reads adds them up, and a thread that ends
//! leaves its share behind.
//!
//! ```
//! use mainspring_monitor::{Format, Registry};
//!
//! let registry = Registry::new();
//! let calls = registry.counter("tool_calls", &[("tool", "grep")]);
//! let latency = registry.timer("tool_latency", &[("tool", "grep")]);
//! for _ in 0..3 {
//!     let _timing = latency.start();
//!     calls.increment();
//! }
//! assert_eq!((calls.value(), latency.snapshot().count()), (3, 3));
//! assert!(registry.render(Format::Text).contains("tool_calls_total{tool=\"grep\"} 3\n"));
//! ```
//!
//! | to | see |
//! | --- | --- |
//! | count, measure, time | [`Registry`], [`Counter`], [`Gauge`], [`Histogram`], [`Timer`], [`ObservedCounter`] |
//! | watch one kind of work, or a start-up | [`Operation`], [`Scope`], [`Phases`] |
//! | look at the process | [`ProcessSample`], [`ProcessProbe`], [`CgroupLimits`], `RuntimeProbe` (feature `tokio`) |
//! | act on what is seen | [`Watch`], [`LeakDetector`], [`Pressure`], [`Alerts`] |
//! | read | [`Snapshot`], [`HistogramSnapshot`], [`Format`], `Endpoint` (feature `http`) |
//! | see where CPU time and memory go | [`Profile`], `CpuProfiler` (feature `pprof`), `HeapProfiler` (feature `heap-profile`) |
//! | push to a collector | `OtlpExporter` (feature `otlp`) |
//! | look at it in a terminal | `TerminalView` (feature `terminal`) |
//! | measure spans of the `tracing` crate | `SpanMetrics` (feature `tracing-layer`) |
//! | label what a task does | `TaskLabels` (feature `tokio`) |
//! | record model calls | `GenAiCalls` (feature `gen-ai`) |
//! | lead other crates' metrics here | `Recorder` (feature `metrics`) |
//! | check a page | [`validate_openmetrics`] |
#![cfg_attr(
    not(any(feature = "heap-profile", feature = "tsc")),
    forbid(unsafe_code)
)]

mod alert;
mod baseline;
mod cells;
mod cgroup;
mod clock;
mod counter;
#[cfg(feature = "pprof")]
mod cpu;
mod distribution;
#[cfg(feature = "http")]
mod endpoint;
mod error;
#[cfg(feature = "otlp")]
mod exporter;
mod exposition;
mod family;
mod flame;
mod gauge;
#[cfg(feature = "gen-ai")]
mod gen_ai;
#[cfg(feature = "heap-profile")]
mod heap;
mod histogram;
mod html;
mod json;
mod label;
mod leak;
mod log;
#[cfg(any(feature = "heap-profile", feature = "tsc"))]
mod machine;
mod number;
#[cfg(feature = "otlp")]
mod otlp;
mod phases;
mod point;
#[cfg(feature = "sysinfo")]
mod portable;
mod pressure;
mod process;
mod profile;
#[cfg(feature = "otlp")]
mod protobuf;
mod reading;
#[cfg(feature = "metrics")]
mod recorder;
mod registry;
#[cfg(feature = "tokio")]
mod runtime;
mod sample;
mod scope;
mod slab;
mod snapshot;
#[cfg(feature = "tracing-layer")]
mod spans;
mod sync;
#[cfg(feature = "tokio")]
mod task;
#[cfg(feature = "terminal")]
mod terminal;
mod text;
mod ticker;
mod timer;
mod watch;

pub use alert::{Alert, AlertRule, AlertState, Alerts};
pub use cgroup::CgroupLimits;
pub use clock::Clock;
pub use counter::{Counter, ObservedCounter};
#[cfg(feature = "pprof")]
pub use cpu::CpuProfiler;
pub use distribution::HistogramSnapshot;
#[cfg(feature = "http")]
pub use endpoint::{Answer, Endpoint, Serving};
pub use error::Error;
#[cfg(feature = "otlp")]
pub use exporter::{Exporting, OtlpExporter, Pushed};
pub use exposition::{PageSummary, validate_openmetrics};
pub use gauge::{Gauge, InFlight};
#[cfg(feature = "gen-ai")]
pub use gen_ai::GenAiCalls;
#[cfg(feature = "heap-profile")]
pub use heap::{HeapProfile, HeapStats, SizeClass, heap_profile, heap_sampling, heap_stats};
pub use histogram::Histogram;
pub use leak::{Leak, LeakDetector, LeakRule};
#[cfg(feature = "heap-profile")]
pub use machine::HeapProfiler;
#[cfg(feature = "otlp")]
pub use otlp::Temporality;
pub use phases::{Phase, Phases};
pub use pressure::{Pressure, Relief};
pub use process::{Memory, ProcessProbe, ProcessSample};
pub use profile::{Hot, Profile};
#[cfg(feature = "metrics")]
pub use recorder::Recorder;
pub use registry::{Registry, RegistryBuilder, RegistryStats};
#[cfg(feature = "tokio")]
pub use runtime::{RuntimeProbe, RuntimeWatching};
pub use scope::{Operation, Scope};
pub use slab::{SlabStats, set_slab_limit, slab_stats};
pub use snapshot::{FamilySnapshot, Kind, SeriesSnapshot, Snapshot, Value};
#[cfg(feature = "tracing-layer")]
pub use spans::SpanMetrics;
#[cfg(feature = "tokio")]
pub use task::TaskLabels;
#[cfg(feature = "terminal")]
pub use terminal::TerminalView;
pub use text::Format;
pub use timer::{Timer, Timing};
pub use watch::{Finding, HeapFigures, Watch, Watching};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
