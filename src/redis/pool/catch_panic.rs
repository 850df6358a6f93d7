//! What goes on for as long as the pool is open has to outlive its own mistakes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The work has panicked. The panic hook has said where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked")]
pub(in crate::redis) struct PanicError;

/// What `work` comes to; or, if it panics, that it has. It is dropped then, and not polled again: what it holds has to
/// be in order when it is dropped in the middle, as with any future.
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
