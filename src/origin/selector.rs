//! A worker's view of the origin's addresses: chooses one for each request, and records, counts and
//! logs their failures.
//!
//! The log has one line when an address is ejected and one when it is used again, for all workers
//! together, because the workers share the addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::address::OriginAddress;
use super::address_book::AddressBook;
use super::addresses::OriginAddresses;
use super::ejection::{AddressFailure, AddressState};
use super::metrics::Metrics;
use super::signs::Resource;
use crate::label::Label;
use crate::origin::error::FetchError;
use crate::origin::options::Options;
use crate::origin::outages::{OutageLog, Seconds};

/// Chooses between the addresses of the origin, for one worker.
pub(super) struct AddressSelector {
    /// Name of the origin, for the log.
    origin: String,
    host: String,
    port: u16,
    /// Whether the host is an address itself.
    is_literal: bool,
    /// Unix socket, whose address only counts.
    socket: Option<PathBuf>,
    addresses: OriginAddresses,
    outages: OutageLog,
    metrics: Rc<Metrics>,
}

impl AddressSelector {
    pub(super) fn new(options: &Options, (host, port): (String, u16), metrics: Rc<Metrics>) -> Self {
        Self {
            origin: options.authority.as_str().to_owned(),
            is_literal: host.parse::<IpAddr>().is_ok() || options.socket.is_some(),
            socket: options.socket.clone(),
            host,
            port,
            addresses: options.addresses.clone(),
            outages: options.outages.clone(),
            metrics,
        }
    }

    /// Chooses an address, if any is known; another one than `avoided`, if there is one.
    pub(super) fn choose(
        &self,
        avoided: Option<&Arc<OriginAddress>>,
        has_idle: impl Fn(&Arc<OriginAddress>) -> bool,
    ) -> Option<Arc<OriginAddress>> {
        self.addresses.book().choose(avoided, has_idle, |below| fastrand::usize(..below))
    }

    /// Returns the addresses that a dial tries, beginning with `chosen`. Resolves the name first if
    /// the last answer is old.
    pub(super) async fn attempts(
        &self,
        chosen: Option<&Arc<OriginAddress>>,
        deadline: Instant,
    ) -> Result<Vec<Arc<OriginAddress>>, FetchError> {
        let now = Instant::now();
        let (is_outdated, is_any_known) = {
            let book = self.addresses.book();
            (book.is_outdated(now), book.is_any_known())
        };
        if is_outdated {
            // Known addresses may still answer, so a slow resolver leaves them half of the time.
            let wait = deadline.saturating_duration_since(now);
            let resolved = self.resolve(now + if is_any_known { wait / 2 } else { wait }).await;
            if !is_any_known {
                resolved?;
            }
        }
        let chosen = chosen.filter(|_| !is_outdated).cloned();
        let book = self.addresses.book();
        let first = chosen.or_else(|| book.choose(None, |_| false, |below| fastrand::usize(..below)));
        Ok(first.map(|first| book.attempts(&first)).unwrap_or_default())
    }

    /// Returns whether the name is to be resolved in the background now.
    pub(super) fn begin_refresh(&self) -> bool {
        !self.is_literal && self.addresses.book().begin_refresh(Instant::now())
    }

    /// Resolves the name, and keeps the known addresses if that fails.
    pub(super) async fn resolve(&self, deadline: Instant) -> Result<(), FetchError> {
        let answer = timeout_at(deadline, self.addresses.resolve(&self.host, self.port)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| FetchError::Resolve(Arc::new(error))),
            Err(_) => Err(FetchError::ConnectTimeout),
        };
        let now = Instant::now();
        match answer {
            Ok(answer) => {
                let is_again = self.change(|book| book.record_answer(&answer, now));
                let addresses: Vec<SocketAddr> = self.addresses.book().listed();
                if self.socket.is_none() {
                    self.outages.resolved(&addresses);
                }
                if is_again {
                    tracing::info!(origin = self.origin, "the origin's name resolves again");
                }
                Ok(())
            }
            Err(cause) => {
                let mut book = self.addresses.book();
                // Without a known address the exchange fails, and the log of outages has the cause.
                if book.is_any_known() && book.record_unresolved(now) {
                    drop(book);
                    tracing::warn!(
                        origin = self.origin,
                        %cause,
                        "the origin's name does not resolve; using its known addresses"
                    );
                }
                Err(cause)
            }
        }
    }

    /// Returns an ejected address to try.
    pub(super) fn take_probe(&self) -> Option<Arc<OriginAddress>> {
        self.addresses.book().take_probe(Instant::now())
    }

    pub(super) fn record_failed_probe(&self, address: &Arc<OriginAddress>) {
        self.addresses.book().record_failed_probe(address, Instant::now(), fastrand::f64());
    }

    pub(super) fn record_connected(&self, address: &Arc<OriginAddress>) {
        if address.is_suspect() {
            self.addresses.book().record_connected(address);
        }
    }

    /// Records a response of this address.
    pub(super) fn record_response(&self, address: &Arc<OriginAddress>) {
        if !address.is_suspect() {
            return;
        }
        let ended = self.change(|book| book.record_response(address, Instant::now()));
        if let Some(after) = ended {
            let (origin, address) = (&self.origin, address.socket_addr());
            tracing::info!(origin, %address, after = %Seconds(after), "the origin's address is used again");
        }
    }

    /// Records a failure of this address, of a request for `resource` if it is not that of a
    /// connect.
    pub(super) fn record_failure(
        &self,
        address: &Arc<OriginAddress>,
        failure: AddressFailure,
        resource: Option<Resource>,
    ) {
        self.metrics.record_address_failure(failure);
        let now = Instant::now();
        let ejected = self.change(|book| book.record_failure(address, resource, now, fastrand::f64()));
        if let Some(pause) = ejected {
            let (origin, address, failure) = (&self.origin, address.socket_addr(), failure.word());
            tracing::warn!(
                origin,
                %address,
                failure,
                pause = %Seconds(pause),
                "the origin's address is ejected after repeated failures; using its other addresses"
            );
        }
    }

    /// Changes the addresses, and the gauge with them.
    fn change<T>(&self, change: impl FnOnce(&mut AddressBook) -> T) -> T {
        let mut book = self.addresses.book();
        let before = AddressState::ALL.iter().map(|state| book.count(*state)).collect::<Vec<_>>();
        let outcome = change(&mut book);
        for (state, before) in AddressState::ALL.iter().zip(before) {
            let difference =
                i64::try_from(book.count(*state)).unwrap_or(0) - i64::try_from(before).unwrap_or(0);
            self.metrics.add_addresses(*state, difference);
        }
        outcome
    }
}
