//! Playing operations back: one segment at a time, each version checked where it matters.

use bytes::Bytes;

use crate::block::Fetcher;
use crate::error::{Error, Result};
use crate::op::OpReader;
use crate::segment::{Header, Meta, Segment, check_of};
use crate::store::Store;
use crate::stream;
use crate::text::Piece;
use crate::tree::State;

/// Called after each version with the outcome of its operations; says whether to go on.
type Visit<'v> = dyn FnMut(&Meta, &mut State, Result<()>) -> Result<bool> + 'v;

/// Bytes of a state that a frame may refer to: its beginning and its end.
pub(crate) fn prime(state: &State, limit: u64) -> Vec<u8> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 24);
    let mut total = 0usize;
    state.visit(&mut |piece| {
        if let Piece::Literal(bytes) = piece {
            total += bytes.len();
        }
    });
    let head = total.min(limit / 8);
    let tail = (total - head).min(limit - limit / 8);
    if limit == 0 {
        return Vec::new();
    }
    // A leading zero: zstd must not take it for one of its own dictionaries.
    let mut out = vec![0];
    let mut at = 0;
    state.visit(&mut |piece| {
        let Piece::Literal(bytes) = piece else { return };
        let end = at + bytes.len();
        if at < head {
            out.extend_from_slice(&bytes[..bytes.len().min(head - at)]);
        }
        if end > total - tail {
            out.extend_from_slice(
                &bytes[(total - tail)
                    .saturating_sub(at)
                    .max(head.saturating_sub(at))
                    .min(bytes.len())..],
            );
        }
        at = end;
    });
    out
}

/// Plays the versions of one segment onto the state that it continues.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    store: &'a Store,
    key: &'a str,
    segment: &'a Segment,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(store: &'a Store, key: &'a str, segment: &'a Segment) -> Self {
        Self {
            store,
            key,
            segment,
        }
    }

    fn damaged(&self, group: usize, what: &'static str) -> Error {
        let offset = self.segment.groups.get(group).map_or(0, |g| g.offset);
        Error::damaged(self.key, offset, what)
    }

    /// The group of a version.
    fn group(&self, seq: u64) -> Result<usize> {
        let groups = &self.segment.groups;
        let found = groups
            .iter()
            .position(|g| g.versions.iter().any(|meta| meta.seq == seq));
        let usable = self
            .segment
            .flaw
            .as_ref()
            .map_or(usize::MAX, |flaw| flaw.from_group);
        match (found, &self.segment.flaw) {
            (Some(group), _) if group < usable => Ok(group),
            (_, Some(flaw)) => Err(Error::damaged(self.key, flaw.offset, flaw.what)),
            _ => Err(self.damaged(0, "the version is missing in its segment")),
        }
    }

    /// The operations of groups `..=last`, decompressed; checks the base first.
    pub(crate) fn ops(&self, state: &mut State, last: usize) -> Result<Bytes> {
        let Header {
            parent,
            prime: limit,
            ..
        } = &self.segment.header;
        let base = parent.as_ref().filter(|parent| parent.is_base);
        match base {
            None => *state = State::Empty,
            Some(base) if base.root != state.hash() => {
                return Err(Error::damaged(
                    self.key,
                    5,
                    "its base does not have the recorded hash",
                ));
            }
            Some(_) => {}
        }
        let len = self.segment.ops_len(last);
        let most = self.store.options.most_replay();
        if len > most {
            return Err(Error::TooLarge {
                what: "the data to replay",
                limit: most,
                found: len,
            });
        }
        let prime = prime(state, *limit);
        let (frame, ended) = self.segment.frame(last);
        stream::inflate(&prime, frame, ended, len as usize)
            .map(Bytes::from)
            .map_err(|what| self.damaged(0, what))
    }

    /// Up to and including version `seq`.
    pub(crate) fn run(&self, state: &mut State, seq: u64) -> Result<()> {
        let last = self.group(seq)?;
        self.each(state, last, &mut |meta, state, result| {
            result?;
            if meta.seq == seq {
                self.check(meta, state).map(|()| false)
            } else {
                Ok(true)
            }
        })
    }

    pub(crate) fn check(&self, meta: &Meta, state: &mut State) -> Result<()> {
        let what = if check_of(state.hash()) != meta.check {
            "the restored state does not have the recorded hash"
        } else if state.len() != meta.size {
            "the restored state has another size than recorded"
        } else {
            return Ok(());
        };
        Err(self.damaged(self.group(meta.seq)?, what))
    }

    /// Calls `visit` after each version until it says stop.
    pub(crate) fn each(&self, state: &mut State, last: usize, visit: &mut Visit<'_>) -> Result<()> {
        let ops = self.ops(state, last)?;
        let fetch = self.store.fetcher();
        let mut at = 0;
        for (index, group) in self.segment.groups.iter().enumerate().take(last + 1) {
            for meta in &group.versions {
                let end = at + meta.ops as usize;
                let part = ops.slice(at..end);
                let applied =
                    self.apply(state, &part, meta, &fetch)
                        .map_err(|error| match error {
                            Error::InvalidOperation { what, .. }
                            | Error::InvalidJson { what, .. } => self.damaged(index, what),
                            Error::NotFound { what: "path", .. } => {
                                self.damaged(index, "an operation's path is missing")
                            }
                            other => other,
                        });
                at = end;
                if !visit(meta, state, applied)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn apply(
        &self,
        state: &mut State,
        ops: &Bytes,
        meta: &Meta,
        fetch: &Fetcher<'_>,
    ) -> Result<()> {
        let mut reader = OpReader::new(self.key, ops, &meta.blocks);
        while let Some(op) = reader.next()? {
            state.apply(op, fetch, self.store.options.max_state)?;
        }
        Ok(())
    }
}
