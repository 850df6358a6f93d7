//! Concurrent futures in a bounded number.

use std::pin::Pin;
use std::task::Poll;

use crate::limits::STORE_TOGETHER_MAX;

/// Runs all futures, at most [`STORE_TOGETHER_MAX`] at a time, which leaves room in the
/// connections' windows for other commands. Returns the outputs in the order of the futures.
///
/// Cancel safe if each future is.
pub(in crate::store) async fn together<T>(
    mut questions: impl Iterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let mut answers: Vec<Option<T>> = Vec::new();
    let mut waiting = Vec::new();
    std::future::poll_fn(|cx| {
        loop {
            while waiting.len() < STORE_TOGETHER_MAX
                && let Some(question) = questions.next()
            {
                waiting.push((answers.len(), Box::pin(question)));
                answers.push(None);
            }
            let before = waiting.len();
            waiting.retain_mut(|(number, question)| match Pin::new(question).poll(cx) {
                Poll::Ready(answer) => {
                    if let Some(place) = answers.get_mut(*number) {
                        *place = Some(answer);
                    }
                    false
                }
                Poll::Pending => true,
            });
            if waiting.is_empty() && before == 0 {
                return Poll::Ready(());
            }
            if waiting.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_questions() {
        let question = |turns: usize| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            turns
        };
        assert_eq!(together([3, 0, 2].map(question).into_iter()).await, [3, 0, 2]);
        assert_eq!(together(std::iter::empty::<std::future::Ready<u8>>()).await, [0; 0]);
    }

    #[tokio::test]
    async fn no_more_than_so_many_at_a_time() {
        let (under_way, most) = (Cell::new(0), Cell::new(0));
        let question = async |number: usize| {
            under_way.set(under_way.get() + 1);
            most.set(most.get().max(under_way.get()));
            tokio::task::yield_now().await;
            under_way.set(under_way.get() - 1);
            number
        };
        let answers = together((0..100).map(&question)).await;
        assert_eq!(answers, (0..100).collect::<Vec<_>>());
        assert_eq!(most.get(), STORE_TOGETHER_MAX);
    }
}
