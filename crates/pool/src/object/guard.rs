//! Objects on loan.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::pool::Inner;
use super::shelf::Held;
use crate::sync::Arc;

const PRESENT: &str = "the object is present until the guard drops";

/// An object on loan from an [`ObjectPool`](super::ObjectPool); it goes home when this drops.
pub struct PooledObject<'a, T> {
    held: Option<Held<T>>,
    home: &'a Inner<T>,
}

/// As [`PooledObject`], without borrowing the pool.
pub struct OwnedObject<T> {
    held: Option<Held<T>>,
    home: Arc<Inner<T>>,
}

impl<'a, T> PooledObject<'a, T> {
    #[inline]
    pub(crate) fn new(held: Held<T>, home: &'a Inner<T>) -> Self {
        let held = Some(held);
        Self { held, home }
    }
}

impl<T> OwnedObject<T> {
    pub(crate) fn new(held: Held<T>, home: Arc<Inner<T>>) -> Self {
        let held = Some(held);
        Self { held, home }
    }
}

macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?) => {
        impl<T> $guard<$($life,)? T> {
            /// Takes the object out of the pool for good.
            pub fn detach(mut self) -> T {
                self.home.detached();
                *self.held.take().expect(PRESENT)
            }
        }

        impl<T> Deref for $guard<$($life,)? T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                self.held.as_ref().expect(PRESENT)
            }
        }

        impl<T> DerefMut for $guard<$($life,)? T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                self.held.as_mut().expect(PRESENT)
            }
        }

        impl<T> Drop for $guard<$($life,)? T> {
            #[inline]
            fn drop(&mut self) {
                if let Some(held) = self.held.take() {
                    self.home.give_back(held);
                }
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $guard<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($guard)).field(&self.held).finish()
            }
        }
    };
}

guard!(PooledObject<'_>);
guard!(OwnedObject);
