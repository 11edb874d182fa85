//! Many tasks, taken from an iterator as there is room for them.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::driver::{BoxedWork, Driver, refuse};
use crate::sync::{Mutex, MutexGuard};
use crate::task::{Plain, Reply};
use crate::{Error, Stop, Submission, TaskId};

/// Of a limit that stands for none, a stream makes use of so much.
const MOST: usize = 1 << 16;
/// Tasks that wait beyond those that may run: enough that workers go on from one to the next, instead of ending
/// and being started again.
const AHEAD: usize = 128;

/// Which of the stream's places a task has, its position, and its result.
type Answered<T> = (usize, usize, Result<T, Error>);

/// Where the results of a stream's tasks wait for it. The stream takes all of them at once: a channel would ask for
/// several atomic steps per result.
struct Board<T> {
    state: Mutex<Posted<T>>,
}

struct Posted<T> {
    answers: VecDeque<Answered<T>>,
    waker: Option<Waker>,
    /// The stream is gone: what comes is dropped by who brings it.
    closed: bool,
}

impl<T> Board<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Posted {
                answers: VecDeque::new(),
                waker: None,
                closed: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Posted<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn post(&self, answer: Answered<T>) {
        let mut posted = self.lock();
        if posted.closed {
            // The result is somebody else's code to drop, so not under the lock.
            drop(posted);
            return;
        }
        posted.answers.push_back(answer);
        let waker = posted.waker.take();
        drop(posted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Exchanges what was posted for `empty`, or promises to wake `cx` when there is something.
    fn take(&self, empty: &mut VecDeque<Answered<T>>, cx: &Context<'_>) -> Poll<()> {
        let mut posted = self.lock();
        if posted.answers.is_empty() {
            posted.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut posted.answers, empty);
        Poll::Ready(())
    }

    /// What was posted and nobody took, to be dropped outside the lock.
    fn close(&self) -> (VecDeque<Answered<T>>, Option<Waker>) {
        let mut posted = self.lock();
        posted.closed = true;
        (std::mem::take(&mut posted.answers), posted.waker.take())
    }
}

/// Brings one task's result to the board: dropped without one, that it will not come.
struct Answer<T> {
    place: usize,
    position: usize,
    /// Nothing once it is brought.
    board: Option<Arc<Board<T>>>,
}

impl<T: Send> Reply<T> for Answer<T> {
    fn send(mut self, result: Result<T, Error>) {
        if let Some(board) = self.board.take() {
            board.post((self.place, self.position, result));
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(board) = self.board.take() {
            let vanished = Err(Error::Stopped(Stop::Closed));
            board.post((self.place, self.position, vanished));
        }
    }
}

/// The results of [`Scheduler::submit_each`](crate::Scheduler::submit_each) as tasks end, each with its task's
/// position. Dropping it cancels what is not over.
pub struct TaskStream<I, T> {
    driver: Arc<Driver>,
    tasks: Option<I>,
    taken: usize,
    /// Of the tasks that are submitted; nothing at a free place.
    places: Vec<Option<TaskId>>,
    free: Vec<usize>,
    board: Arc<Board<T>>,
    /// Taken from the board.
    answers: VecDeque<Answered<T>>,
    /// Given out since it last waited.
    in_a_row: usize,
    /// Of the batch that is being filled, kept for the next.
    batch: Batch,
}

/// Tasks on their way in, and the places they will have.
#[derive(Default)]
struct Batch {
    places: Vec<usize>,
    submissions: Vec<Submission>,
    works: Vec<BoxedWork>,
}

impl<I, T> Unpin for TaskStream<I, T> {}

impl<I, F, T> TaskStream<I, T>
where
    I: Iterator<Item = (Submission, F)>,
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    pub(crate) fn new(driver: Arc<Driver>, tasks: I) -> Self {
        let window = driver
            .with_machine(|machine| machine.highest_limit())
            .min(MOST)
            .saturating_add(AHEAD);
        Self {
            driver,
            tasks: Some(tasks),
            taken: 0,
            places: vec![None; window],
            free: (0..window).collect(),
            board: Board::new(),
            answers: VecDeque::new(),
            in_a_row: 0,
            batch: Batch::default(),
        }
    }

    /// The next result, in the order in which tasks end; `None` after the last.
    pub async fn next(&mut self) -> Option<(usize, Result<T, Error>)> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Fills the free places, under one lock for all of them.
    fn refill(&mut self) {
        let Some(tasks) = &mut self.tasks else { return };
        let Batch {
            places,
            submissions,
            works,
        } = &mut self.batch;
        // The caller's iterator runs before anything is locked. Should it panic, what it gave stays in the batch.
        while let Some(&place) = self.free.last() {
            let Some((submission, future)) = tasks.next() else {
                self.tasks = None;
                break;
            };
            self.free.pop();
            let answer = Answer {
                place,
                position: self.taken,
                board: Some(self.board.clone()),
            };
            places.push(place);
            submissions.push(submission);
            works.push(Box::pin(Plain::new(future, answer)));
            self.taken += 1;
        }
        let ids = &mut self.places;
        let refused = self.driver.submit(submissions, works, |position, id| {
            ids[places[position]] = Some(id);
        });
        places.clear();
        for (_, error, work) in refused {
            refuse(work, error);
        }
    }

    fn unfinished(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl<I, F, T> Stream for TaskStream<I, T>
where
    I: Iterator<Item = (Submission, F)>,
    F: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    type Item = (usize, Result<T, Error>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Not one by one, but while enough wait to keep the slots busy; and what a panic left in the batch.
        if self.free.len() >= AHEAD / 2 || !self.batch.works.is_empty() {
            self.refill();
        }
        if self.unfinished() == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        if this.answers.is_empty() {
            if this.in_a_row >= AHEAD {
                // Others want the thread too.
                this.in_a_row = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.board.take(&mut this.answers, cx).is_pending() {
                this.in_a_row = 0;
                return Poll::Pending;
            }
        }
        this.in_a_row += 1;
        let Some((place, position, result)) = this.answers.pop_front() else {
            return Poll::Pending;
        };
        this.places[place] = None;
        this.free.push(place);
        Poll::Ready(Some((position, result)))
    }
}

impl<I, T> Drop for TaskStream<I, T> {
    fn drop(&mut self) {
        let ids: Vec<TaskId> = self.places.iter().flatten().copied().collect();
        if !ids.is_empty() {
            self.driver.cancel(&ids);
        }
        drop(self.board.close());
    }
}

impl<I, T> fmt::Debug for TaskStream<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStream")
            .field("taken", &self.taken)
            .field("unfinished", &(self.places.len() - self.free.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_vanishes_is_answered() {
        let board = Board::<u8>::new();
        let answer = |position| Answer {
            place: 3,
            position,
            board: Some(board.clone()),
        };
        answer(0).send(Ok(7));
        drop(answer(1));
        let mut answers = VecDeque::new();
        let taken = board.take(&mut answers, &Context::from_waker(Waker::noop()));
        assert!(taken.is_ready());
        assert_eq!(
            answers,
            [(3, 0, Ok(7)), (3, 1, Err(Error::Stopped(Stop::Closed)))]
        );
    }
}
