//! The bodies of purges.

use std::time::Duration;

use cachewarp::key::{CacheKey, NameKey, Target};
use cachewarp::limits::PURGE_NAMES_MAX;
use cachewarp::purge::{PurgeName, PurgeOutcome, read};
use cachewarp::store::{PurgeResult, PurgeScope};
use serde_json::Value;

/// Checks that any text is a purge order or is refused with a message; that an order is within its
/// bounds, and its URLs name the keys that it purges; and that its outcome is JSON.
pub(crate) fn purge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let order = match read(&text) {
        Ok(order) => order,
        Err(bad) => return assert!(!bad.to_string().is_empty()),
    };
    assert!((1..=PURGE_NAMES_MAX).contains(&order.named.len()));
    assert!(matches!(serde_json::from_str(&text), Ok(Value::Object(_))), "an order is an object");
    let scopes =
        order.scopes(|target| [CacheKey::of(target), CacheKey::of_queries(target, &NameKey::default())]);
    for named in &order.named {
        if let PurgeName::Url(target) = named {
            assert_eq!(
                Target::of_url(&target.to_string()).as_ref(),
                Ok(target),
                "a written URL does not read back"
            );
            assert!(scopes.contains(&PurgeScope::Url(CacheKey::of(target))));
        }
    }
    assert!(scopes.len() >= order.named.len() && scopes.len() <= 4 * order.named.len());
    let purged = Ok(PurgeResult::counted(1, 1));
    let text = PurgeOutcome::document(&order, &purged, Some(0), Duration::ZERO);
    let Ok(document) = serde_json::from_str::<Value>(&text) else { panic!("not JSON: {text}") };
    let purged = document.get("purged").and_then(Value::as_array);
    assert_eq!(purged.map(Vec::len), Some(order.named.len()));
}
