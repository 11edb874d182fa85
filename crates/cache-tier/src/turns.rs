//! Whose turn it is to load a key in the synchronous cache.

use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, wait_for};
use std::thread::{self, ThreadId};

/// One thread's turn to load a key; the others wait for its end.
#[derive(Debug)]
pub(crate) struct Turn {
    hash: u64,
    leader: ThreadId,
    over: Mutex<bool>,
    ended: Condvar,
    /// Set once the key was written or invalidated: what the turn loads is older than that.
    superseded: AtomicBool,
}

impl Turn {
    pub(crate) fn wait(&self) {
        wait_for(&self.over, &self.ended);
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Wakes those who wait. The turn is out of its shard's list by then.
    pub(crate) fn end(&self) {
        *self.over.lock() = true;
        self.ended.notify_all();
    }
}

/// What a thread that found nothing does next.
#[derive(Debug)]
pub(crate) enum Role {
    Lead(Arc<Turn>),
    Wait(Arc<Turn>),
    /// The thread itself is loading this key further up its stack: it loads again without sharing.
    Nested,
}

/// The loads under way in one shard, by the key's full hash; two keys that share it take turns.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<Arc<Turn>>);

impl Turns {
    pub(crate) fn join(&mut self, hash: u64) -> Role {
        let me = thread::current().id();
        if let Some(turn) = self
            .0
            .iter()
            .find(|turn| turn.hash == hash && !turn.is_superseded())
        {
            if turn.leader == me {
                return Role::Nested;
            }
            return Role::Wait(Arc::clone(turn));
        }
        let turn = Arc::new(Turn {
            hash,
            leader: me,
            over: Mutex::new(false),
            ended: Condvar::new(),
            superseded: AtomicBool::new(false),
        });
        self.0.push(Arc::clone(&turn));
        Role::Lead(turn)
    }

    /// The key was written or invalidated: loads of it that are under way must not publish.
    #[inline]
    pub(crate) fn supersede(&self, hash: u64) {
        for turn in self.0.iter().filter(|turn| turn.hash == hash) {
            turn.superseded.store(true, Ordering::Release);
        }
    }

    pub(crate) fn supersede_all(&self) {
        for turn in &self.0 {
            turn.superseded.store(true, Ordering::Release);
        }
    }

    pub(crate) fn leave(&mut self, turn: &Arc<Turn>) {
        self.0.retain(|other| !Arc::ptr_eq(other, turn));
    }
}
