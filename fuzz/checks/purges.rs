//! The bodies of purges.

use std::time::Duration;

use cachewarp::json;
use cachewarp::key::{CacheKey, Target};
use cachewarp::limits::PURGE_NAMES_MAX;
use cachewarp::purge::{Named, Outcome, read};
use cachewarp::store::{Purged, Scope};

/// Any text is an order or is refused in words; an order is within its bounds, every URL in it is the one whose key is
/// purged, and what is told of it is JSON.
pub(crate) fn purge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let order = match read(&text) {
        Ok(order) => order,
        Err(bad) => return assert!(!bad.to_string().is_empty()),
    };
    assert!((1..=PURGE_NAMES_MAX).contains(&order.named.len()));
    assert!(matches!(json::read(&text), Ok(json::Value::Object(_))));
    let scopes = order.scopes();
    for named in &order.named {
        if let Named::Url(target) = named {
            assert_eq!(
                Target::of_url(&target.to_string()).as_ref(),
                Ok(target),
                "a URL is read as it is written"
            );
            assert!(scopes.contains(&Scope::Url(CacheKey::of(target))));
        }
    }
    assert!(scopes.len() >= order.named.len() && scopes.len() <= 2 * order.named.len());
    let said = Ok(Purged { nodes: 1, confirmed: 1 });
    let told = Outcome::document(&order, &said, Duration::ZERO);
    let Ok(told) = json::read(&told) else { panic!("not JSON: {told}") };
    assert_eq!(told.member("purged").map(|purged| purged.items().len()), Some(order.named.len()));
}
