//! An explanation as one header field: a JSON object in printable ASCII, of at most
//! [`EXPLANATION_BYTES_MAX`](crate::limits::EXPLANATION_BYTES_MAX).
//!
//! Durations are in seconds, and so is the time at which a response was received, counted from the
//! Unix epoch.

use std::time::Duration;

use http::HeaderValue;

use crate::json::{self, JsonObject};
use crate::key::{CacheKey, Target};
use crate::label::Label;
use crate::limits::{
    AUTHORITY_BYTES_MAX, EXPLAINED_FIELD_BYTES_MAX, EXPLAINED_TARGET_BYTES_MAX, NAMESPACE_BYTES_MAX,
    ROUTE_NAME_BYTES_MAX,
};
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::explain::notes::{DatedFacts, ExplainedLookup, Explanation};
use crate::store::Namespace;

impl Explanation {
    /// Returns the value of the field. A value always results, because [`json`] writes printable
    /// ASCII only.
    pub(super) fn field(&self, outcome: Outcome) -> Option<HeaderValue> {
        HeaderValue::try_from(json::object(|object| self.write(object, outcome))).ok()
    }

    fn write(&self, object: &mut JsonObject<'_>, outcome: Outcome) {
        object.word("route", self.route);
        object.word("outcome", outcome.word());
        self.write_facts(object);
    }

    /// Writes the entry that was found, and the decisions of the rules.
    pub(super) fn write_facts(&self, object: &mut JsonObject<'_>) {
        if let Some(name) = &self.matched {
            object.text("matched_route", name, ROUTE_NAME_BYTES_MAX);
        }
        if let Some(reason) = self.passes {
            object.word("passes", reason.word());
        }
        if let Some((target, key, namespace)) = &self.target {
            object.object("key", usize::MAX, |object| write_key(object, target, key, namespace));
        }
        if !self.unlisted.is_empty() {
            let names = self.unlisted.iter().map(|name| name.as_str());
            object.texts("unlisted_fields", names, EXPLAINED_FIELD_BYTES_MAX);
        }
        if let Some(location) = &self.location
            && let Some(selecting) = &location.selecting
        {
            object.object("variant", usize::MAX, |object| {
                write_name(object, &location.key);
                object.object("fields", usize::MAX, |object| selecting.write(object));
            });
        }
        match self.found {
            Some(ExplainedLookup::In(tier)) => object.word("found", tier.word()),
            Some(ExplainedLookup::Nothing) => object.word("found", "nothing"),
            None => {}
        }
        for (name, dated) in [("stored", &self.stored), ("fetched", &self.fetched)] {
            if let Some(dated) = dated {
                object.object(name, usize::MAX, |object| dated.write(object));
            }
        }
        if let Some((role, forward)) = self.fetch {
            object.word("forward", forward.word());
            object.word("role", role.word());
        }
        if let Some(refresh) = self.refresh {
            object.word("refresh", refresh.word());
        }
        if let Some(failure) = self.failure {
            object.word("failure", failure.word());
        }
        object.objects("rules", self.rules.iter(), |object, (question, ruling)| {
            object.word("rule", question.word());
            object.word("says", ruling.verdict.word());
            object.word("because", ruling.because);
            object.word("clause", ruling.clause);
        });
    }
}

fn write_key(object: &mut JsonObject<'_>, target: &Target, key: &CacheKey, namespace: &Namespace) {
    object.word("scheme", target.scheme.as_str());
    object.text("authority", target.authority.as_str(), AUTHORITY_BYTES_MAX);
    object.text("target", target.path_and_query.as_str(), EXPLAINED_TARGET_BYTES_MAX);
    object.text("namespace", namespace.as_str(), NAMESPACE_BYTES_MAX);
    write_name(object, key);
}

fn write_name(object: &mut JsonObject<'_>, key: &CacheKey) {
    object.text("name", &String::from_utf8_lossy(&key.hex()), EXPLAINED_FIELD_BYTES_MAX);
}

impl DatedFacts {
    fn write(&self, object: &mut JsonObject<'_>) {
        let Self { facts, now } = self;
        object.seconds("received", Duration::from_millis(facts.received.as_millis()));
        object.seconds("initial_age", facts.initial_age);
        object.seconds("age", facts.age(*now));
        object.seconds("lifetime", facts.lifetime);
        object.seconds("ttl", facts.ttl(*now));
        object.seconds("stale_for", facts.stale_for(*now));
        object.seconds("stale_while_revalidate", facts.stale_while_revalidate);
        object.seconds("stale_if_error", facts.stale_if_error);
        object.seconds("keep_for", facts.keep_for(*now));
        object.words("obligations", facts.obligations.names());
    }
}
