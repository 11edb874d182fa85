//! The acknowledgement log: one JSON object a line.

use serde::{Deserialize, Serialize};

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in microseconds of the machine's monotonic clock.
    pub t: u64,
    /// Which process: 0 is the supervisor, servers count from 1, each restart one more.
    pub w: u32,
    /// What.
    #[serde(flatten)]
    pub line: Line,
}

/// One of the calls that a session asks for together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its id, unique in the log.
    pub id: String,
    /// The documents that it reads, and whose versions its outcome tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<u32>,
}

/// What happened. `try_…` is written before the runtime is asked, the others after it answered.
///
/// `us` is how long the answer took, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "snake_case")]
pub enum Line {
    /// The run begins.
    Run {
        /// Rerun with it.
        seed: u64,
        /// Sessions at once.
        sessions: u32,
        /// How long another process may serve what was invalidated, in microseconds.
        bound_us: u64,
    },
    /// A server process: `start`, `ready`, `stopped`, `died`.
    Server {
        /// What became of it.
        event: String,
    },
    /// A fault: `begin`, `end`, or `skipped` with the reason.
    Fault {
        /// Which.
        fault: String,
        /// `begin`, `end`, `skipped`.
        event: String,
        /// What exactly.
        #[serde(default)]
        detail: String,
    },
    /// A byte was changed in a file while no process had it open.
    Flip {
        /// The file, by name.
        file: String,
        /// The byte.
        offset: u64,
    },
    /// The runtime reports damage.
    Damage {
        /// The file, by name.
        file: String,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// The runtime could not give something back, and says why.
    Unreadable {
        /// The session.
        s: String,
        /// `session`, `message N`, `version V` or `list of checkpoints`.
        what: String,
        /// The error, with its causes.
        error: String,
    },
    /// An operation was refused.
    Refused {
        /// Which.
        op: String,
        /// The session.
        s: String,
        /// The error, with its causes.
        error: String,
    },
    /// A session is open, with so many messages.
    Opened {
        /// The session.
        s: String,
        /// Its messages.
        n: u64,
        /// How long it took.
        us: u64,
    },
    /// A message is about to be appended as number `n`.
    TryAppend {
        /// The session.
        s: String,
        /// The message's number.
        n: u64,
        /// Its digest.
        dg: String,
    },
    /// It was acknowledged.
    Append {
        /// The session.
        s: String,
        /// The message's number.
        n: u64,
        /// How long it took.
        us: u64,
    },
    /// A message was read.
    Read {
        /// The session.
        s: String,
        /// The message's number.
        n: u64,
        /// Its digest.
        dg: String,
        /// How long it took.
        us: u64,
    },
    /// A session is about to begin, as a fork of another at its `n` messages, or empty.
    Fork {
        /// The new session.
        s: String,
        /// The one it comes from; empty for none.
        from: String,
        /// Messages that they share.
        n: u64,
    },
    /// A checkpoint was acknowledged.
    Checkpoint {
        /// The session.
        s: String,
        /// The version.
        v: String,
        /// The header, as JSON text.
        header: String,
        /// The messages in it.
        n: u64,
        /// How long it took.
        us: u64,
    },
    /// A checkpoint was restored.
    Restore {
        /// The session that asked.
        s: String,
        /// The version.
        v: String,
        /// The digest of what came.
        dg: String,
        /// How long it took.
        us: u64,
    },
    /// The context as it would be sent.
    Context {
        /// The session.
        s: String,
        /// Its tokens.
        tokens: u64,
        /// The window.
        window: u64,
        /// How long it took.
        us: u64,
    },
    /// A session asks for calls.
    Calls {
        /// The run, unique in the log.
        r: String,
        /// The calls.
        calls: Vec<Call>,
    },
    /// The result of a call.
    Outcome {
        /// The run.
        r: String,
        /// The call.
        id: String,
        /// Whether it succeeded.
        ok: bool,
        /// Documents and versions that it read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        saw: Vec<(u32, u64)>,
        /// Documents and versions that it wrote.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        wrote: Vec<(u32, u64)>,
        /// The error's kind.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// All results of a run are there.
    Ran {
        /// The run.
        r: String,
        /// How long it took.
        us: u64,
    },
    /// The caller gave the run up.
    Dropped {
        /// The run.
        r: String,
    },
    /// A tool begins to touch resources.
    Begin {
        /// Unique in the process.
        x: u64,
        /// What it reads.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reads: Vec<String>,
        /// What it writes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        writes: Vec<String>,
    },
    /// It does not touch them any more.
    End {
        /// As it began.
        x: u64,
    },
    /// A budget, once.
    Budget {
        /// Its name, unique in the log.
        b: String,
        /// The most that may be spent.
        limit: u64,
    },
    /// Money was spent.
    Charge {
        /// From these budgets.
        b: Vec<String>,
        /// So much.
        money: u64,
    },
    /// The place where the documents lie has committed a version, before it told anybody.
    Wrote {
        /// The document.
        d: u32,
        /// The version.
        v: u64,
    },
    /// The provider sent a whole answer, or something else (`mode`).
    Served {
        /// The request.
        id: String,
        /// `whole`, or what it did instead.
        mode: String,
        /// The digest of the whole answer.
        dg: String,
    },
    /// A model's answer was taken for whole.
    Answered {
        /// The request.
        id: String,
        /// The digest of its text.
        dg: String,
        /// How long it took.
        us: u64,
    },
    /// Memory and descriptors: `baseline` and `after` while everything rests, `during` otherwise.
    Resources {
        /// Which time.
        phase: String,
        /// Anonymous memory in bytes.
        anonymous: u64,
        /// Descriptors that are no files of a store.
        descriptors: u64,
        /// Threads.
        threads: u64,
    },
    /// A session was exported at the end: one message a line, an empty line for one that is unreadable.
    Exported {
        /// The session.
        s: String,
        /// The file, beside the log.
        file: String,
    },
}
