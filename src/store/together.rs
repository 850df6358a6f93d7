//! Runs futures concurrently, at most a given number at a time.

use std::pin::Pin;
use std::task::Poll;

use crate::limits::STORE_TOGETHER_MAX;

/// Runs all futures, at most [`STORE_TOGETHER_MAX`] at a time, which leaves room in the
/// connections' windows for other commands. Returns the outputs in the order of the futures.
///
/// Cancel safe if each future is.
pub(in crate::store) async fn together<T>(
    mut futures: impl Iterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let mut outputs: Vec<Option<T>> = Vec::new();
    let mut pending = Vec::new();
    std::future::poll_fn(|cx| {
        loop {
            while pending.len() < STORE_TOGETHER_MAX
                && let Some(future) = futures.next()
            {
                pending.push((outputs.len(), Box::pin(future)));
                outputs.push(None);
            }
            let before = pending.len();
            pending.retain_mut(|(number, future)| match Pin::new(future).poll(cx) {
                Poll::Ready(output) => {
                    if let Some(slot) = outputs.get_mut(*number) {
                        *slot = Some(output);
                    }
                    false
                }
                Poll::Pending => true,
            });
            if pending.is_empty() && before == 0 {
                return Poll::Ready(());
            }
            if pending.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn outputs_keep_the_order_of_the_futures() {
        let future = |turns: usize| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            turns
        };
        assert_eq!(together([3, 0, 2].map(future).into_iter()).await, [3, 0, 2]);
        assert_eq!(together(std::iter::empty::<std::future::Ready<u8>>()).await, [0; 0]);
    }

    #[tokio::test]
    async fn at_most_the_limit_runs_at_a_time() {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        let future = async |number: usize| {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            number
        };
        let outputs = together((0..100).map(&future)).await;
        assert_eq!(outputs, (0..100).collect::<Vec<_>>());
        assert_eq!(most.get(), STORE_TOGETHER_MAX);
    }
}
