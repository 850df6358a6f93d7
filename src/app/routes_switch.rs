//! The routes of a running process, and the switch of all workers to new ones.
//!
//! The main thread publishes the routes of a generation. Each worker makes its own rules of them,
//! and reports the generation that its new requests use. No request waits for the switch. A request
//! keeps its rules until it ends, and the generation is part of the key of a shared fetch.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits::ROUTES_SWITCH_TIMEOUT;
use crate::proxy::Proxy;
use crate::routes::RouteTable;

/// The routes that all workers use.
#[derive(Clone)]
pub(super) struct RoutesSwitch {
    published: watch::Sender<RoutesGeneration>,
    /// The generation of each worker.
    used: watch::Sender<Vec<u64>>,
    /// The largest body that the tiers have room for.
    body_bytes_max: usize,
}

/// The routes of one generation. The first is that of the start.
#[derive(Clone)]
struct RoutesGeneration {
    number: u64,
    routes: Option<Arc<RouteTable>>,
}

/// The reason why routes cannot replace those in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RoutesSwitchError {
    /// A route stores larger bodies than the tiers of this process take.
    #[error(
        "a route's max_body exceeds every max_body and cache_max_body of the start, which needs a restart"
    )]
    LargerBody,
}

impl RoutesSwitch {
    /// Creates the switch of a process that starts with these routes. Its tiers have room for
    /// bodies of `body_bytes_max`.
    pub(super) fn new(routes: Option<Arc<RouteTable>>, workers: usize, body_bytes_max: usize) -> Self {
        let published = watch::Sender::new(RoutesGeneration { number: 0, routes });
        Self { published, used: watch::Sender::new(vec![0; workers]), body_bytes_max }
    }

    /// Checks whether these routes may replace those in use.
    pub(super) fn check(&self, routes: Option<&RouteTable>) -> Result<(), RoutesSwitchError> {
        if RouteTable::largest_body(routes, 0) > self.body_bytes_max {
            return Err(RoutesSwitchError::LargerBody);
        }
        Ok(())
    }

    /// Returns whether the process has routes, or would get some.
    pub(super) fn concerns(&self, routes: Option<&RouteTable>) -> bool {
        routes.is_some() || self.published.borrow().routes.is_some()
    }

    /// Publishes routes, and waits until the new requests of every worker use them, for a bounded
    /// time: a worker that is busy for longer switches later.
    pub(super) async fn publish(&self, routes: Option<Arc<RouteTable>>) {
        let mut number = 0;
        self.published.send_modify(|published| {
            number = published.number + 1;
            *published = RoutesGeneration { number, routes };
        });
        let mut used = self.used.subscribe();
        let all = used.wait_for(|used| used.iter().all(|used| *used >= number));
        drop(timeout(ROUTES_SWITCH_TIMEOUT, all).await);
    }

    /// Switches the worker with this number to each new generation, for the life of the worker.
    pub(super) async fn follow(self, worker: usize, proxy: Rc<Proxy>) {
        let mut published = self.published.subscribe();
        // Routes that were published since the worker was made are new to it.
        published.mark_changed();
        while published.changed().await.is_ok() {
            let RoutesGeneration { number, routes } = published.borrow_and_update().clone();
            if number > 0 {
                proxy.use_routes(routes, number);
            }
            self.used
                .send_modify(|used| used.iter_mut().skip(worker).take(1).for_each(|used| *used = number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(max_body: &str) -> Option<Arc<RouteTable>> {
        let text = format!("[[route]]\nname = 'a'\npath = '/a'\nmax_body = '{max_body}'\n");
        RouteTable::parse(text.as_bytes()).ok().map(Arc::new)
    }

    #[test]
    fn routes_that_need_larger_tiers_are_refused() {
        let switch = RoutesSwitch::new(None, 1, 1024);
        assert_eq!(switch.check(routes("1KiB").as_deref()), Ok(()));
        assert_eq!(switch.check(routes("1025B").as_deref()), Err(RoutesSwitchError::LargerBody));
        assert_eq!(switch.check(None), Ok(()));
        assert!(!switch.concerns(None) && switch.concerns(routes("1KiB").as_deref()));
    }
}
