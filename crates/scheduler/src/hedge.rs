//! A second request when the first is late.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Starts `make(1)`; whenever `after` passes without a result, or a request fails, starts the next one, up to `most`
/// in all. The first success wins and the others are dropped; the last error is returned when all failed.
///
/// For safe reads only: a request may run more than once. Under an `after` near the 95th percentile of the latency it
/// costs some 5 % more requests (Dean, Barroso, "The Tail at Scale", 2013).
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let answer = mainspring_scheduler::hedge(Duration::from_millis(50), 2, |attempt| async move {
///     let slow = if attempt == 1 { 5_000 } else { 10 };
///     tokio::time::sleep(Duration::from_millis(slow)).await;
///     Ok::<_, ()>(attempt)
/// });
/// assert_eq!(answer.await, Ok(2));
/// # }
/// ```
///
/// # Errors
/// The error of the request that failed last.
///
/// # Panics
/// Outside a tokio runtime with time, as every tokio timer.
pub async fn hedge<T, E, F, Fut>(after: Duration, most: u32, mut make: F) -> Result<T, E>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut started = 1;
    let mut requests = vec![Box::pin(make(1))];
    let mut late = pin!(tokio::time::sleep(after));
    poll_fn(|cx| {
        loop {
            let mut failure = None;
            let mut index = 0;
            while index < requests.len() {
                match requests[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(result)) => return Poll::Ready(Ok(result)),
                    Poll::Ready(Err(error)) => {
                        failure = Some(error);
                        drop(requests.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            let more = started < most;
            match failure {
                Some(error) if requests.is_empty() && !more => return Poll::Ready(Err(error)),
                Some(_) if more => {}
                _ if !more || late.as_mut().poll(cx).is_pending() => return Poll::Pending,
                _ => {}
            }
            started += 1;
            requests.push(Box::pin(make(started)));
            late.set(tokio::time::sleep(after));
        }
    })
    .await
}
