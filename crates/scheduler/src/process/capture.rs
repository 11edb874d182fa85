//! A child's output, bounded: what came first and what came last.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::process;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{ChildStderr, ChildStdout};

/// Bytes read at once.
const PIECE: usize = 8 << 10;
/// Read at most when a child is over: what a pipe of the largest ordinary size holds.
const LEFT_OVER: usize = 1 << 20;

/// The start and the end of an output; what was between them is counted and gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, as far as they are not in `head`.
    pub tail: Vec<u8>,
    /// How many bytes between the two were left out.
    pub omitted: u64,
}

impl Captured {
    /// All of it as text, with a line where something was left out; what is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn to_text(&self) -> String {
        if self.omitted == 0 {
            // A character may lie across the two.
            let all = [self.head.as_slice(), &self.tail].concat();
            return String::from_utf8_lossy(&all).into_owned();
        }
        format!(
            "{}\n[{} bytes left out]\n{}",
            String::from_utf8_lossy(&self.head),
            self.omitted,
            String::from_utf8_lossy(&self.tail)
        )
    }
}

/// Keeps one half from the start and one from the end.
struct Keep {
    head: Vec<u8>,
    most_head: usize,
    tail: VecDeque<u8>,
    most_tail: usize,
    omitted: u64,
}

impl Keep {
    fn new(most: usize) -> Self {
        Self {
            head: Vec::new(),
            most_head: most.div_ceil(2),
            tail: VecDeque::new(),
            most_tail: most / 2,
            omitted: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = self.most_head - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        let kept = &rest[rest.len().saturating_sub(self.most_tail)..];
        let leave = (self.tail.len() + kept.len()).saturating_sub(self.most_tail);
        self.tail.drain(..leave);
        self.tail.extend(kept);
        self.omitted += (rest.len() - kept.len() + leave) as u64;
    }
}

trait Source: AsyncRead + AsFd + Send + Unpin {}
impl<S: AsyncRead + AsFd + Send + Unpin> Source for S {}

/// One output of a child.
pub(super) struct Pipe {
    source: Option<Box<dyn Source>>,
    keep: Keep,
}

impl Pipe {
    pub(super) fn stdout(pipe: Option<process::ChildStdout>, most: usize) -> io::Result<Self> {
        Ok(Self::new(
            pipe.map(ChildStdout::from_std).transpose()?,
            most,
        ))
    }

    pub(super) fn stderr(pipe: Option<process::ChildStderr>, most: usize) -> io::Result<Self> {
        Ok(Self::new(
            pipe.map(ChildStderr::from_std).transpose()?,
            most,
        ))
    }

    fn new(source: Option<impl Source + 'static>, most: usize) -> Self {
        Self {
            source: source.map(|source| Box::new(source) as Box<dyn Source>),
            keep: Keep::new(most),
        }
    }

    /// Reads what is there, until the runtime says that others want the thread too.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let mut piece = [0; PIECE];
        while let Some(source) = &mut self.source {
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(source).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.keep.push(piece.filled());
                }
                Poll::Ready(_) => self.source = None,
            }
        }
    }

    /// Reads what the pipe still holds, past what the runtime knows about it, and closes it. Somebody who left the
    /// group may hold the other end for ever: nobody waits for that.
    pub(super) fn finish(&mut self) {
        let Some(source) = self.source.take() else {
            return;
        };
        let mut left = LEFT_OVER;
        while left > 0 {
            let Some(bytes) = self.read(source.as_fd()) else {
                return;
            };
            left = left.saturating_sub(bytes);
        }
    }

    /// How many bytes were there; `None` when there are no more.
    fn read(&mut self, source: BorrowedFd<'_>) -> Option<usize> {
        let mut piece = [0; PIECE];
        let bytes = rustix::io::retry_on_intr(|| rustix::io::read(source, &mut piece)).ok()?;
        self.keep.push(&piece[..bytes]);
        (bytes > 0).then_some(bytes)
    }

    pub(super) fn take(self) -> Captured {
        Captured {
            head: self.keep.head,
            tail: self.keep.tail.into(),
            omitted: self.keep.omitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An end may be heard of before the last output is.
    #[tokio::test]
    async fn what_the_runtime_does_not_know_of_yet_is_read_at_the_end() {
        let command = process::Command::new("echo")
            .arg("last words")
            .stdout(process::Stdio::piped())
            .spawn();
        let mut child = command.unwrap();
        child.wait().unwrap();
        let mut pipe = Pipe::stdout(child.stdout.take(), 100).unwrap();
        pipe.poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(pipe.keep.head.is_empty());
        pipe.finish();
        assert_eq!(pipe.take().to_text(), "last words\n");
    }
}
