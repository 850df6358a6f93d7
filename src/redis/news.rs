//! What one connection has heard, and what of what was read over it is still so.
//!
//! A reply is remembered with how much news there had been when it came. Whoever wants to keep it asks whether any of the news
//! since was of the same key: the last [`REDIS_NEWS_REMEMBERED`] are known by a digest, and more than that are of everything.
//!
//! **Always:** news are processed before any reply that came after them is given away.

use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use super::link::Link;
use super::seats::{Presence, Witness};
use super::tracking::Tracker;
use crate::limits::REDIS_NEWS_REMEMBERED;
use crate::resp::Reply;

/// What one connection has heard.
pub(super) struct News {
    tracker: Rc<Tracker>,
    presence: Presence,
    /// Digests of the last keys that changed, each at its number, counted round.
    recent: Vec<u64>,
    /// How many changes there have been.
    count: u64,
    /// What was read before this many is not to be trusted.
    since: u64,
}

impl News {
    /// None yet.
    pub(super) fn new(tracker: Rc<Tracker>, presence: Presence) -> Self {
        Self { tracker, presence, recent: Vec::new(), count: 0, since: 0 }
    }

    /// Takes news. Tells how many changes there have been.
    pub(super) fn hear(&mut self, news: &[Reply]) -> u64 {
        let listener = Rc::clone(&self.tracker.tracking.listener);
        match news {
            [Reply::Bulk(kind) | Reply::Simple(kind), Reply::Array(keys)] if kind == "invalidate" => {
                for key in keys {
                    if let Reply::Bulk(key) | Reply::Simple(key) = key {
                        self.changed(xxh3_64(key));
                        listener.invalidated(key);
                    }
                }
            }
            // The server has been emptied.
            [Reply::Bulk(kind) | Reply::Simple(kind), ..] if kind == "invalidate" => {
                self.doubt();
                self.begin();
                listener.forsaken();
            }
            [
                Reply::Bulk(kind) | Reply::Simple(kind),
                Reply::Bulk(channel) | Reply::Simple(channel),
                Reply::Bulk(message) | Reply::Simple(message),
            ] if kind == "message" => listener.message(channel, message),
            _ => {}
        }
        self.count
    }

    /// What was read before is not known any more; and nothing that is read, until it [begins](Self::begin) anew.
    pub(super) fn doubt(&mut self) {
        self.presence.end();
        self.count += 1;
        self.since = self.count;
        self.recent.clear();
    }

    /// What is read from now on is tracked, if the pool hears.
    pub(super) fn begin(&mut self) {
        if self.tracker.is_hearing() && self.presence.witness().is_none() {
            self.presence.begin();
        }
    }

    /// The witness for a reply that came after so many changes, if what it says of `key` is still so.
    fn witness(&self, key: &[u8], heard: u64) -> Option<Witness> {
        let unseen = usize::try_from(self.count.checked_sub(heard)?).ok()?;
        if heard < self.since || unseen > REDIS_NEWS_REMEMBERED.min(self.recent.len()) {
            return None;
        }
        let digest = xxh3_64(key);
        let changed = (heard..self.count).any(|number| self.recent.get(place(number)) == Some(&digest));
        if changed { None } else { self.presence.witness() }
    }

    fn changed(&mut self, digest: u64) {
        // As long as the ring is not full, the places are counted from the last time that it was emptied.
        if self.recent.len() < REDIS_NEWS_REMEMBERED {
            self.recent.resize(REDIS_NEWS_REMEMBERED, 0);
        }
        if let Some(place) = self.recent.get_mut(place(self.count)) {
            *place = digest;
        }
        self.count += 1;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.presence.end();
        self.tracker.tracking.listener.forsaken();
    }
}

/// Where the change with this number is remembered.
fn place(number: u64) -> usize {
    usize::try_from(number % REDIS_NEWS_REMEMBERED as u64).unwrap_or_default()
}

/// What is known of a value that was read: how much news the connection had brought when the reply came.
#[derive(Clone)]
pub struct Reading {
    /// Where it was read, if that connection may bring news.
    link: Option<Rc<Link>>,
    heard: u64,
}

impl Reading {
    pub(super) fn new(link: Rc<Link>, heard: u64) -> Self {
        Self { link: Some(link), heard }
    }

    /// Of a value of which nobody brings news.
    pub(super) fn untracked() -> Self {
        Self { link: None, heard: 0 }
    }

    /// The witness for what was read of `key`, unless news of it have come meanwhile. To be asked at the moment at which
    /// the value is remembered, with nothing awaited between: later news find what they are about.
    pub fn witness(&self, key: &[u8]) -> Option<Witness> {
        self.link.as_ref()?.with(|shared| shared.news.as_ref()?.witness(key, self.heard))
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("heard", &self.heard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::redis::{Listener, Seats, Tracking};
    use crate::resp::{Failure, Frame, Window};

    #[derive(Default)]
    struct Heard(RefCell<Vec<String>>);

    impl Listener for Heard {
        fn invalidated(&self, key: &[u8]) {
            self.0.borrow_mut().push(format!("changed {}", String::from_utf8_lossy(key)));
        }

        fn forsaken(&self) {
            self.0.borrow_mut().push("forsaken".into());
        }

        fn message(&self, channel: &[u8], message: &Bytes) {
            let words = [channel, message].map(|word| String::from_utf8_lossy(word).into_owned());
            self.0.borrow_mut().push(words.join(": "));
        }
    }

    fn bulk(text: &'static str) -> Reply {
        Reply::Bulk(Bytes::from_static(text.as_bytes()))
    }

    fn changed(key: &'static str) -> Vec<Reply> {
        vec![bulk("invalidate"), Reply::Array(vec![bulk(key)])]
    }

    fn tracker() -> (Rc<Tracker>, Rc<Heard>) {
        let listener = Rc::<Heard>::default();
        let heard = Rc::clone(&listener);
        let tracking = Tracking::new(Seats::new(), listener, Vec::new());
        (Tracker::new(tracking, Duration::from_millis(50)), heard)
    }

    fn up(tracker: &Rc<Tracker>) -> News {
        tracker.news(&Link::new(Window { commands: 4, bytes: 1024 })).unwrap()
    }

    #[test]
    fn what_was_read_is_true_until_there_is_news_of_it() {
        let (tracker, heard) = tracker();
        tracker.hears.set(true);
        let mut news = up(&tracker);
        let before = news.count;
        let witness = news.witness(b"a", before).unwrap();
        news.hear(&changed("b"));
        assert_eq!(news.witness(b"a", before), Some(witness), "of something else");
        news.hear(&changed("a"));
        assert_eq!(news.witness(b"a", before), None);
        assert_eq!(news.witness(b"a", news.count), Some(witness), "read again");
        news.hear(&[bulk("message"), bulk("c"), bulk("hello")]);
        assert_eq!(*heard.0.borrow(), ["changed b", "changed a", "c: hello"]);
    }

    #[test]
    fn more_news_than_are_remembered_are_news_of_everything() {
        let (tracker, _) = tracker();
        tracker.hears.set(true);
        let mut news = up(&tracker);
        for _ in 0..REDIS_NEWS_REMEMBERED {
            news.hear(&changed("b"));
        }
        assert!(news.witness(b"a", 0).is_some());
        news.hear(&changed("b"));
        assert_eq!(news.witness(b"a", 0), None);
        assert!(news.witness(b"a", 1).is_some());
    }

    #[test]
    fn an_emptied_server_a_lost_connection_and_a_deaf_pool_are_seen_by_one_load() {
        let (tracker, heard) = tracker();
        let seats = Arc::clone(&tracker.tracking.seats);
        let mut news = up(&tracker);
        assert_eq!(news.witness(b"a", 0), None, "nobody hears yet");
        tracker.hears.set(true);
        news.begin();
        let first = news.witness(b"a", 0).unwrap();
        assert!(seats.is_true(first));
        news.hear(&[bulk("invalidate"), Reply::Nil]);
        assert!(!seats.is_true(first));
        assert_eq!(news.witness(b"a", 0), None, "read before");
        let second = news.witness(b"a", news.count).unwrap();
        tracker.is_deaf();
        news.doubt();
        news.begin();
        assert_eq!((seats.is_true(second), news.witness(b"a", news.count)), (false, None));
        assert_eq!(*heard.0.borrow(), ["forsaken", "forsaken"]);
        heard.0.borrow_mut().clear();
        tracker.hears.set(true);
        news.begin();
        let third = news.witness(b"a", news.count).unwrap();
        drop(news);
        assert!(!seats.is_true(third));
        assert_eq!(*heard.0.borrow(), ["forsaken"]);
        let next = up(&tracker);
        let fourth = next.witness(b"a", 0).unwrap();
        assert_eq!(fourth.seat, third.seat, "the seat is taken again");
        assert!(seats.is_true(fourth) && !seats.is_true(third));
    }

    /// A connection with room for so many commands.
    fn connect(tracker: &Rc<Tracker>, commands: usize) -> Rc<Link> {
        let link = Link::new(Window { commands, bytes: 1024 });
        let news = tracker.news(&link);
        link.with(|shared| (shared.news, shared.has_read) = (news, true));
        link
    }

    fn is_known(link: &Rc<Link>, key: &[u8], heard: u64) -> bool {
        Reading::new(Rc::clone(link), heard).witness(key).is_some()
    }

    #[tokio::test]
    async fn settled_is_what_has_answered_and_what_cannot_is_not_known() {
        let (tracker, heard) = tracker();
        tracker.hears.set(true);
        let (quick, busy, ended) = (connect(&tracker, 4), connect(&tracker, 0), connect(&tracker, 4));
        ended.end(Failure::Closed);
        // Nothing was read here: it is not asked.
        let unused = connect(&tracker, 0);
        unused.with(|shared| shared.has_read = false);
        heard.0.borrow_mut().clear();
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut settling = std::pin::pin!(tracker.settle());
                let mut poll = || settling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(poll().is_pending());
                quick.with(|shared| {
                    // What was on its way comes before the answer.
                    let heard = shared.news.as_mut().unwrap().hear(&changed("a"));
                    shared.pipeline.mark(heard);
                    shared.pipeline.accept(Frame::Reply(Reply::Simple(Bytes::from_static(b"PONG")))).unwrap();
                });
                assert!(poll().is_ready());
            })
            .await;
        assert!(!is_known(&quick, b"a", 0) && is_known(&quick, b"b", 0));
        assert!(!is_known(&busy, b"b", 0), "it had no time for the question");
        assert!(is_known(&unused, b"b", 0));
        assert_eq!(*heard.0.borrow(), ["changed a", "forsaken"]);
    }
}
