//! RFC 9111 as pure functions over heads and *now*: what may be stored, and what may be served from a store.
//!
//! There are two gates, and nothing passes from the origin to a second client but through both:
//!
//! - [`storable()`] stands between a response head and every store. It answers with the [`StoredFacts`] that the second
//!   gate will need, or with the reason why not.
//! - [`reuse()`] stands between an entry and every request, whichever tier the entry comes from, and also between a
//!   shared fetch and those who wait for it.
//!
//! What is stale or wants the origin to be asked goes through [`make_conditional`] to the origin and comes back through
//! [`freshen`], which asks the first gate again; a whole response that may not be stored comes to [`withdrawn`]; where the origin fails, [`stale_on_error`] is the second gate's last
//! word. Only when it is known what the answer is, a client's own wishes are looked at: [`precondition`], then
//! [`ranges`]. What an unsafe request makes wrong is [`invalidated`].
//!
//! All read a request as [`RequestFacts`], made once per request. No function here has a clock, a socket, a die or a
//! log, and none gives a bare "no": a refusal is a [label](crate::label) that metrics, logs and `Cache-Status` repeat. As a
//! [`Ruling`], what a gate said can be shown with the clause that it stands in.
//!
//! **Invariant:** what cannot be understood is read as the stricter of its meanings. A response is shared because
//! every rule allowed it, never because no rule spoke.

mod accept;
mod conditions;
mod cookies;
mod credential;
mod date;
mod directives;
mod exchange;
mod fields;
mod freshness;
mod groups;
mod heuristic;
mod invalidation;
mod media;
mod multipart;
mod not_storable;
mod post;
mod range;
mod reference;
mod refresh;
mod request;
mod retry;
mod reuse;
mod rules;
mod ruling;
mod seconds;
mod stale;
mod status;
mod storable;
mod stored;
mod structured;
mod syntax;
mod tags;
mod targeted;
mod validate;
mod validators;
mod vary;
mod withdrawal;

#[cfg(test)]
mod tests;

pub use conditions::{Precondition, not_modified_fields, precondition, strip_conditions};
pub use cookies::IgnoredCookies;
pub use credential::{Credential, CredentialSet};
pub use directives::{Directives, DirectiveSeconds, DirectiveScope, DirectiveSource};
pub use exchange::Exchange;
pub use fields::{is_stored_field, stored_fields};
pub use groups::GroupNames;
pub use invalidation::{invalidated, is_unsafe};
pub use media::is_json;
pub use multipart::{MultipartBody, MultipartPiece, multipart};
pub use not_storable::NotStorable;
pub use post::storable_post;
pub use range::{ByteRange, RangeSelection, content_range, ranges, unsatisfied_range};
pub use refresh::refresh_early;
pub use request::RequestFacts;
pub use retry::retry_after;
pub use reuse::{NotReusable, Reuse, reuse};
pub use rules::{ContentTypes, CacheRules, StorableStatuses, TagVisibility};
pub use ruling::{Ruling, RulingVerdict};
pub use seconds::DeltaSeconds;
pub use stale::{OriginFailure, stale_on_error};
pub use status::{is_stored_status, means_content};
pub use storable::storable;
pub use stored::{Obligations, StoredFacts};
pub use tags::{strip_tags, tags};
pub use targeted::strip_addressed;
pub use validate::{FreshenOutcome, FreshenedResponse, NotSelectedError, StoredHead, freshen, freshen_by_head, make_conditional};
pub use vary::{SelectingField, Vary, VaryFields};
pub use withdrawal::{Initiator, withdrawn};
