//! Membership in nanoseconds: "have I seen this id, this call, this block?", mostly answered no.
//!
//! | filter | insert | for |
//! | --- | --- | --- |
//! | [`BloomFilter`] | `&mut self` | one writer, or frozen and shared |
//! | [`SharedBloomFilter`] | `&self` | many writers; two racing ones may both be told "new" |
//! | [`ClaimFilter`] | `&self` | at most one of racing callers is told "new" |
//! | [`ScalableBloomFilter`] | `&mut self` | an unknown number of keys |
//! | [`BloomView`] | none | a filter read where it lies, such as a mapped file |
//!
//! No filter ever denies a key that was inserted. Each reports a share of absent keys as present, the
//! false positive rate, which it keeps up to the capacity it was built for and which
//! `estimated_fpr` tells at any time.
//!
//! Keys are hashed by published functions under a seed ([`KeyHash`]), spelt the same on every machine
//! ([`BloomKey`]), and the bits of split-block filters are those of Apache Parquet; so a filter written
//! today is read by later releases and other machines. On x86-64 the block operations use AVX2 (and BMI2)
//! where the processor has both, chosen at run time, with the same bits.
//!
//! # Features
//! - `classic`: `ClassicFilter` over the `bloomfilter` crate, behind the same [`MembershipFilter`].
//! - `serde`: filters serialise as their checked bytes.

mod atomic_block;
mod batch;
mod block;
mod builder;
mod claim;
#[cfg(feature = "classic")]
mod classic;
mod error;
mod filter;
mod format;
mod kernel;
mod key;
mod measure;
mod membership;
mod scalable;
#[cfg(feature = "serde")]
mod serde;
mod shared;
mod simd;
mod sizing;
mod stats;
mod storage;
mod sync;
mod view;

#[cfg(feature = "classic")]
pub use classic::ClassicFilter;
pub use {
    builder::BloomBuilder,
    claim::ClaimFilter,
    error::{BuildError, Error},
    filter::BloomFilter,
    key::{BloomKey, HashKind, KeyHash},
    membership::MembershipFilter,
    scalable::ScalableBloomFilter,
    shared::SharedBloomFilter,
    stats::Stats,
    view::BloomView,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
