//! Session objects reused against constructed.

use std::{collections::HashMap, hint::black_box};

use anyhow::Result;
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

pub(super) fn sessions(bench: &Bench) -> Result<Measured> {
    let pool = ObjectPool::builder(Session::new)
        .reset(Session::reset)
        .build();
    for id in 1..=16 {
        let mut session = pool.get();
        let as_new = bench.answer(*session == Session::new());
        check(as_new, "a session shows what was left behind")?;
        session.serve(id);
        let served = bench.answer(session.variables[&id] + session.id);
        check(served == id + 1, "a session does not keep what it is told")?;
    }
    let created = bench.answer(pool.stats().created);
    check(created == 10, "sessions were constructed, not reused")?;
    let standing = Contest::new(bench, OPERATIONS)
        .side("mainspring-pool", "", || {
            for id in 0..OPERATIONS {
                let mut session = pool.get();
                session.serve(id);
                black_box(&*session);
            }
        })
        .side("constructed and dropped", "system allocator", || {
            for id in 0..OPERATIONS {
                let mut session = Session::new();
                session.serve(id);
                black_box(&session);
            }
        })
        .run();
    Ok(standing.faster("constructed and dropped"))
}
