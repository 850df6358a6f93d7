//! Every reason not to store a response, each with the clause or the setting that it stands in.
//!
//! The head has its reasons, and so has the body, which another module gathers. They are one list,
//! so that one counter knows all of them.

use crate::policy::parse::credential::Credential;
use crate::policy::store::stored::CredentialRefusal;

crate::labels! {
    /// Why a response is not stored.
    pub enum NotStorable {
        /// Only the answer to a `GET` is stored.
        Method => "method" in "RFC 9111 §3",
        /// The client forbids it.
        RequestNoStore => "request-no-store" in "RFC 9111 §5.2.1.5",
        /// The origin forbids it.
        NoStore => "no-store" in "RFC 9111 §5.2.2.5",
        /// It is for one user.
        Private => "private" in "RFC 9111 §5.2.2.7",
        /// The origin wants to be asked each time, and gave nothing to ask it with.
        NoCache => "no-cache" in "RFC 9111 §5.2.2.4",
        /// `Cache-Control` cannot be read, and might say any of these.
        Malformed => "cache-control-malformed" in "RFC 9111 §5.2",
        /// The request carried `Authorization`, and the response does not say that it may be
        /// shared.
        Authorization => "authorization" in "RFC 9111 §3.5",
        /// The request carried `Cookie`, and the response does not say that it may be shared.
        Cookie => "cookie" in "RFC 9111 §3.5, ordinary_cookies",
        /// The request carried a credential that the operator named, and the response does not say
        /// that it may be shared.
        CredentialHeader => "credential-header" in "RFC 9111 §3.5, credential_headers",
        /// The request carried a field that nothing is known of, and the response does not state
        /// its freshness.
        UnlistedField => "unlisted-field" in "key_headers, harmless_headers",
        /// The request carried a field that a shared fetch would not have sent, and reached the
        /// origin as it came.
        UnkeyedField => "unkeyed-field" in "RFC 9111 §2, harmless_headers",
        /// It sets a cookie, and does not say that it may be shared.
        SetCookie => "set-cookie" in "RFC 9111 §7.3, ordinary_cookies",
        /// The status is not one that is stored.
        Status => "status" in "RFC 9111 §3, cache_statuses",
        /// It is a part of something.
        PartialContent => "partial-content" in "RFC 9111 §3.3",
        /// It says that it is a part of something, and its status does not.
        ContentRange => "content-range" in "RFC 9110 §14.4",
        /// The media type is not one that is stored.
        ContentType => "content-type" in "cache_content_types",
        /// No other request can match it.
        VaryStar => "vary-star" in "RFC 9111 §4.1",
        /// It depends on more request fields than we follow.
        VaryFields => "vary-fields" in "RFC 9111 §4.1",
        /// It has more tags than can be followed, or one that cannot: a purge would pass it by.
        Tags => "tags" in "tag_headers",
        /// Nobody says how long it is fresh, and it has no validator.
        NoFreshness => "no-freshness" in "RFC 9111 §3, cache_default_ttl",
        /// It is stale already, and has no validator.
        Expired => "expired" in "RFC 9111 §4.2",
        /// A `HEAD` says nothing that shows whether it is about what is stored.
        NoValidator => "no-validator" in "RFC 9111 §4.3.5",
        /// What is stored is no longer what the origin has, or no longer chosen by the same fields.
        Changed => "changed" in "RFC 9111 §4.3",
        /// The response to a `POST` does not say that it is what a `GET` would give.
        ContentLocation => "content-location" in "RFC 9110 §9.3.3",
        /// The head is too large for an entry.
        HeadTooLarge => "head-too-large" in "RFC 9111 §3",
        /// The body is larger than `cache_max_body`.
        BodyTooLarge => "body-too-large" in "cache_max_body",
        /// Bodies on their way hold as much memory as they may.
        BodyMemory => "body-memory" in "max_body_memory",
        /// Only the end of the connection ends the body, and a cut looks the same.
        Undelimited => "undelimited" in "RFC 9112 §8",
        /// The body ended before its length said, or without saying so.
        CutBody => "cut-body" in "RFC 9111 §3.3",
        /// The body is coded in a way that we cannot look into.
        ContentEncoding => "content-encoding" in "RFC 9110 §8.4",
        /// It was asked for the first time, while too much of what is stored is new, or Redis has
        /// no room.
        FirstSight => "first-sight" in "cache_first_sight_size",
        /// There is no store.
        NoTier => "no-tier" in "redis_url, cache_memory_size",
        /// The body says that it is JSON and is not.
        InvalidJson => "invalid-json" in "RFC 8259 §2",
    }
}

impl From<CredentialRefusal> for NotStorable {
    fn from(refusal: CredentialRefusal) -> Self {
        match refusal {
            CredentialRefusal::Credential(Credential::Authorization) => Self::Authorization,
            CredentialRefusal::Credential(Credential::Cookie) => Self::Cookie,
            CredentialRefusal::Credential(Credential::Header) => Self::CredentialHeader,
            CredentialRefusal::UnlistedField => Self::UnlistedField,
        }
    }
}
