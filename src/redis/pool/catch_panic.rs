//! Turns a panic of a pool's task into an error, so that the task can go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The future panicked. The panic hook has logged the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked")]
pub(in crate::redis) struct PanicError;

/// Runs `work` and returns its result, or an error if it panics. A future that panicked is dropped
/// and not polled again, so its drop must leave its state consistent, as after any cancellation.
pub(in crate::redis) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, PanicError> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(PanicError)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_result() {
        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
        let broken = async {
            tokio::task::yield_now().await;
            panic!("this is the panic that the test is about")
        };
        assert_eq!(catch_panic::<u8>(broken).await, Err(PanicError));
    }
}
