//! The messages between the fleet's nodes: invalidations, and syncs that confirm them.
//!
//! Redis pushes to each connection the invalidations of the keys that it has read. To confirm a
//! purge, the purging node publishes a *sync*. Each worker that receives it waits until each of its
//! connections has processed its pending invalidations, then sends an acknowledgement.
//!
//! `PUBLISH` returns the number of receivers. A worker that cannot receive syncs trusts no value
//! that it has read (`redis/tracking.rs`); it may serve from memory alone, and `confirm.rs` waits
//! for its node if that is registered. In a cluster the node publishes the sync at every server, on
//! that server's own channels, since a worker may be connected to some of them only
//! ([`FleetChannel`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::{Mutex, Notify, mpsc, watch};

use crate::limits::PURGE_SYNCS_MAX;
use crate::redis::{Client, CommandError, ConnectedServer, FleetChannel, TrackingListener};
use crate::store::fleet::envelope::{MessageSender, opened_message, sealed_message};
use crate::store::fleet::lease_waiters::LeaseWaiters;
use crate::store::fleet::sync::{SyncAck, SyncRequest, SyncTally, hexadecimal};
use crate::store::fleet::waiting_writes::WaitingWrites;
use crate::store::metrics::{ChangeKind, Metrics};
use crate::store::namespace::{LEASE_PREFIX, LOG_NAME, TAG_PREFIX};
use crate::store::purge::log::PurgeLog;
use crate::store::purge::names::PurgeStrength;
use crate::store::purge::query::PurgeStateQuery;
use crate::store::shared::StoreShared;
use crate::store::together::together;
use crate::time;

/// The listener of one worker for pushes and messages.
pub(in crate::store) struct FleetListener {
    pub(super) shared: StoreShared,
    metrics: Rc<Metrics>,
    pub(super) sync_channel: Bytes,
    pub(super) ack_channel: Box<str>,
    /// Whether this worker registers its node: the first one that started does.
    pub(in crate::store) registers: bool,
    /// Held during a change of this node's registration.
    pub(super) registering: Mutex<()>,
    /// Whether this worker was subscribed before.
    was_subscribed: Cell<bool>,
    /// The queue of received syncs; never more than [`PURGE_SYNCS_MAX`].
    received: mpsc::Sender<PublishedSync>,
    /// The random name of this worker in its messages.
    worker: u64,
    /// The acknowledgements of each sync of this worker; only while a purge waits.
    pub(super) tallies: RefCell<HashMap<u64, watch::Sender<SyncTally>>>,
    leases: LeaseWaiters,
    /// The digest of the routes that this worker uses.
    pub(in crate::store) rules: Cell<u64>,
    /// The writes of this worker that wait for a sync.
    pub(super) writes: WaitingWrites,
    /// The signal that Redis has pushed a change of the purge log.
    log_changed: Notify,
    /// The shared read of the purge log.
    log_query: PurgeStateQuery,
}

/// The queue of syncs that this worker receives.
pub(in crate::store) type SyncRequests = mpsc::Receiver<PublishedSync>;

/// A received message, and the suffix of its channel, which identifies the server.
pub(in crate::store) struct PublishedSync {
    suffix: Bytes,
    message: Bytes,
}

/// A request to catch up that came from one server.
struct ReceivedSync<'a> {
    suffix: &'a Bytes,
    request: SyncRequest,
    sender: MessageSender,
}

impl FleetListener {
    pub(in crate::store) fn new(shared: StoreShared, metrics: Rc<Metrics>) -> (Rc<Self>, SyncRequests) {
        let (received, requests) = mpsc::channel(PURGE_SYNCS_MAX);
        let channel = |name: &str| Bytes::from(shared.options.namespace.name(&[name.as_bytes()]));
        let namespace = shared.options.namespace.as_str();
        let fleet = Self {
            sync_channel: channel("sync"),
            registers: shared.fleet.worker_opened(),
            registering: Mutex::new(()),
            was_subscribed: Cell::new(false),
            ack_channel: format!("{namespace}ack:{:016x}", fastrand::u64(..)).into(),
            worker: fastrand::u64(..),
            shared,
            metrics,
            received,
            tallies: RefCell::default(),
            leases: LeaseWaiters::default(),
            rules: Cell::new(0),
            writes: WaitingWrites::default(),
            log_changed: Notify::new(),
            log_query: PurgeStateQuery::new(),
        };
        (Rc::new(fleet), requests)
    }

    /// Returns the digest of what decides whether nodes use each other's entries: the routes of
    /// this worker, and the keys.
    pub(super) fn rules_digest(&self) -> u64 {
        let options = &self.shared.options;
        self.rules.get()
            ^ options.entry_keys.get().map_or(0, |keys| keys.digest())
            ^ options.name_key.number()
    }

    /// Returns the channels to subscribe to.
    pub(in crate::store) fn channels(&self) -> Vec<Bytes> {
        vec![self.sync_channel.clone(), self.ack_channel.as_bytes().to_vec().into()]
    }

    /// Returns the leases of other nodes for which this worker waits.
    pub(in crate::store) fn leases(&self) -> &LeaseWaiters {
        &self.leases
    }

    /// Acknowledges the syncs of all nodes, this one included, for the life of the worker.
    pub(in crate::store) async fn acknowledge_syncs(
        self: Rc<Self>,
        redis: Client,
        mut requests: SyncRequests,
    ) {
        while let Some(first) = requests.recv().await {
            // One flush of the connections serves all queued syncs.
            let mut received = vec![first];
            while let Ok(more) = requests.try_recv() {
                received.push(more);
            }
            let requests: Vec<_> = received.iter().filter_map(|sync| self.opened(sync)).collect();
            for SyncRequest { names, strength, .. } in requests.iter().map(|sync| &sync.request) {
                for name in names {
                    self.shared.supersede(*name);
                    if *strength == PurgeStrength::Hard {
                        self.shared.purges.remember(*name, time::now());
                    }
                }
            }
            self.shared.purges.note_change();
            let fleet_channels = redis.fleet_channels();
            together(fleet_channels.iter().map(|channel| self.acknowledge(channel, &requests))).await;
        }
    }

    /// Parses a sync; an invalid one gets no acknowledgement. A foreign one supersedes no fetch.
    fn opened<'a>(&self, sync: &'a PublishedSync) -> Option<ReceivedSync<'a>> {
        let PublishedSync { suffix, message } = sync;
        let channel = [&self.sync_channel[..], suffix].concat();
        let (text, sender) = opened_message(&self.shared.options.name_key, &channel, message);
        let mut request = SyncRequest::parse(text)?;
        if sender == MessageSender::Foreign {
            request.names.clear();
        }
        Some(ReceivedSync { suffix, request, sender })
    }

    /// Acknowledges the syncs received at one server.
    async fn acknowledge(&self, channel: &FleetChannel, requests: &[ReceivedSync<'_>]) {
        let mut here = requests.iter().filter(|sync| sync.suffix == channel.suffix()).peekable();
        if here.peek().is_some() {
            channel.flush_invalidations().await;
            self.shared.purges.end_revalidation();
        }
        let now = time::now();
        let (node, workers) = (self.shared.fleet.id, self.shared.fleet.workers());
        for ReceivedSync { request: SyncRequest { id, ack_channel, sent, .. }, sender, .. } in here {
            self.metrics.observe_staleness(ChangeKind::Purge, now.since(*sent));
            let ack = SyncAck { id: *id, node, workers, rules: self.rules_digest() }.to_string();
            // If this is lost, the purging node has timed out by then, or it repeats the purge.
            let _ = match sender {
                MessageSender::Fleet(_) => self.publish_at(channel, ack_channel.as_bytes(), ack).await,
                // A MAC would confirm a purge that begins later and has this identifier.
                MessageSender::Foreign => channel.publish(ack_channel.as_bytes(), ack.as_bytes()).await,
            };
        }
    }

    /// Reads the purge log whenever it has changed, for the life of the worker: one read for any
    /// number of changes, usually done before a request needs it.
    pub(in crate::store) async fn follow_log(self: Rc<Self>, redis: Client) {
        loop {
            self.log_changed.notified().await;
            // A late reply is no reply, and costs at least its deadline. Without a connection, or
            // while Redis is not asked, the log becomes unknown, and the next request reads it.
            while matches!(self.read_log(&redis).await, Err(CommandError::Timeout)) {}
        }
    }

    /// Reads the purge log: a worker sends one read at a time, for any number of requests.
    pub(in crate::store) async fn read_log(&self, redis: &Client) -> Result<PurgeLog, CommandError> {
        self.log_query.read_shared(self.shared.read_log(redis)).await
    }

    /// Publishes a message at every server; returns the number of receivers at each.
    pub(super) async fn publish(
        &self,
        servers: &[FleetChannel],
        channel: &[u8],
        message: &str,
    ) -> Vec<Result<u32, CommandError>> {
        together(servers.iter().map(|server| self.publish_at(server, channel, message.to_owned()))).await
    }

    /// Publishes a message with its MAC at one server.
    async fn publish_at(
        &self,
        server: &FleetChannel,
        channel: &[u8],
        message: String,
    ) -> Result<u32, CommandError> {
        let whole = [channel, server.suffix()].concat();
        let message = sealed_message(&self.shared.options.name_key, &whole, message, self.worker);
        server.publish(channel, message.as_bytes()).await
    }

    /// Counts an acknowledgement that came through a channel.
    fn acknowledged(&self, channel: &[u8], message: &[u8]) {
        let (text, sender) = opened_message(&self.shared.options.name_key, channel, message);
        let Some(ack) = SyncAck::parse(text) else { return };
        let tallies = self.tallies.borrow();
        let Some(acks) = tallies.get(&ack.id) else { return };
        let own = self.rules_digest();
        acks.send_modify(|tally| match sender {
            MessageSender::Fleet(None) => tally.count(ack, own),
            MessageSender::Fleet(Some(mac)) => tally.count_once(ack, own, mac),
            // A node with another key confirms nothing.
            MessageSender::Foreign => tally.count(SyncAck { rules: !own, ..ack }, own),
        });
    }
}

impl TrackingListener for FleetListener {
    fn invalidated(&self, key: &[u8]) {
        let Some(name) = self.shared.options.namespace.strip(key) else { return };
        let Ok(name) = std::str::from_utf8(name) else { return };
        if let Some(entry) = hexadecimal::<32>(name) {
            let held = self.shared.memory.as_ref().is_some_and(|memory| memory.invalidate(entry));
            self.metrics.invalidated(held);
            if held {
                self.shared.dropped_at.insert(entry, time::now());
            }
            self.shared.watches.overwritten(entry);
        } else if name == LOG_NAME {
            self.shared.purges.revalidate(time::instant());
            self.log_changed.notify_one();
        } else if let Some(tag) = name.strip_prefix(TAG_PREFIX).and_then(hexadecimal::<32>) {
            self.shared.purges.invalidate_tag(tag);
        } else if let Some(lease) = name.strip_prefix(LEASE_PREFIX).and_then(hexadecimal::<32>) {
            self.leases.changed(lease);
        }
    }

    fn connected(&self, server: &ConnectedServer) {
        if self.shared.runs.connected(server) {
            // The server may have lost purges: no state judges its entries until the run is
            // settled.
            self.shared.purges.invalidate();
        }
    }

    fn subscribed(&self) {
        if !self.was_subscribed.replace(true) {
            self.shared.fleet.worker_subscribed();
        }
        self.shared.fleet.due.notify_one();
    }

    fn tracking_lost(&self) {
        self.shared.purges.tracking_lost();
        self.leases.tracking_lost();
    }

    fn message(&self, channel: &[u8], message: &Bytes) {
        if let Some(suffix) = channel.strip_prefix(&self.sync_channel[..]) {
            // The bytes are copied: these are slices of a read buffer.
            let [suffix, message] = [suffix, &message[..]].map(Bytes::copy_from_slice);
            // A sync beyond the queue's limit gets no acknowledgement.
            let _ = self.received.try_send(PublishedSync { suffix, message });
        } else if channel.starts_with(self.ack_channel.as_bytes()) {
            self.acknowledged(channel, message);
        }
    }
}
