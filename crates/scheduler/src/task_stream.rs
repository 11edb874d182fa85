//! Many tasks, taken from an iterator as there is room for them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::driver::{BoxedWork, Driver};
use crate::task::{Halt, Plain, Reply};
use crate::{Error, Submission, TaskId};

/// Tasks that wait beyond those that may run: enough that workers go on from one to the next, instead of ending
/// and being started again.
const AHEAD: usize = 128;

/// Which of the stream's places a task has, its position, and its result.
type Answered<T> = (usize, usize, Result<T, Error>);

/// Where the results of a stream's tasks go.
struct Answer<T> {
    place: usize,
    position: usize,
    sender: mpsc::UnboundedSender<Answered<T>>,
}

impl<T: Send> Reply<T> for Answer<T> {
    fn send(self, result: Result<T, Error>) {
        // The stream may be gone.
        let _ = self.sender.send((self.place, self.position, result));
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
    sender: mpsc::UnboundedSender<Answered<T>>,
    receiver: mpsc::UnboundedReceiver<Answered<T>>,
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
            .with_machine(|machine| machine.limit())
            .saturating_add(AHEAD);
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            driver,
            tasks: Some(tasks),
            taken: 0,
            places: vec![None; window],
            free: (0..window).collect(),
            sender,
            receiver,
        }
    }

    /// The next result, in the order in which tasks end; `None` after the last.
    pub async fn next(&mut self) -> Option<(usize, Result<T, Error>)> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Fills the free places, under one lock for all of them.
    fn refill(&mut self) {
        let Some(tasks) = &mut self.tasks else { return };
        // The caller's iterator runs before anything is locked.
        let mut batch: Vec<(Submission, BoxedWork)> = Vec::with_capacity(self.free.len());
        let mut taken = Vec::with_capacity(self.free.len());
        while let Some(&place) = self.free.last() {
            let Some((submission, future)) = tasks.next() else {
                self.tasks = None;
                break;
            };
            self.free.pop();
            taken.push(place);
            let answer = Answer {
                place,
                position: self.taken,
                sender: self.sender.clone(),
            };
            batch.push((submission, Box::pin(Plain::new(future, answer))));
            self.taken += 1;
        }
        for (place, result) in taken.into_iter().zip(self.driver.submit(batch)) {
            match result {
                Ok(id) => self.places[place] = Some(id),
                Err((error, mut work)) => {
                    work.as_mut().halt(Halt::Refused(error));
                    work.as_mut().deliver();
                }
            }
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
        // Not one by one: half of the places, so that what waits keeps the slots busy meanwhile.
        if self.free.len() * 2 >= self.places.len() {
            self.refill();
        }
        if self.unfinished() == 0 {
            return Poll::Ready(None);
        }
        let answer = ready!(self.receiver.poll_recv(cx));
        Poll::Ready(answer.map(|(place, position, result)| {
            self.places[place] = None;
            self.free.push(place);
            (position, result)
        }))
    }
}

impl<I, T> Drop for TaskStream<I, T> {
    fn drop(&mut self) {
        let ids: Vec<TaskId> = self.places.iter().flatten().copied().collect();
        if !ids.is_empty() {
            self.driver.cancel(&ids);
        }
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
