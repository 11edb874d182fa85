//! What only unsafe code reaches: the processor's tick counter and the hook of an allocator.
#![allow(unsafe_code)]

#[cfg(feature = "heap-profile")]
mod allocator;
#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
mod ticks;

#[cfg(feature = "heap-profile")]
pub use allocator::HeapProfiler;
#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use ticks::ticks;
