//! Resources on loan.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::entry::{Entry, Held, ResourceInfo};
use super::event::{DiscardReason, Event};
use super::manager::Manager;
use super::shared::Shared;

const PRESENT: &str = "the resource is present until the guard drops";

/// A resource on loan from a [`ResourcePool`](crate::ResourcePool); it goes back when this drops.
///
/// Dropped while its thread panics, the resource is discarded, for it may be in the middle of something.
pub struct Pooled<'a, M: Manager> {
    entry: Option<Held<M::Resource>>,
    shared: &'a Arc<Shared<M>>,
}

/// As [`Pooled`], without borrowing the pool.
pub struct OwnedPooled<M: Manager> {
    entry: Option<Held<M::Resource>>,
    shared: Arc<Shared<M>>,
}

impl<'a, M: Manager> Pooled<'a, M> {
    pub(crate) fn new(entry: Held<M::Resource>, shared: &'a Arc<Shared<M>>) -> Self {
        Self {
            entry: Some(entry),
            shared,
        }
    }

    /// Back to the idle ones, as if it had not been lent.
    pub(crate) fn restore(mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.restore(entry);
        }
    }

    /// Out of the pool, for the given reason.
    pub(crate) fn remove(mut self, why: DiscardReason) {
        if let Some(entry) = self.entry.take() {
            self.shared.discard_leased(entry, why);
        }
    }

    /// The same loan without the borrow.
    pub fn into_owned(mut self) -> OwnedPooled<M> {
        OwnedPooled {
            entry: self.entry.take(),
            shared: Arc::clone(self.shared),
        }
    }
}

macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?) => {
        impl<M: Manager> $guard<$($life,)? M> {
            fn entry(&self) -> &Entry<M::Resource> {
                self.entry.as_ref().expect(PRESENT)
            }

            /// What the pool knows about the resource.
            pub fn info(&self) -> ResourceInfo {
                self.entry().info()
            }

            /// Takes the resource out of the pool for good; its place becomes free.
            pub fn detach(mut self) -> M::Resource {
                let entry = self.entry.take().expect(PRESENT);
                self.shared.detach(*entry)
            }

            /// Drops the resource instead of returning it, because it is not usable any more.
            pub fn discard(mut self) {
                if let Some(entry) = self.entry.take() {
                    let id = entry.id;
                    self.shared.report(|| Event::Released { id });
                    self.shared.discard_leased(entry, DiscardReason::Broken);
                }
            }
        }

        impl<M: Manager> Deref for $guard<$($life,)? M> {
            type Target = M::Resource;

            fn deref(&self) -> &M::Resource {
                &self.entry().value
            }
        }

        impl<M: Manager> DerefMut for $guard<$($life,)? M> {
            fn deref_mut(&mut self) -> &mut M::Resource {
                &mut self.entry.as_mut().expect(PRESENT).value
            }
        }

        impl<M: Manager> Drop for $guard<$($life,)? M> {
            fn drop(&mut self) {
                if let Some(entry) = self.entry.take() {
                    self.shared.give_back(entry);
                }
            }
        }

        impl<M: Manager> fmt::Debug for $guard<$($life,)? M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guard))
                    .field("info", &self.entry.as_ref().map(|entry| entry.info()))
                    .finish_non_exhaustive()
            }
        }
    };
}

guard!(Pooled<'_>);
guard!(OwnedPooled);
