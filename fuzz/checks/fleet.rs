//! Records and messages that nodes exchange through Redis.

use std::fmt::{Debug, Display};

use cachewarp::limits::VARIANTS_LISTED_MAX;
use cachewarp::store::{NodeRegistry, PurgeLog, SyncAck, SyncRequest, TagGeneration, listed_variants};

/// Checks that bytes which parse are written as bytes that parse to an equal value.
pub(crate) fn fleet_words(data: &[u8]) {
    comes_back(data, PurgeLog::parse);
    comes_back(data, TagGeneration::parse);
    comes_back(data, SyncRequest::parse);
    comes_back(data, SyncAck::parse);
    comes_back(data, NodeRegistry::parse);
    if let Some(nonce) = data.get(4..12).and_then(|nonce| nonce.first_chunk())
        && let Some(keys) = listed_variants(data, u64::from_be_bytes(*nonce))
    {
        assert!(keys.len() <= VARIANTS_LISTED_MAX);
        let digests: Vec<u8> = keys.iter().flat_map(|key| *key.digest()).collect();
        assert!(data.ends_with(&digests) && data.len() == digests.len() + 12);
    }
}

fn comes_back<T: Debug + Display + PartialEq>(data: &[u8], parse: fn(&[u8]) -> Option<T>) {
    let Some(read) = parse(data) else { return };
    let written = read.to_string();
    assert_eq!(parse(written.as_bytes()), Some(read), "{written:?}");
}
