//! RFC 9111 as pure functions over message heads and *now*: which responses may be stored, and
//! which stored responses may be served.
//!
//! There are two gates. A response reaches a second client only through both:
//!
//! - [`storable()`] checks every response head before it is stored. It returns the [`StoredFacts`]
//!   that the second gate needs, or the reason against storing.
//! - [`reuse()`] checks every stored response before it answers a request, whichever tier holds it.
//!   It also checks the response of a shared fetch for each follower.
//!
//! If a stored response is stale or has to be validated, [`make_conditional`] prepares the request
//! to the origin, and [`freshen`] applies the `304`, passing the updated head through the first
//! gate again. [`withdrawn`] applies a whole response that may not be stored. If the origin fails,
//! [`stale_on_error`] decides whether the stored response may be served after all. Once the
//! response is chosen, [`precondition`] and then [`ranges`] apply the client's own conditions and
//! range. [`invalidated`] lists the targets that an unsafe request invalidates.
//!
//! All gates read a request as [`RequestFacts`], which is built once per request. No function here
//! reads a clock, a socket or a random number, or writes a log. No gate returns a bare "no": a
//! refusal is a [label](crate::label), which metrics, logs and `Cache-Status` repeat. A [`Ruling`]
//! shows the decision of a gate together with its clause.
//!
//! **Invariant:** the parsers read ambiguous input in its strictest meaning. A response is shared
//! because every rule allows it, never because no rule matches.

mod credential_set;
mod exchange;
mod parse;
mod reuse;
mod ruling;
mod store;
mod validate;

#[cfg(test)]
mod tests;

pub use crate::policy::credential_set::{Credential, CredentialSet};
pub use crate::policy::parse::cookies::IgnoredCookies;
pub use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds, DirectiveSource, Directives};
pub use crate::policy::parse::groups::GroupNames;
pub use crate::policy::parse::media::is_json;
pub use crate::policy::parse::retry::retry_after;
pub use crate::policy::parse::seconds::DeltaSeconds;
pub use crate::policy::parse::tags::{strip_tags, tags};
pub use crate::policy::parse::targeted::strip_addressed;
pub use crate::policy::reuse::conditions::{
    Precondition, not_modified_fields, precondition, refusal_fields, strip_conditions,
};
pub use crate::policy::reuse::decide::{NotReusable, Reuse, is_shared_on_arrival, reuse, reuse_on_arrival};
pub use crate::policy::reuse::multipart::{MultipartBody, MultipartPiece, multipart};
pub use crate::policy::reuse::range::{ByteRange, RangeSelection, content_range, ranges, unsatisfied_range};
pub use crate::policy::reuse::refresh::refresh_early;
pub use crate::policy::reuse::request::RequestFacts;
pub use crate::policy::reuse::stale::{OriginFailure, stale_on_error};
pub use crate::policy::reuse::vary::{SelectingField, Vary, VaryFields};
pub use crate::policy::store::fields::{is_stored_field, is_unstorable_without, stored_fields};
pub use crate::policy::store::not_storable::NotStorable;
pub use crate::policy::store::overrides::{OverrideSet, RulesDigest, StaleResponses, StatedFreshness};
pub use crate::policy::store::post::storable_post;
pub use crate::policy::store::rules::{
    CacheRules, ClientCacheControl, ClientCertificates, ContentTypes, StaleDespiteSMaxage, StatusError,
    StorableStatuses, TagVisibility,
};
pub use crate::policy::store::status::{is_stored_status, means_content};
pub use crate::policy::store::storable::storable;
pub use crate::policy::store::stored::{Obligations, StoredFacts};
pub use crate::policy::validate::freshen::{
    FreshenOutcome, FreshenedResponse, NotSelectedError, StoredHead, freshen, freshen_by_head,
    make_conditional,
};
pub use crate::policy::validate::invalidation::{invalidated, is_unsafe, may_have_written};
pub use crate::policy::validate::withdrawal::{Initiator, may_be_of_one_request, withdrawn};
pub use exchange::Exchange;
pub use ruling::{Ruling, RulingVerdict};
