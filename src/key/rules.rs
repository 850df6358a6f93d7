//! The rules by which requests become cache keys.

use http::header::HeaderName;
use http::uri::PathAndQuery;

use crate::key::cache_key::CacheKey;
use crate::key::name_key::NameKey;
use crate::key::query::QueryRules;
use crate::key::target::Target;

/// The rules by which requests become cache keys. The proxy, purges and explanations make every key
/// with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    headers: Vec<HeaderName>,
    query: Option<QueryRules>,
    retrieval: KeyedRetrieval,
    name_key: NameKey,
}

/// The requests that have a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum KeyedRetrieval {
    /// `GET`, and `HEAD`.
    #[default]
    Get,
    /// `QUERY` (RFC 10008 §2.7).
    Query,
}

impl KeyRules {
    /// Returns the rules with these request fields in every key.
    pub fn new(headers: Vec<HeaderName>, name_key: NameKey) -> Self {
        Self { headers, query: None, retrieval: KeyedRetrieval::Get, name_key }
    }

    /// Returns the rules with more request fields in every key, and with rules for the query.
    #[must_use]
    pub fn with(&self, headers: &[HeaderName], query: Option<QueryRules>) -> Self {
        let mut all = self.headers.clone();
        all.extend(headers.iter().filter(|name| !self.headers.contains(name)).cloned());
        Self { headers: all, query, retrieval: self.retrieval, name_key: self.name_key.clone() }
    }

    /// Returns the same rules for `QUERY` requests. `content` names the field with the digest of a
    /// request's content, which selects among the responses.
    #[must_use]
    pub fn for_queries(&self, content: HeaderName) -> Self {
        let headers = [&[content], &self.headers[..]].concat();
        Self { headers, retrieval: KeyedRetrieval::Query, ..self.clone() }
    }

    /// Returns the key of names, which the digests of tags have too.
    pub fn name_key(&self) -> &NameKey {
        &self.name_key
    }

    /// Returns the request fields that are part of every key.
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Returns the target that the origin is asked for, and whose key is looked up.
    pub fn asked(&self, target: Target) -> Target {
        match self.normal_query(&target) {
            Some(path_and_query) => Target { path_and_query, ..target },
            None => target,
        }
    }

    /// Returns whether a `GET` of the target asks the origin for the target itself.
    pub fn is_asked(&self, target: &Target) -> bool {
        self.normal_query(target).is_none()
    }

    /// Computes the key of a whole resource.
    pub fn resource(&self, target: &Target) -> CacheKey {
        match self.normal_query(target) {
            Some(path_and_query) => self.key(&Target { path_and_query, ..target.clone() }),
            None => self.key(target),
        }
    }

    fn key(&self, target: &Target) -> CacheKey {
        match self.retrieval {
            KeyedRetrieval::Get => CacheKey::of_resource(target, &self.name_key),
            KeyedRetrieval::Query => CacheKey::of_queries(target, &self.name_key),
        }
    }

    fn normal_query(&self, target: &Target) -> Option<PathAndQuery> {
        self.query.as_ref()?.normal_form(&target.path_and_query)
    }

    /// Computes the key of one variant of a resource: see [`CacheKey::variant`].
    pub fn variant<'a>(
        &self,
        resource: &CacheKey,
        nonce: u64,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> CacheKey {
        resource.variant(nonce, fields)
    }
}
