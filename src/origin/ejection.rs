//! Ejection of one address of the origin that fails, and its return. Pure.
//!
//! ```text
//!          FAILURES in a row           the pause is over, and a connect succeeds
//!   InUse ──────────────────► Ejected ─────────────────────────────────────────► OnTrial
//!     ▲                          ▲                                                │  │
//!     │                          └─────────── it failed, the pause doubles ───────┘  │
//!     └───────────────────────────────── it responded ───────────────────────────────┘
//! ```
//!
//! A failed connect counts always. A request without a response, or a late one, can be the fault of
//! its resource, so each resource counts once. Any response of the address ends the count. The last
//! address in use is never ejected. The pause doubles if an address fails again soon after its
//! return. The connect after a pause carries no request, so a dead address costs none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::address::OriginAddress;
use super::signs::Resource;
use crate::labels;
use crate::limits::{
    ORIGIN_ADDRESS_FAILURES, ORIGIN_EJECTION_MAX, ORIGIN_EJECTION_MIN, ORIGIN_EJECTION_REMEMBERED,
};

labels! {
    /// Failure that counts against one address of the origin.
    pub(super) enum AddressFailure {
        /// The connect was refused or broke.
        Connect => "connect",
        /// The connect took too long, or so much longer than that to another address.
        ConnectTimeout => "connect-timeout",
        /// The TLS handshake failed.
        Tls => "tls",
        /// A new connection closed without a response.
        Unanswered => "unanswered",
        /// The response did not begin in time.
        HeadTimeout => "head-timeout",
    }
}

labels! {
    /// State of an address, for operators.
    pub(super) enum AddressState {
        /// Requests use it.
        InUse => "in-use",
        /// It has failed, and requests use the others.
        Ejected => "ejected",
    }
}

/// Address with its state.
#[derive(Debug)]
pub(super) struct KnownAddress {
    pub(super) address: Arc<OriginAddress>,
    /// Time since which the answers lack it.
    pub(super) missing_since: Option<Instant>,
    pub(super) status: AddressStatus,
    failures: AddressFailures,
    /// Last pause of an ejection.
    pub(super) pause: Duration,
    /// Time of the last return.
    returned: Option<Instant>,
}

/// State of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressStatus {
    /// Requests use it.
    InUse,
    /// It has failed, and requests use the others.
    Ejected { since: Instant, until: Instant },
    /// It accepts connections again, and gets one request at a time.
    OnTrial { since: Instant },
}

/// State of the other addresses of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherAddresses {
    /// Requests use at least one of them.
    InUse,
    /// Requests use none of them.
    None,
}

/// Failures without a response between them.
#[derive(Clone, Copy, Debug, Default)]
struct AddressFailures {
    count: u32,
    /// Resources of the failures that are not connects.
    resources: [Option<Resource>; ORIGIN_ADDRESS_FAILURES as usize],
}

impl AddressFailures {
    /// Adds a failure, and returns whether there are enough.
    fn add(&mut self, resource: Option<Resource>) -> bool {
        if resource.is_none() {
            self.count = self.count.saturating_add(1);
        } else if !self.resources.contains(&resource)
            && let Some(free) = self.resources.iter_mut().find(|known| known.is_none())
        {
            *free = resource;
            self.count = self.count.saturating_add(1);
        }
        self.count >= ORIGIN_ADDRESS_FAILURES
    }
}

impl KnownAddress {
    pub(super) fn new(socket_addr: SocketAddr) -> Self {
        Self {
            address: OriginAddress::new(socket_addr),
            missing_since: None,
            status: AddressStatus::InUse,
            failures: AddressFailures::default(),
            pause: Duration::ZERO,
            returned: None,
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.address.socket_addr().is_ipv6()
    }

    /// Returns whether requests may use the address now.
    pub(super) fn takes_requests(&self) -> bool {
        match self.status {
            AddressStatus::InUse => true,
            AddressStatus::OnTrial { .. } => self.address.in_use() == 0,
            AddressStatus::Ejected { .. } => false,
        }
    }

    /// Ejects an address in use.
    fn eject(&mut self, now: Instant, random: f64) {
        let is_relapse =
            self.returned.is_some_and(|at| now.saturating_duration_since(at) < ORIGIN_EJECTION_REMEMBERED);
        if !is_relapse {
            self.pause = Duration::ZERO;
        }
        self.prolong(now, now, random);
    }

    /// Ejects the address for twice the last pause. `random`, from 0 to 1, varies the pause.
    fn prolong(&mut self, since: Instant, now: Instant, random: f64) {
        self.pause = (self.pause * 2).clamp(ORIGIN_EJECTION_MIN, ORIGIN_EJECTION_MAX);
        let until = now + self.pause.mul_f64(0.75 + random / 4.0);
        self.status = AddressStatus::Ejected { since, until };
        self.failures = AddressFailures::default();
        self.address.give_up_idle();
    }

    /// Returns whether its pause is over, for one connect. Meanwhile it counts as ejected for
    /// another pause.
    pub(super) fn begins_probe(&mut self, now: Instant) -> bool {
        match self.status {
            AddressStatus::Ejected { since, until } if until <= now && self.missing_since.is_none() => {
                self.status = AddressStatus::Ejected { since, until: now + ORIGIN_EJECTION_MAX };
                true
            }
            AddressStatus::Ejected { .. } | AddressStatus::InUse | AddressStatus::OnTrial { .. } => false,
        }
    }

    /// Records that the connect of a probe failed.
    pub(super) fn record_failed_probe(&mut self, now: Instant, random: f64) {
        if let AddressStatus::Ejected { since, .. } = self.status {
            self.prolong(since, now, random);
        }
    }

    /// Records a connection: an ejected address is on trial.
    pub(super) fn record_connected(&mut self) {
        if let AddressStatus::Ejected { since, .. } = self.status {
            self.status = AddressStatus::OnTrial { since };
        }
    }

    /// Records a failure. Returns the pause if this ejects an address in use.
    pub(super) fn record_failure(
        &mut self,
        resource: Option<Resource>,
        others: OtherAddresses,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        self.address.set_suspect(true);
        match self.status {
            AddressStatus::InUse => {
                let is_enough = self.failures.add(resource);
                (is_enough && others == OtherAddresses::InUse).then(|| {
                    self.eject(now, random);
                    self.pause
                })
            }
            AddressStatus::OnTrial { since } => {
                self.prolong(since, now, random);
                None
            }
            // A request that began before the ejection says nothing new.
            AddressStatus::Ejected { .. } => None,
        }
    }

    /// Records a response. Returns the duration of the ejection that this ends.
    pub(super) fn record_response(&mut self, now: Instant) -> Option<Duration> {
        match self.status {
            AddressStatus::InUse => {
                self.failures = AddressFailures::default();
                self.address.set_suspect(false);
                None
            }
            AddressStatus::OnTrial { since } => {
                self.status = AddressStatus::InUse;
                self.returned = Some(now);
                self.address.set_suspect(false);
                Some(now.saturating_duration_since(since))
            }
            AddressStatus::Ejected { .. } => None,
        }
    }
}
