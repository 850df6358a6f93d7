//! Listens to one sentinel.

use std::rc::Rc;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::Master;
use crate::limits::{REDIS_BACKOFF_MAX, REDIS_TOPOLOGY_TIMEOUT};
use crate::redis::control::{Control, Switchboard};
use crate::redis::error::Unreachable;
use crate::redis::supervise::Backoff;
use crate::resp::topology::{Endpoint, switch};
use crate::resp::{Command, Frame, Reply};
use crate::time::instant;

/// The channel on which sentinels tell of fail-overs.
const CHANNEL: &[u8] = b"+switch-master";

/// A subscription that is renewed whenever it ends.
pub(super) struct Ear {
    sentinel: Endpoint,
    /// The master's, as the sentinels call it.
    name: String,
    watchers: Rc<Switchboard>,
    master: Rc<Master>,
}

impl Ear {
    pub(super) fn new(
        sentinel: Endpoint,
        name: String,
        watchers: Rc<Switchboard>,
        master: Rc<Master>,
    ) -> Self {
        Self { sentinel, name, watchers, master }
    }

    /// Never ends by itself.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            if let Ok(mut control) = self.watchers.call(&self.sentinel).await {
                let since = instant();
                let Err(why) = self.listen(&mut control).await;
                tracing::debug!(sentinel = %self.sentinel, %why, "lost a sentinel");
                // What was not heard meanwhile has to be asked for.
                self.master.doubt.raise();
                // One that accepts us and ends at once is as good as one that is away.
                if since.elapsed() >= REDIS_BACKOFF_MAX {
                    backoff = Backoff::default();
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// Until it cannot be heard any more.
    async fn listen(&self, control: &mut Control) -> Result<Never, Unreachable> {
        control.send(&Command::Subscribe { channels: &[Bytes::from_static(CHANNEL)] }).await?;
        let mut is_asked = false;
        let mut hearing = None;
        loop {
            match timeout(REDIS_TOPOLOGY_TIMEOUT, control.hear()).await {
                Ok(frame) => {
                    self.heard(&frame?);
                    hearing.get_or_insert_with(|| Hearing::new(&self.master));
                    is_asked = false;
                }
                // A sentinel that was stopped, or that is behind a cut, says nothing of it.
                Err(_) if is_asked => return Err(Unreachable::Timeout),
                Err(_) => {
                    control.send(&Command::Ping).await?;
                    is_asked = true;
                }
            }
        }
    }

    /// A message is a push, or in RESP2 looks like a reply.
    fn heard(&self, frame: &Frame) {
        let message = match frame {
            Frame::Push(message) => message,
            Frame::Reply(Reply::Array(message)) => message,
            Frame::Reply(_) => return,
        };
        if let Some(switched) = switch(message).filter(|switched| switched.name == self.name) {
            self.master.announced(&switched.to);
        }
    }
}

/// While this lives, the sentinel is heard.
struct Hearing<'a>(&'a Master);

impl<'a> Hearing<'a> {
    fn new(master: &'a Master) -> Self {
        if master.vouchers.heard() {
            master.doubt.raise();
        }
        Self(master)
    }
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.0.vouchers.lost();
        self.0.vouch();
    }
}

/// Of what there is none.
enum Never {}
