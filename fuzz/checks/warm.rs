//! Lists of warm keys, as Redis may hold them.

use cachewarp::limits::WARM_KEYS_MAX;
use cachewarp::store::warm_list;

/// Checks that bytes are no list, or one in which every byte behind the beginning belongs to a key.
pub(crate) fn warm_list_of(data: &[u8]) {
    let Some(keys) = warm_list(data) else { return };
    assert!(keys.len() <= WARM_KEYS_MAX);
    let digests: Vec<u8> = keys.iter().flat_map(|key| *key.digest()).collect();
    assert!(data.ends_with(&digests) && data.len() == digests.len() + 4);
}
