//! Withdrawal: the outcome for a stored response if the origin answers its validation with a whole
//! response that may not be stored.
//!
//! RFC 9111 §4.3.3: a full response shows that the stored one is no longer suitable, whether or not
//! the new response may be stored. A server error shows nothing, and the refusal of one request
//! must not empty the cache for all others.

use http::StatusCode;

use crate::policy::reuse::request::RequestFacts;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::validate::freshen::FreshenOutcome;

/// The party that started the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// A client: the origin received fields that the client chose.
    Client,
    /// The cache: the origin received the target and the fields that select the variant.
    Refresh,
}

/// Decides whether a response that is not stored for this `reason` withdraws the stored response.
/// `status` and `request` are those of the fetch.
///
/// The result is [`FreshenOutcome::Invalidated`] only for a request without a credential and
/// without an unlisted field, which may be a credential: the origin's refusal of one token must not
/// remove the response of all clients. If the
/// status refuses the form of one request, the result is `Invalidated` only if the cache itself
/// wrote that request.
pub fn withdrawn(
    initiator: Initiator,
    request: &RequestFacts,
    status: StatusCode,
    reason: NotStorable,
) -> FreshenOutcome {
    let is_of_the_resource = request.credential().is_none()
        && !request.has_unlisted
        && reason.is_of_the_response()
        && match StatusSubject::of(status) {
            StatusSubject::Resource => true,
            StatusSubject::Request => initiator == Initiator::Refresh,
            StatusSubject::Moment => false,
        };
    if is_of_the_resource { FreshenOutcome::Invalidated(reason) } else { FreshenOutcome::Unchanged(reason) }
}

/// Returns whether a request's own fields, connection or client address may have caused a response
/// with this status: a field that is too long or that a firewall refuses, a rate of its client, or
/// a fault of the origin in handling a field. Such a response shows nothing about other requests
/// for the resource.
pub fn may_be_of_one_request(status: StatusCode) -> bool {
    match StatusSubject::of(status) {
        StatusSubject::Request => true,
        // A firewall forbids a `User-Agent`.
        StatusSubject::Resource => status == StatusCode::FORBIDDEN,
        // A gateway in front of the origin states as 502 that a server refused the head.
        StatusSubject::Moment => matches!(status.as_u16(), 408 | 421 | 425 | 429 | 500 | 502),
    }
}

/// The subject of a status.
enum StatusSubject {
    /// The resource, for every client.
    Resource,
    /// The form of the request.
    Request,
    /// The server or the connection at this moment.
    Moment,
}

impl StatusSubject {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            // Request timeout, misdirected request, too early, too many requests. §4.3.3: a cache
            // may treat any 5xx as if the server had not responded.
            408 | 421 | 425 | 429 | 500.. => Self::Moment,
            // A part, or a response to a condition or a range that the cache does not send.
            206 | 304 | 412 | 416 => Self::Moment,
            // Malformed, of the wrong length, media type or protocol, too long, too many fields.
            400 | 406 | 407 | 411 | 413 | 414 | 415 | 417 | 426 | 428 | 431 => Self::Request,
            _ => Self::Resource,
        }
    }
}

impl NotStorable {
    /// Returns whether the reason lies in a whole response, and not in the request, in a part or in
    /// this process.
    const fn is_of_the_response(self) -> bool {
        match self {
            Self::NoStore
            | Self::Private
            | Self::NoCache
            | Self::Malformed
            | Self::SetCookie
            | Self::Status
            | Self::ContentRange
            | Self::ContentType
            | Self::VaryStar
            | Self::VaryFields
            | Self::Tags
            | Self::NoFreshness
            | Self::Expired
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::Undelimited
            | Self::ContentEncoding
            | Self::InvalidJson => true,
            Self::Method
            | Self::RequestNoStore
            | Self::Authorization
            | Self::Cookie
            | Self::CredentialHeader
            | Self::ClientCertificate
            | Self::UnlistedField
            | Self::UnkeyedField
            | Self::PartialContent
            | Self::NoValidator
            | Self::Changed
            | Self::ContentLocation
            | Self::BodyMemory
            | Self::CutBody
            | Self::Unread
            | Self::CheckTimeout
            | Self::NotAdmitted
            | Self::Held
            | Self::NoTier => false,
        }
    }
}
