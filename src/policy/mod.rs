//! RFC 9111 as pure functions over heads and *now*: what may be stored, and what may be served from
//! a store.
//!
//! There are two gates, and nothing passes from the origin to a second client but through both:
//!
//! - [`storable()`] stands between a response head and every store. It answers with the
//!   [`StoredFacts`] that the second gate will need, or with the reason why not.
//! - [`reuse()`] stands between an entry and every request, whichever tier the entry comes from,
//!   and also between a shared fetch and those who wait for it.
//!
//! What is stale or wants the origin to be asked goes through [`make_conditional`] to the origin
//! and comes back through [`freshen`], which asks the first gate again; a whole response that may
//! not be stored comes to [`withdrawn`]; where the origin fails, [`stale_on_error`] is the second
//! gate's last word. Only when it is known what the answer is, a client's own wishes are looked at:
//! [`precondition`], then [`ranges`]. What an unsafe request makes wrong is [`invalidated`].
//!
//! All read a request as [`RequestFacts`], made once per request. No function here has a clock, a
//! socket, a die or a log, and none gives a bare "no": a refusal is a [label](crate::label) that
//! metrics, logs and `Cache-Status` repeat. As a [`Ruling`], what a gate said can be shown with the
//! clause that it stands in.
//!
//! **Invariant:** what cannot be understood is read as the stricter of its meanings. A response is
//! shared because every rule allowed it, never because no rule spoke.

mod exchange;
mod parse;
mod reuse;
mod ruling;
mod store;
mod validate;

#[cfg(test)]
mod tests;

pub use crate::policy::parse::cookies::IgnoredCookies;
pub use crate::policy::parse::credential::{Credential, CredentialSet};
pub use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds, DirectiveSource, Directives};
pub use crate::policy::parse::groups::GroupNames;
pub use crate::policy::parse::media::is_json;
pub use crate::policy::parse::retry::retry_after;
pub use crate::policy::parse::seconds::DeltaSeconds;
pub use crate::policy::parse::tags::{strip_tags, tags};
pub use crate::policy::parse::targeted::strip_addressed;
pub use crate::policy::reuse::conditions::{
    Precondition, not_modified_fields, precondition, strip_conditions,
};
pub use crate::policy::reuse::decide::{NotReusable, Reuse, reuse};
pub use crate::policy::reuse::multipart::{MultipartBody, MultipartPiece, multipart};
pub use crate::policy::reuse::range::{ByteRange, RangeSelection, content_range, ranges, unsatisfied_range};
pub use crate::policy::reuse::refresh::refresh_early;
pub use crate::policy::reuse::request::RequestFacts;
pub use crate::policy::reuse::stale::{OriginFailure, stale_on_error};
pub use crate::policy::reuse::vary::{SelectingField, Vary, VaryFields};
pub use crate::policy::store::fields::{is_stored_field, stored_fields};
pub use crate::policy::store::not_storable::NotStorable;
pub use crate::policy::store::post::storable_post;
pub use crate::policy::store::rules::{CacheRules, ContentTypes, StorableStatuses, TagVisibility};
pub use crate::policy::store::status::{is_stored_status, means_content};
pub use crate::policy::store::storable::storable;
pub use crate::policy::store::stored::{Obligations, StoredFacts};
pub use crate::policy::validate::freshen::{
    FreshenOutcome, FreshenedResponse, NotSelectedError, StoredHead, freshen, freshen_by_head,
    make_conditional,
};
pub use crate::policy::validate::invalidation::{invalidated, is_unsafe};
pub use crate::policy::validate::withdrawal::{Initiator, withdrawn};
pub use exchange::Exchange;
pub use ruling::{Ruling, RulingVerdict};
