//! The outcome of a purge, as a status and a document.

use std::time::Duration;

use http::StatusCode;

use super::order::PurgeOrder;
use crate::json;
use crate::label::Label;
use crate::limits::{OPERATOR_SHOWN_BYTES_MAX, REGISTERED_NAME_BYTES_MAX};
use crate::store::{PurgeError, PurgeResult, PurgeScope, Replication};
use crate::time::millis;

crate::labels! {
    /// The extent to which a purge has taken effect.
    pub enum PurgeOutcome {
        /// No node of the fleet serves any purged entry.
        Everywhere => "everywhere",
        /// The purge is written to Redis, and not all nodes have confirmed it.
        NotEverywhere => "not-everywhere",
        /// Redis was unreachable. The purge holds in this node, for its memory and for entries that
        /// it later reads from Redis.
        Unavailable => "unavailable",
        /// The purge failed for another reason.
        Failed => "failed",
    }
}

impl PurgeOutcome {
    /// Returns the outcome of the store's result.
    pub fn of(result: &Result<PurgeResult, PurgeError>) -> Self {
        match result {
            Ok(PurgeResult { nodes, confirmed, replication: Replication::All, .. }) if confirmed >= nodes => {
                Self::Everywhere
            }
            Ok(_) => Self::NotEverywhere,
            Err(PurgeError::Redis(_)) => Self::Unavailable,
            Err(_) => Self::Failed,
        }
    }

    /// Returns the status. `202`: accepted, without confirmation from every node; repeating a purge
    /// does no harm. `503`: this node repeats the purge. A client that has to know when it applies
    /// on every node repeats it too.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Everywhere => StatusCode::OK,
            Self::NotEverywhere => StatusCode::ACCEPTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the document for an order, with the number of named resources that had an entry
    /// before the purge, if it is known, and the time that the purge took.
    pub fn document(
        order: &PurgeOrder,
        result: &Result<PurgeResult, PurgeError>,
        found: Option<u64>,
        took: Duration,
    ) -> String {
        let outcome = Self::of(result);
        json::object(|object| {
            match result {
                Ok(PurgeResult {
                    nodes,
                    confirmed,
                    unconfirmed,
                    dropped,
                    unknown_subscribers,
                    other_rules,
                    coarser,
                    replication,
                    sync_refused,
                }) => {
                    object.word("outcome", outcome.word());
                    object.number("nodes", (*nodes).into());
                    object.number("confirmed", (*confirmed).into());
                    for (name, nodes) in [
                        ("unconfirmed", unconfirmed),
                        ("dropped", dropped),
                        ("nodes_with_other_rules", other_rules),
                    ] {
                        if !nodes.is_empty() {
                            object.texts(name, nodes.iter().map(String::as_str), REGISTERED_NAME_BYTES_MAX);
                        }
                    }
                    if *unknown_subscribers > 0 {
                        object.number("unknown_subscribers", (*unknown_subscribers).into());
                    }
                    if *replication == Replication::Some {
                        object.word("replicas", "unconfirmed");
                    }
                    if let Some(refusal) = sync_refused {
                        object.text("sync", &refusal.to_string(), usize::MAX);
                    }
                    if !coarser.is_empty() {
                        object.objects("coarser", coarser.iter(), |object, scope| match scope {
                            PurgeScope::Prefix(prefix) => {
                                object.text("prefix", &prefix.to_string(), OPERATOR_SHOWN_BYTES_MAX);
                            }
                            PurgeScope::Url(_)
                            | PurgeScope::Tag(_)
                            | PurgeScope::Group(_)
                            | PurgeScope::All => object.set("all"),
                        });
                    }
                }
                // RFC 9457.
                Err(failed) => {
                    object.text("title", outcome.status().canonical_reason().unwrap_or_default(), usize::MAX);
                    object.number("status", outcome.status().as_u16().into());
                    object.text("detail", &failed.to_string(), usize::MAX);
                    object.word("outcome", outcome.word());
                    if outcome == Self::Unavailable {
                        object.word("this_node", "purged");
                        object.word("redis", "unknown");
                        object.word("other_nodes", "unknown");
                    }
                }
            }
            match found {
                Some(found) => object.number("found", found),
                None => object.word("found", "unknown"),
            }
            object.number("took_ms", millis(took));
            object.word("strength", order.strength_word());
            object.objects("purged", order.named.iter(), |object, named| named.write(object));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::read;
    use crate::redis::{CommandError, ErrorKind};
    use crate::store::UrlPrefix;

    #[test]
    fn the_document_shows_the_order_and_its_outcome() {
        let order = read(
            r#"{"url":"http://a.test/\"","tag":"t","group":{"authority":"a","name":"g"},"prefix":"http://a.test/v1","all":true}"#,
        )
        .unwrap_or_else(|bad| panic!("{bad}"));
        let purged = r#"[{"url":"http://a.test/\""},{"tag":"t"},{"group":{"authority":"a","name":"g"}},{"prefix":"http://a.test/v1"},{"all":true}]"#;
        let took = Duration::from_micros(12_999);
        for (result, found, status, members) in [
            (
                Ok(PurgeResult::counted(3, 3)),
                Some(0),
                200,
                r#""outcome":"everywhere","nodes":3,"confirmed":3,"found":0"#,
            ),
            (
                Ok(PurgeResult {
                    coarser: vec![
                        PurgeScope::Prefix(UrlPrefix::parse("http://a.test/v").unwrap()),
                        PurgeScope::All,
                    ],
                    ..PurgeResult::counted(1, 1)
                }),
                None,
                200,
                r#""outcome":"everywhere","nodes":1,"confirmed":1,"coarser":[{"prefix":"http://a.test/v"},{"all":true}],"found":"unknown""#,
            ),
            (
                Ok(PurgeResult::counted(3, 2)),
                Some(2),
                202,
                r#""outcome":"not-everywhere","nodes":3,"confirmed":2,"found":2"#,
            ),
            (
                Ok(PurgeResult {
                    unconfirmed: vec!["cache-1:8000".to_owned(), "b".to_owned()],
                    dropped: vec!["b".to_owned()],
                    ..PurgeResult::counted(3, 1)
                }),
                Some(2),
                202,
                r#""outcome":"not-everywhere","nodes":3,"confirmed":1,"unconfirmed":["cache-1:8000","b"],"dropped":["b"],"found":2"#,
            ),
            (
                Ok(PurgeResult { unknown_subscribers: 2, ..PurgeResult::counted(2, 1) }),
                Some(2),
                202,
                r#""outcome":"not-everywhere","nodes":2,"confirmed":1,"unknown_subscribers":2,"found":2"#,
            ),
            (
                Ok(PurgeResult { other_rules: vec!["b".to_owned()], ..PurgeResult::counted(3, 2) }),
                None,
                202,
                r#""outcome":"not-everywhere","nodes":3,"confirmed":2,"nodes_with_other_rules":["b"],"found":"unknown""#,
            ),
            (
                Ok(PurgeResult { replication: Replication::Some, ..PurgeResult::counted(3, 3) }),
                None,
                202,
                r#""outcome":"not-everywhere","nodes":3,"confirmed":3,"replicas":"unconfirmed","found":"unknown""#,
            ),
            (
                Ok(PurgeResult {
                    sync_refused: Some(CommandError::Server(ErrorKind::NoPerm)),
                    ..PurgeResult::counted(1, 0)
                }),
                Some(1),
                202,
                r#""outcome":"not-everywhere","nodes":1,"confirmed":0,"sync":"Redis refused the command (no-perm)","found":1"#,
            ),
            (
                Err(PurgeError::Redis(CommandError::Closed)),
                None,
                503,
                r#""title":"Service Unavailable","status":503,"detail":"the connection to Redis ended; this node serves no purged entry, but Redis and other nodes may until a repetition succeeds","outcome":"unavailable","this_node":"purged","redis":"unknown","other_nodes":"unknown","found":"unknown""#,
            ),
        ] {
            assert_eq!(PurgeOutcome::of(&result).status().as_u16(), status);
            let want = format!(r#"{{{members},"took_ms":12,"strength":"hard","purged":{purged}}}"#);
            assert_eq!(PurgeOutcome::document(&order, &result, found, took), want);
        }
    }
}
