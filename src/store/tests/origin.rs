//! The origin of the simulated fleet: resources with a version each, which every write raises.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;

use crate::entry::{Entry, StoredValue, TagDigest};
use crate::key::{CacheKey, NameKey, Scheme, Target};
use crate::store::{CacheTag, PurgeScope, UrlPrefix};
use crate::time::{self, Timestamp};

/// The number of resources.
pub(super) const RESOURCES: usize = 4;
/// Each resource has a tag of its own, and every second one another.
const TAGS: [&str; RESOURCES + 2] = ["r0", "r1", "r2", "r3", "even", "odd"];

/// The origin.
#[derive(Default)]
pub(super) struct Origin {
    versions: RefCell<[u64; RESOURCES]>,
    pub(super) fetches: Cell<u64>,
}

/// The version that a stored response shows, and the fetch that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) version: u64,
    /// The node that fetched it.
    pub(super) node: usize,
    /// The time of the fetch's end, in milliseconds since the start of the run.
    pub(super) fetched: u64,
}

impl Origin {
    /// Writes the resources that these scopes cover; returns their new versions.
    pub(super) fn write(&self, scopes: &[PurgeScope]) -> Vec<(usize, u64)> {
        let mut versions = self.versions.borrow_mut();
        let covered = (0..RESOURCES).filter(|resource| scopes.iter().any(|scope| covers(scope, *resource)));
        covered
            .map(|resource| {
                versions[resource] += 1;
                (resource, versions[resource])
            })
            .collect()
    }

    pub(super) fn version(&self, resource: usize) -> u64 {
        self.versions.borrow()[resource]
    }
}

/// Returns the target of a resource. Two share the prefix `/a/`.
pub(super) fn target(resource: usize) -> Target {
    let path = ["/a/0", "/a/1", "/b/2", "/b/3"][resource];
    Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap()
}

pub(super) fn key(resource: usize) -> CacheKey {
    CacheKey::of(&target(resource))
}

fn tag(number: usize) -> CacheTag {
    CacheTag::parse(TAGS[number]).unwrap()
}

/// Returns the numbers of a resource's tags.
fn tag_numbers(resource: usize) -> [usize; 2] {
    [resource, RESOURCES + resource % 2]
}

/// Returns the tags of a resource.
pub(super) fn tags(resource: usize) -> Vec<TagDigest> {
    tag_numbers(resource).map(|number| tag(number).digest(&NameKey::default())).to_vec()
}

/// Returns the scope of a purge, drawn by a number.
pub(super) fn scope(number: u64) -> PurgeScope {
    let number = usize::try_from(number % 13).unwrap();
    match number {
        0..RESOURCES => PurgeScope::Url(key(number)),
        4..10 => PurgeScope::Tag(tag(number - 4)),
        10 => PurgeScope::Prefix(UrlPrefix::parse("http://api.test/a/").unwrap()),
        11 => PurgeScope::Prefix(UrlPrefix::parse("http://api.test/b/2").unwrap()),
        _ => PurgeScope::All,
    }
}

fn covers(scope: &PurgeScope, resource: usize) -> bool {
    match scope {
        PurgeScope::Url(purged) => *purged == key(resource),
        PurgeScope::Tag(purged) => tag_numbers(resource).iter().any(|number| *purged == tag(*number)),
        PurgeScope::Group(_) => false,
        PurgeScope::Prefix(prefix) => prefix.covers(&target(resource)),
        PurgeScope::All => true,
    }
}

/// Returns a response that shows a version.
pub(super) fn response(shown: Shown, lifetime: Duration, received: Timestamp) -> StoredValue {
    let Shown { version, node, fetched } = shown;
    let body = Bytes::from(format!("{version} {node} {fetched}"));
    StoredValue::Response(Entry::fresh_for(lifetime, received, body))
}

/// Reads a stored response; `None` if it is stale.
pub(super) fn fresh(stored: &StoredValue) -> Option<Shown> {
    let StoredValue::Response(Entry { facts, body, .. }) = stored else { return None };
    if facts.ttl(time::now()).is_zero() {
        return None;
    }
    let mut numbers = std::str::from_utf8(body).ok()?.split(' ').map(|word| word.parse().ok());
    let mut number = || numbers.next()?;
    let (version, node, fetched): (u64, u64, u64) = (number()?, number()?, number()?);
    Some(Shown { version, node: usize::try_from(node).ok()?, fetched })
}
