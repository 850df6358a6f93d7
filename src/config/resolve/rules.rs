//! The settings of the policy: lifetimes, storable responses, and the meanings of fields.

use std::time::Duration;

use http::header::HeaderName;

use crate::config::reporting::error::ConfigError;
use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::values;
use crate::config::table::Name;
use crate::key::{KeyRules, NameKey};
use crate::limits::{BODY_BYTES_MAX, LIFETIME_MAX};
use crate::policy;
use crate::request_fields::{RequestFields, contain_spelling};
use crate::telemetry::trace::{REPEATED_FIELDS, TraceOptions};

impl Resolver<'_> {
    /// Resolves the rules of the policy.
    pub(in crate::config) fn rules(
        &mut self,
        request_id_header: Option<&HeaderName>,
        traces: &TraceOptions,
        name_key: NameKey,
    ) -> Option<policy::CacheRules> {
        let (keys, fields) = self.request_fields(request_id_header, name_key)?;
        let mut rules = policy::CacheRules {
            default_ttl: self.duration(Name::CacheDefaultTtl, Duration::ZERO..=LIFETIME_MAX)?,
            negative_ttl: self.duration(Name::CacheNegativeTtl, Duration::ZERO..=LIFETIME_MAX)?,
            stale_while_revalidate: self
                .duration(Name::CacheStaleWhileRevalidate, Duration::ZERO..=LIFETIME_MAX)?,
            stale_if_error: self.duration(Name::CacheStaleIfError, Duration::ZERO..=LIFETIME_MAX)?,
            jitter: self.take(Name::CacheTtlJitter, |text| values::percent(text, 0..=100))?,
            early_refresh: self.take(Name::CacheEarlyRefresh, |text| values::percent(text, 0..=1000))?,
            body_bytes_max: self.size(Name::CacheMaxBody, 1..=BODY_BYTES_MAX)?,
            content_types: self.take(Name::CacheContentTypes, values::content_types)?,
            statuses: self.take(Name::CacheStatuses, values::statuses)?,
            tag_headers: self.take(Name::TagHeaders, values::header_names)?,
            tag_headers_visible: self.take(Name::TagHeadersVisible, |text| {
                values::switch(text, policy::TagVisibility::Yes, policy::TagVisibility::No)
            })?,
            client_cache_control: self.take(Name::IgnoreClientCacheControl, |text| {
                values::switch(text, policy::ClientCacheControl::Ignored, policy::ClientCacheControl::Obeyed)
            })?,
            client_certificates: self.client_certificates()?,
            stale_despite_s_maxage: self.take(Name::StaleDespiteSMaxage, |text| {
                values::switch(text, policy::StaleDespiteSMaxage::Yes, policy::StaleDespiteSMaxage::No)
            })?,
            unstored_headers: self.take(Name::UnstoredHeaders, values::header_names)?,
            keys,
            fields,
            ignored_cookies: self.take(Name::IgnoredCookies, values::cookies)?,
            ..policy::CacheRules::default()
        };
        let needed = |header: &&HeaderName| policy::is_unstorable_without(header, &rules);
        if let Some(header) = rules.unstored_headers.iter().find(needed).cloned() {
            self.note(Name::UnstoredHeaders, ConfigError::NeededHeader(header));
            return None;
        }
        if let Some(header) = request_id_header {
            if policy::is_unstorable_without(header, &rules) {
                self.note(Name::RequestIdHeader, ConfigError::NeededHeader(header.clone()));
                return None;
            }
            rules.unstored_headers.push(header.clone());
        }
        if traces.endpoint.is_some() {
            // The origin knows the trace of the request that began the fetch, and may repeat it.
            rules.unstored_headers.extend(REPEATED_FIELDS.iter().cloned());
        }
        Some(rules)
    }

    /// Resolves the three settings that name request fields. A field may be in one of them only.
    fn request_fields(
        &mut self,
        request_id: Option<&HeaderName>,
        name_key: NameKey,
    ) -> Option<(KeyRules, RequestFields)> {
        let credential = self.take(Name::CredentialHeaders, values::header_names)?;
        let key = self.take(Name::KeyHeaders, values::key_headers)?;
        let mut harmless = self.take(Name::HarmlessHeaders, values::harmless_headers)?;
        let in_both = |names: &[HeaderName], others: &[HeaderName]| {
            names.iter().find(|name| contain_spelling(others, name)).cloned()
        };
        for (name, names, other, others) in [
            (Name::KeyHeaders, &key, Name::CredentialHeaders, &credential),
            (Name::HarmlessHeaders, &harmless, Name::CredentialHeaders, &credential),
            (Name::HarmlessHeaders, &harmless, Name::KeyHeaders, &key),
        ] {
            if let Some(header) = in_both(names, others) {
                self.note(name, ConfigError::InBoth { header, other });
            }
        }
        if let Some(header) = request_id {
            self.check_request_id(
                header,
                &[(Name::CredentialHeaders, &credential), (Name::KeyHeaders, &key)],
            );
            harmless.push(header.clone());
        }
        let fields = RequestFields::new(&credential, &key, &harmless);
        Some((KeyRules::new(key, name_key), fields))
    }
}
