//! The rules of requests: the settings that a request is decided by.

use std::rc::Rc;
use std::time::Duration;

use crate::key::{CacheKey, KeyRules, Target};
use crate::policy::CacheRules;
use crate::proxy::options::Options;

/// The rules of a request.
pub(in crate::proxy) struct RequestRules {
    /// The rules of the policy.
    pub(in crate::proxy) cache: CacheRules,
    /// The time that a request waits for a shared fetch of its key before it fetches alone.
    pub(in crate::proxy) collapse_timeout: Duration,
}

/// The rules of all requests of a worker.
pub(in crate::proxy) struct RuleSet {
    settings: Rc<RequestRules>,
}

impl RuleSet {
    /// Creates the set in which every request has the rules of the settings.
    pub(in crate::proxy) fn new(cache: CacheRules, options: &Options) -> Self {
        let settings = RequestRules { cache, collapse_timeout: options.collapse_timeout };
        Self { settings: Rc::new(settings) }
    }

    /// Returns the rules of the settings.
    pub(in crate::proxy) fn settings(&self) -> &Rc<RequestRules> {
        &self.settings
    }

    /// Returns the rules of a `GET` of the target.
    pub(in crate::proxy) fn of_get(&self, _target: &Target) -> &Rc<RequestRules> {
        &self.settings
    }

    /// Returns the key under which a `GET` of the target is stored.
    pub(in crate::proxy) fn resource_key(&self, target: &Target) -> CacheKey {
        self.keys(target).resource(target)
    }

    fn keys(&self, target: &Target) -> &KeyRules {
        &self.of_get(target).cache.keys
    }
}
