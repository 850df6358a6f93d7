//! Counts of recorded requests and of the fields in them.

use std::collections::BTreeMap;

use http::Method;

use crate::limits::SURVEY_NAMES_MAX;
use crate::request_fields::{FieldClass, RequestFields};

use crate::survey::recorded_head::RecordedHead;

/// Counts over all recorded requests.
#[derive(Debug)]
pub(super) struct FieldTally {
    fields: RequestFields,
    /// Requests with `GET` or `HEAD`.
    pub(super) requests: u64,
    /// Requests with any other method: the cache never answers them.
    pub(super) other_methods: u64,
    /// Requests with a field that keeps default freshness from applying.
    pub(super) prevented: u64,
    /// Counts of each name.
    pub(super) names: BTreeMap<String, NameCount>,
    /// Field lines whose names were beyond [`SURVEY_NAMES_MAX`].
    pub(super) beyond_names: u64,
}

/// Counts of one field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameCount {
    pub(super) class: FieldClass,
    /// Requests with the field.
    pub(super) requests: u64,
    /// Requests in which it is the only field that prevents default freshness.
    pub(super) alone: u64,
}

impl FieldTally {
    pub(super) fn new(fields: &RequestFields) -> Self {
        Self {
            fields: fields.clone(),
            requests: 0,
            other_methods: 0,
            prevented: 0,
            names: BTreeMap::new(),
            beyond_names: 0,
        }
    }

    /// Returns whether no request was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0 && self.other_methods == 0
    }

    /// Counts a request.
    pub(super) fn add(&mut self, head: &RecordedHead) {
        if head.method != Method::GET && head.method != Method::HEAD {
            self.other_methods += 1;
            return;
        }
        self.requests += 1;
        let mut names: Vec<_> = head.names.iter().map(|name| (name, self.fields.class(name))).collect();
        names.sort_unstable_by_key(|(name, _)| name.as_str());
        names.dedup_by_key(|(name, _)| name.as_str());
        let preventing =
            names.iter().filter(|(_, class)| FieldEffect::of(*class) == FieldEffect::Prevents).count();
        self.prevented += u64::from(preventing > 0);
        for (name, class) in names {
            let alone = preventing == 1 && FieldEffect::of(class) == FieldEffect::Prevents;
            if let Some(count) = self.names.get_mut(name.as_str()) {
                count.requests += 1;
                count.alone += u64::from(alone);
            } else if self.names.len() < SURVEY_NAMES_MAX {
                self.names.insert(
                    name.as_str().to_owned(),
                    NameCount { class, requests: 1, alone: u64::from(alone) },
                );
            } else {
                self.beyond_names += 1;
            }
        }
    }
}

/// The effect of a field on freshness that the origin does not state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldEffect {
    /// No request with the field gets default freshness.
    Prevents,
    /// The field has no effect.
    Allows,
}

impl FieldEffect {
    pub(super) const fn of(class: FieldClass) -> Self {
        match class {
            FieldClass::Credential | FieldClass::Unlisted => Self::Prevents,
            FieldClass::Sent
            | FieldClass::Withheld
            | FieldClass::Dropped
            | FieldClass::Key
            | FieldClass::Connection => Self::Allows,
        }
    }
}
