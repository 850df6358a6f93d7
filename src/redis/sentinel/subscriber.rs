//! Subscribes to the fail-overs that one sentinel announces.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::master::MasterState;
use crate::limits::{REDIS_BACKOFF_MAX, REDIS_TOPOLOGY_TIMEOUT};
use crate::redis::connection::{ControlConnection, ControlConnections};
use crate::redis::error::ConnectError;
use crate::redis::pool::Backoff;
use crate::resp::topology::{Endpoint, switch};
use crate::resp::{Command, Frame, Reply};
use crate::time::instant;

/// The channel on which sentinels announce fail-overs.
const CHANNEL: &[u8] = b"+switch-master";

/// A subscription that is renewed whenever it ends.
pub(super) struct SentinelSubscriber {
    sentinel: Endpoint,
    /// The master's name at the sentinels.
    name: String,
    sentinel_control: Rc<ControlConnections>,
    master: Rc<MasterState>,
}

impl SentinelSubscriber {
    pub(super) fn new(
        sentinel: Endpoint,
        name: String,
        sentinel_control: Rc<ControlConnections>,
        master: Rc<MasterState>,
    ) -> Self {
        Self { sentinel, name, sentinel_control, master }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            if let Ok(mut control) = self.sentinel_control.connect(&self.sentinel).await {
                let since = instant();
                let Err(why) = self.listen(&mut control).await;
                tracing::debug!(sentinel = %self.sentinel, %why, "lost the subscription to a sentinel");
                // Announcements may have been missed: ask.
                self.master.refresh.fire();
                // A sentinel that accepts connections and closes them at once counts as
                // unreachable.
                if instant() - since >= REDIS_BACKOFF_MAX {
                    backoff = Backoff::default();
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// Receives messages until the connection fails.
    async fn listen(&self, control: &mut ControlConnection) -> Result<Never, ConnectError> {
        control.send(&Command::Subscribe { channels: &[Bytes::from_static(CHANNEL)] }).await?;
        let mut is_asked = false;
        let mut healthy = None;
        loop {
            match timeout(REDIS_TOPOLOGY_TIMEOUT, control.next_frame()).await {
                Ok(frame) => {
                    self.handle(&frame?);
                    healthy.get_or_insert_with(|| HealthySubscription::new(&self.master));
                    is_asked = false;
                }
                // A sentinel that is stopped, or behind a network partition, closes nothing.
                Err(_) if is_asked => return Err(ConnectError::Timeout),
                Err(_) => {
                    control.send(&Command::Ping).await?;
                    is_asked = true;
                }
            }
        }
    }

    /// A message is a push, or in RESP2 looks like a reply.
    fn handle(&self, frame: &Frame) {
        let message = match frame {
            Frame::Push(message) => message,
            Frame::Reply(Reply::Array(message)) => message,
            Frame::Reply(_) => return,
        };
        if let Some(switched) = switch(message).filter(|switched| switched.name == self.name) {
            self.master.switched(&switched.to);
        }
    }
}

/// The sentinel counts as reachable while this lives.
struct HealthySubscription<'a>(&'a MasterState);

impl<'a> HealthySubscription<'a> {
    fn new(master: &'a MasterState) -> Self {
        if master.lease.sentinel_up() {
            master.refresh.fire();
        }
        Self(master)
    }
}

impl Drop for HealthySubscription<'_> {
    fn drop(&mut self) {
        self.0.lease.sentinel_down();
        self.0.apply_lease();
    }
}

/// Has no values.
enum Never {}
