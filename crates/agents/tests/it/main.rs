//! Behaviour of the crate through its public API.

mod catalog;
mod front_matter;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(feature = "openai")]
mod openai;
mod provider;
mod ranking;
mod registry;
#[cfg(feature = "watch")]
mod watch;
