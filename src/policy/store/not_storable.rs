//! The reasons against storing a response, each with the clause or the setting that it is based on.
//!
//! The policy finds the reasons in the head; another module finds those in the body. All reasons
//! are one enum, so that one counter covers them.

use crate::policy::credential_set::Credential;

crate::labels! {
    /// The reason against storing a response.
    pub enum NotStorable {
        /// Only the response to a `GET` is stored.
        Method => "method" in "RFC 9111 §3",
        /// The client forbids it.
        RequestNoStore => "request-no-store" in "RFC 9111 §5.2.1.5",
        /// The origin forbids it.
        NoStore => "no-store" in "RFC 9111 §5.2.2.5",
        /// It is for one user.
        Private => "private" in "RFC 9111 §5.2.2.7",
        /// The origin requires validation before each use and sent no validator.
        NoCache => "no-cache" in "RFC 9111 §5.2.2.4",
        /// `Cache-Control` is malformed and may contain any restriction.
        Malformed => "cache-control-malformed" in "RFC 9111 §5.2",
        /// The request carried `Authorization`, and the response does not allow sharing.
        Authorization => "authorization" in "RFC 9111 §3.5",
        /// The request carried `Cookie`, and the response does not allow sharing.
        Cookie => "cookie" in "RFC 9111 §3.5, ignored_cookies",
        /// The request carried a credential field that the operator listed, and the response does
        /// not allow sharing.
        CredentialHeader => "credential-header" in "RFC 9111 §3.5, credential_headers",
        /// The client has a certificate, and the response does not allow sharing.
        ClientCertificate => "client-certificate" in "RFC 9111 §3.5, tls_client_credential",
        /// The request carried an unlisted field, and the response does not state its freshness.
        UnlistedField => "unlisted-field" in "key_headers, harmless_headers",
        /// The request reached the origin with a field that a shared fetch would not have sent.
        UnkeyedField => "unkeyed-field" in "RFC 9111 §2, harmless_headers",
        /// It sets a cookie and does not allow sharing.
        SetCookie => "set-cookie" in "RFC 9111 §7.3, ignored_cookies",
        /// The status is not storable.
        Status => "status" in "RFC 9111 §3, cache_statuses",
        /// It is a part of a representation.
        PartialContent => "partial-content" in "RFC 9111 §3.3",
        /// It has a `Content-Range`, but its status is not that of a part.
        ContentRange => "content-range" in "RFC 9110 §14.4",
        /// The media type is not storable.
        ContentType => "content-type" in "cache_content_types",
        /// No other request can match it.
        VaryStar => "vary-star" in "RFC 9111 §4.1",
        /// It depends on more request fields than the limit.
        VaryFields => "vary-fields" in "RFC 9111 §4.1",
        /// It has more tags than the limit, or an invalid one: a purge would miss it.
        Tags => "tags" in "tag_headers",
        /// No rule gives a lifetime, and it has no validator.
        NoFreshness => "no-freshness" in "RFC 9111 §3, cache_default_ttl",
        /// It is already stale and has no validator.
        Expired => "expired" in "RFC 9111 §4.2",
        /// The `HEAD` response has no validator, so it does not show whether it matches the stored
        /// response.
        NoValidator => "no-validator" in "RFC 9111 §4.3.5",
        /// The stored response differs from the origin's, or is selected by other fields now.
        Changed => "changed" in "RFC 9111 §4.3",
        /// The response to a `POST` does not identify itself as the representation that a `GET`
        /// would return.
        ContentLocation => "content-location" in "RFC 9110 §9.3.3",
        /// The head is too large for an entry.
        HeadTooLarge => "head-too-large" in "RFC 9111 §3",
        /// The body is larger than `cache_max_body`.
        BodyTooLarge => "body-too-large" in "cache_max_body",
        /// The bodies in transit use all memory that they may use.
        BodyMemory => "body-memory" in "max_body_memory",
        /// Only the end of the connection ends the body, and its content does not show whether it
        /// is complete.
        Undelimited => "undelimited" in "RFC 9112 §8",
        /// The body ended before its stated length or without its end marker, or its connection
        /// ended it before its content was complete.
        CutBody => "cut-body" in "RFC 9111 §3.3",
        /// The body went on without a reader for longer than the response is fresh, or for
        /// `origin_body_timeout`.
        Unread => "unread" in "origin_body_timeout",
        /// The body has a content coding that CacheWarp cannot decode.
        ContentEncoding => "content-encoding" in "RFC 9110 §8.4",
        /// This is the first request for it, and the budget for new keys is spent or Redis has no
        /// room.
        NotAdmitted => "not-admitted" in "cache_admission_budget",
        /// A write has purged it a moment ago, and a replica of the origin may still show the old
        /// state.
        Held => "held" in "routes_file",
        /// No tier is configured.
        NoTier => "no-tier" in "redis_url, cache_memory_size",
        /// The body claims to be JSON and is not.
        InvalidJson => "invalid-json" in "RFC 8259 §2",
        /// The check of its JSON did not begin in time, because other checks took too long.
        CheckTimeout => "check-timeout" in "cache_max_body",
    }
}

/// The part of a request that forbids a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum CredentialRefusal {
    /// A credential.
    Credential(Credential),
    /// An unlisted field.
    UnlistedField,
}

impl From<CredentialRefusal> for NotStorable {
    fn from(refusal: CredentialRefusal) -> Self {
        match refusal {
            CredentialRefusal::Credential(Credential::Authorization) => Self::Authorization,
            CredentialRefusal::Credential(Credential::Cookie) => Self::Cookie,
            CredentialRefusal::Credential(Credential::Header) => Self::CredentialHeader,
            CredentialRefusal::Credential(Credential::ClientCertificate) => Self::ClientCertificate,
            CredentialRefusal::UnlistedField => Self::UnlistedField,
        }
    }
}
