//! Session objects reused against constructed.

use std::{collections::HashMap, hint::black_box};

use anyhow::Result;
use crossbeam_queue::ArrayQueue;
use lockfree_object_pool::LinearObjectPool;
use mainspring_pool::ObjectPool;

use crate::{Bench, Contest, Measured, check};

const OPERATIONS: u64 = 1_000;
const BUFFER: usize = 16 << 10;
const MESSAGE: &[u8] = b"a message of some fifty bytes, read from a socket...";

/// What a runtime keeps about a session: ten fields, two of them maps, one a read buffer.
#[derive(Debug, PartialEq)]
struct Session {
    id: u64,
    user: u64,
    turns: u32,
    tokens: u64,
    name: String,
    model: String,
    history: Vec<u64>,
    variables: HashMap<u64, u64>,
    pending: HashMap<u64, u64>,
    /// Zeroed, as `read` wants it; `filled` bytes of it were written.
    buffer: (Vec<u8>, usize),
}

impl Session {
    fn new() -> Self {
        Self {
            id: 0,
            user: 0,
            turns: 0,
            tokens: 0,
            name: String::with_capacity(32),
            model: String::with_capacity(32),
            history: Vec::with_capacity(64),
            variables: HashMap::with_capacity(32),
            pending: HashMap::with_capacity(32),
            buffer: (vec![0; BUFFER], 0),
        }
    }

    /// Every part once.
    fn serve(&mut self, id: u64) {
        self.id = id;
        self.user = id ^ 1;
        self.turns += 1;
        self.tokens += 100;
        self.name.push_str("session");
        self.model.push_str("model");
        self.history.push(id);
        self.variables.insert(id, 1);
        self.pending.insert(id, 2);
        self.buffer.0[..MESSAGE.len()].copy_from_slice(MESSAGE);
        self.buffer.1 = MESSAGE.len();
    }

    /// As new, at the cost of what was used.
    fn reset(&mut self) {
        (self.id, self.user, self.turns, self.tokens) = (0, 0, 0, 0);
        self.name.clear();
        self.model.clear();
        self.history.clear();
        self.variables.clear();
        self.pending.clear();
        let filled = std::mem::take(&mut self.buffer.1);
        self.buffer.0[..filled].fill(0);
    }
}

/// Ours and others' pools of sessions, ten of them at first where a pool takes that number.
struct Pools {
    ours: ObjectPool<Session>,
    object_pool: object_pool::Pool<Session>,
    opool: opool::Pool<Factory, Session>,
    lockfree: LinearObjectPool<Session>,
    queue: ArrayQueue<Box<Session>>,
}

/// Makes and resets sessions for opool.
struct Factory;

impl opool::PoolAllocator<Session> for Factory {
    fn allocate(&self) -> Session {
        Session::new()
    }

    fn reset(&self, session: &mut Session) {
        session.reset();
    }
}

const MAX: usize = 100;

impl Pools {
    fn new() -> Self {
        Self {
            ours: ObjectPool::builder(Session::new)
                .reset(Session::reset)
                .max(MAX)
                .build(),
            object_pool: object_pool::Pool::new(10, Session::new),
            opool: opool::Pool::new(MAX, Factory),
            lockfree: LinearObjectPool::new(Session::new, Session::reset),
            queue: ArrayQueue::new(MAX),
        }
    }

    fn ours(&self, work: impl FnOnce(&mut Session)) {
        work(&mut self.ours.get());
    }

    fn object_pool(&self, work: impl FnOnce(&mut Session)) {
        let mut session = self.object_pool.pull(Session::new);
        work(&mut session);
        session.reset();
    }

    fn opool(&self, work: impl FnOnce(&mut Session)) {
        work(&mut self.opool.get());
    }

    fn lockfree(&self, work: impl FnOnce(&mut Session)) {
        work(&mut self.lockfree.pull());
    }

    fn queue(&self, work: impl FnOnce(&mut Session)) {
        let idle = self.queue.pop();
        let mut session = idle.unwrap_or_else(|| Box::new(Session::new()));
        work(&mut session);
        session.reset();
        drop(self.queue.push(session));
    }
}

const CONSTRUCTED: &str = "constructed and dropped";

pub(super) fn sessions(bench: &Bench) -> Result<Measured> {
    let pools = Pools::new();
    are_as_new(bench, "our pool", |look| pools.ours(look))?;
    let created = bench.answer(pools.ours.stats().created);
    check(created == 10, "sessions were constructed, not reused")?;
    are_as_new(bench, "object-pool", |look| pools.object_pool(look))?;
    are_as_new(bench, "opool", |look| pools.opool(look))?;
    are_as_new(bench, "lockfree-object-pool", |look| pools.lockfree(look))?;
    are_as_new(bench, "a queue", |look| pools.queue(look))?;
    let serve = |session: &mut Session, id| {
        session.serve(id);
        black_box(&*session);
    };
    let standing = Contest::new(bench, OPERATIONS)
        .side("mainspring-pool", "", || {
            (0..OPERATIONS).for_each(|id| pools.ours(|session| serve(session, id)));
        })
        .side(CONSTRUCTED, "system allocator", || {
            (0..OPERATIONS).for_each(|id| serve(&mut Session::new(), id));
        })
        .side("object-pool", "0.6", || {
            (0..OPERATIONS).for_each(|id| pools.object_pool(|session| serve(session, id)));
        })
        .side("opool", "0.2", || {
            (0..OPERATIONS).for_each(|id| pools.opool(|session| serve(session, id)));
        })
        .side("lockfree-object-pool, linear", "0.1", || {
            (0..OPERATIONS).for_each(|id| pools.lockfree(|session| serve(session, id)));
        })
        .side("crossbeam ArrayQueue of boxes", "0.3", || {
            (0..OPERATIONS).for_each(|id| pools.queue(|session| serve(session, id)));
        })
        .run();
    Ok(standing.faster(CONSTRUCTED))
}

/// Every session that a pool hands out is as new, and keeps what it is told while it is out.
fn are_as_new(
    bench: &Bench,
    name: &str,
    with: impl Fn(&mut dyn FnMut(&mut Session)),
) -> Result<()> {
    for id in 1..=16 {
        let mut seen = (false, 0);
        with(&mut |session| {
            seen.0 = *session == Session::new();
            session.serve(id);
            seen.1 = session.variables[&id] + session.id;
        });
        let as_new = bench.answer(seen.0);
        check(as_new, &format!("{name}: a session shows what was left"))?;
        let served = bench.answer(seen.1);
        check(served == id + 1, &format!("{name}: a session forgets"))?;
    }
    Ok(())
}
