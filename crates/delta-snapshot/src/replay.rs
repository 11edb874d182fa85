//! Playing operations back: one segment at a time, each version checked where it matters.

use bytes::Bytes;

use crate::block::Fetcher;
use crate::dictionary::dictionary;
use crate::error::{Error, Result};
use crate::op::OpReader;
use crate::segment::{Group, Header, Meta, Segment, check_of};
use crate::store::Store;
use crate::stream::{self, Inflater};
use crate::tree::State;

/// Called after each version with its operations and their outcome; says whether to go on.
type Visit<'v> = dyn FnMut(&Meta, &[u8], &mut State, Result<()>) -> Result<bool> + 'v;

/// Operations that are at most this much longer than the state are decompressed in one go: the state is put together
/// in that buffer, while a window of the decoder's own would come on top of the state.
const AT_ONCE: u64 = 768 << 10;
/// From this many bytes on a group's operations are kept rather than copied.
const SHARED: usize = 256 << 10;

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

    /// Where the operations of groups `..=last` come from; checks the base first.
    fn source(&self, state: &mut State, last: usize) -> Result<Source> {
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
        let known = dictionary(self.segment.format, state, *limit);
        if self.at_once(last) {
            let (frame, ended) = self.segment.frame(last);
            let ops = stream::inflate(&known, frame, ended, len as usize);
            return ops
                .map(|ops| Source::Whole(ops.into()))
                .map_err(|what| self.damaged(0, what));
        }
        let mut inflater = self.store.inflater()?;
        match inflater.begin(&known) {
            Ok(()) => Ok(Source::Stream {
                inflater,
                buffer: Vec::new(),
                taken: Vec::new().into_iter(),
            }),
            Err(what) => Err(self.damaged(0, what)),
        }
    }

    /// Up to and including version `seq`, letting go of the compressed data on the way. Gives the buffer that the
    /// state's texts lie in, if it is one.
    pub(crate) fn run(
        store: &Store,
        key: &str,
        mut segment: Segment,
        state: &mut State,
        seq: u64,
    ) -> Result<Option<Bytes>> {
        let replay = Replay::new(store, key, &segment);
        let last = replay.group(seq)?;
        let in_parts = !replay.at_once(last);
        let payloads = if in_parts {
            segment.take_payloads(last)
        } else {
            Vec::new()
        };
        let replay = Replay::new(store, key, &segment);
        let mut source = replay.source(state, last)?;
        let home = match &mut source {
            Source::Whole(ops) => Some(ops.clone()),
            Source::Stream { taken, .. } => {
                *taken = payloads.into_iter();
                None
            }
        };
        let done = replay.play(source, state, last, &mut |meta, _, state, result| {
            result?;
            if meta.seq == seq {
                replay.check(meta, state).map(|()| false)
            } else {
                Ok(true)
            }
        });
        done.map(|()| home)
    }

    /// Whether all operations up to a group are better decompressed in one go.
    fn at_once(&self, last: usize) -> bool {
        let metas = self.segment.groups.get(last).map(|group| &group.versions);
        let size = metas.and_then(|metas| metas.last()).map_or(0, |m| m.size);
        let size = size.min(self.store.options.max_state);
        self.segment.format == 1 || self.segment.ops_len(last) <= size.saturating_add(AT_ONCE)
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
        let source = self.source(state, last)?;
        self.play(source, state, last, visit)
    }

    fn play(
        &self,
        mut source: Source,
        state: &mut State,
        last: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let done = self.play_groups(&mut source, state, last, visit);
        if let Source::Stream { inflater, .. } = source {
            self.store.keep_inflater(inflater);
        }
        done
    }

    fn play_groups(
        &self,
        source: &mut Source,
        state: &mut State,
        last: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let fetch = self.store.fetcher();
        for (index, group) in self.segment.groups.iter().enumerate().take(last + 1) {
            let plain = source
                .next(group)
                .map_err(|what| self.damaged(index, what))?;
            let mut at = 0;
            for meta in &group.versions {
                let end = at + meta.ops as usize;
                let reader = match &plain {
                    Plain::Shared(ops) => {
                        let part = ops.slice_ref(&ops[at..end]);
                        self.apply_shared(state, &part, meta, &fetch)
                    }
                    Plain::Lent(ops) => {
                        let reader = OpReader::copying(self.key, &ops[at..end], &meta.blocks);
                        self.apply(state, reader, &fetch)
                    }
                };
                let applied = reader.map_err(|error| self.as_damage(index, error));
                let ops = &plain.bytes()[at..end];
                at = end;
                if !visit(meta, ops, state, applied)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Operations that were fine when they were written do not fit any more.
    fn as_damage(&self, group: usize, error: Error) -> Error {
        match error {
            Error::InvalidOperation { what, .. } | Error::InvalidJson { what, .. } => {
                self.damaged(group, what)
            }
            Error::NotFound { what: "path", .. } => {
                self.damaged(group, "an operation's path is missing")
            }
            other => other,
        }
    }

    fn apply_shared(
        &self,
        state: &mut State,
        ops: &Bytes,
        meta: &Meta,
        fetch: &Fetcher<'_>,
    ) -> Result<()> {
        self.apply(state, OpReader::new(self.key, ops, &meta.blocks), fetch)
    }

    fn apply(
        &self,
        state: &mut State,
        mut reader: OpReader<'_>,
        fetch: &Fetcher<'_>,
    ) -> Result<()> {
        while let Some(op) = reader.next()? {
            state.apply(op, fetch, self.store.options.max_state)?;
        }
        Ok(())
    }
}

/// Where operations come from.
#[derive(Debug)]
enum Source {
    /// All of them; texts share the bytes.
    Whole(Bytes),
    /// One group after the other, in a buffer that is used again.
    Stream {
        inflater: Inflater,
        buffer: Vec<u8>,
        /// Payloads that were taken out of their groups.
        taken: std::vec::IntoIter<Bytes>,
    },
}

/// The operations of one group.
#[derive(Debug)]
enum Plain<'a> {
    Shared(Bytes),
    Lent(&'a [u8]),
}

impl Plain<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Lent(bytes) => bytes,
        }
    }
}

impl Source {
    fn next(&mut self, group: &Group) -> Result<Plain<'_>, &'static str> {
        let lengths = group.versions.iter().map(|meta| meta.ops);
        let len = lengths.fold(0, u64::saturating_add) as usize;
        match self {
            Self::Whole(rest) if len <= rest.len() => Ok(Plain::Shared(rest.split_to(len))),
            Self::Whole(_) => Err("a length points past the end"),
            Self::Stream {
                inflater,
                buffer,
                taken,
            } => {
                let header = group.block.as_ref().map_or(&[][..], |header| header);
                let own = taken.next();
                let payload = own.as_ref().unwrap_or(&group.payload);
                inflater.next([header, payload], len, group.ends_frame, buffer)?;
                drop(own);
                if len < SHARED || group.versions.len() > 1 {
                    return Ok(Plain::Lent(buffer));
                }
                // Large values are taken over rather than copied. A group of many versions is not: what one of them
                // leaves would keep the others' bytes, too.
                Ok(Plain::Shared(std::mem::take(buffer).into()))
            }
        }
    }
}
