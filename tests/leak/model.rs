//! A model of the sharing rules: when a client may receive another client's response. It restates
//! the rules of DESIGN and of RFC 9111 over drawn directives, without parsing heads.
//!
//! The model does not simulate the store. It checks whether *any* history explains a received mark;
//! a mark is a leak only if none does. It treats a whole response and all later 304s about it
//! together.
//!
//! A [`Removal`] ends all responses of a path that the origin gave before it: no later request to a
//! node that took part may receive one of them. The model derives the removals by writes and by
//! withdrawals from the responses; an operator states those by purges.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::draw::{ClientRequest, Control, Credential, PathRules, Vary};
use crate::harness::Response;
use crate::world::OriginAnswer;

/// The lifetime of a response without one of its own: `cache_default_ttl`.
const DEFAULT_SECONDS: u64 = 30;
/// Tolerance for clocks and threads.
const SLACK: Duration = Duration::from_millis(50);

/// A response that a client received.
pub(crate) struct ReceivedResponse {
    pub(crate) request: ClientRequest,
    /// The time when the client sent the request.
    pub(crate) at: Instant,
    /// The time when the client had the response.
    pub(crate) ended: Instant,
    /// The proxy that responded.
    pub(crate) node: usize,
    pub(crate) response: Response,
}

/// The end of all stored responses of a path.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub(crate) reason: RemovalReason,
    pub(crate) path: String,
    /// The proxy that removed them, or all.
    pub(crate) node: Option<usize>,
    /// Responses that the origin gave before this time are removed.
    pub(crate) begun: Instant,
    /// Requests that a client sends after this time receive none of them.
    pub(crate) ended: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RemovalReason {
    /// A successful unsafe request.
    Write,
    /// An unsafe request without a complete response.
    WriteOfUnknownOutcome,
    /// A whole response to a validation that may not be stored.
    Withdrawal,
    /// A purge that every node confirmed.
    Purge,
    /// A purge that Redis did not confirm.
    PurgeWithoutRedis,
}

/// The result of the test.
#[derive(Debug, Default)]
pub(crate) struct LeakReport {
    pub(crate) faults: Vec<String>,
    /// Number of permitted responses with another client's bytes.
    pub(crate) shared: usize,
    /// Number of those that went to a client with an identity.
    pub(crate) shared_by_name: usize,
    /// Number of those that answered a `QUERY`.
    pub(crate) shared_queries: usize,
    /// Number of those under a route that states a lifetime.
    pub(crate) shared_stated: usize,
    /// Number of those under a route that also lifts prohibitions.
    pub(crate) shared_lifted: usize,
    pub(crate) validated: usize,
    pub(crate) collapsed: usize,
    /// Number of removals after which the model judged responses, for each reason.
    pub(crate) removals: BTreeMap<RemovalReason, usize>,
}

impl LeakReport {
    /// Adds the result of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.faults.extend(other.faults);
        self.shared += other.shared;
        self.shared_by_name += other.shared_by_name;
        self.shared_queries += other.shared_queries;
        self.shared_stated += other.shared_stated;
        self.shared_lifted += other.shared_lifted;
        self.validated += other.validated;
        self.collapsed += other.collapsed;
        for (reason, count) in other.removals {
            *self.removals.entry(reason).or_default() += count;
        }
    }
}

/// All answers of the origin, and for each whole response the answers about it.
struct Log<'a> {
    answers: &'a [OriginAnswer],
    about: HashMap<usize, Vec<usize>>,
    /// The last answer to each request.
    by_request: HashMap<usize, usize>,
    /// The response to each request whose client waited for it.
    received: HashMap<usize, &'a ReceivedResponse>,
    removals: HashMap<String, Vec<Removal>>,
}

/// Checks every received response against the answers of the origin.
pub(crate) fn judge(
    answers: &[OriginAnswer],
    received: &[ReceivedResponse],
    purges: Vec<Removal>,
) -> LeakReport {
    let mut log = Log {
        answers,
        about: HashMap::new(),
        by_request: HashMap::new(),
        received: received.iter().map(|received| (received.request.id, received)).collect(),
        removals: HashMap::new(),
    };
    for (serial, one) in answers.iter().enumerate() {
        log.about.entry(one.entity).or_default().push(serial);
        log.by_request.insert(one.request.id, serial);
    }
    let mut report = LeakReport::default();
    let removals: Vec<Removal> =
        received.iter().filter_map(|received| log.removal(received)).chain(purges).collect();
    for removal in removals {
        *report.removals.entry(removal.reason).or_default() += 1;
        log.removals.entry(removal.path.clone()).or_default().push(removal);
    }
    for received in received {
        let status = received.response.cache_status();
        report.validated += usize::from(status.contains("fwd-status=304"));
        report.collapsed += usize::from(status.contains("collapsed"));
        match log.judge(received) {
            Ok(BytesOwner::Requester) => {}
            Ok(BytesOwner::Other) => {
                report.shared += 1;
                let rules = PathRules::of(&received.request.path);
                report.shared_stated += usize::from(rules == PathRules::Stated);
                report.shared_lifted += usize::from(rules == PathRules::Lifted);
                report.shared_queries += usize::from(received.request.content.is_some());
                report.shared_by_name += usize::from(!received.request.carried.is_empty());
            }
            Err(why) => {
                let ReceivedResponse { request, response, .. } = received;
                report.faults.push(format!("{why}\nrequest: {request:?}\nresponse: {:?}", response.head));
            }
        }
    }
    report
}

/// The client for which the origin produced the bytes.
#[derive(PartialEq)]
enum BytesOwner {
    Requester,
    Other,
}

impl Log<'_> {
    fn judge(&self, received: &ReceivedResponse) -> Result<BytesOwner, String> {
        let mark = |name: &str| -> Option<usize> {
            received.response.field(name).map(|text| text.trim_start_matches("own=").parse().expect("a mark"))
        };
        for name in ["x-own", "set-cookie"] {
            if let Some(serial) = mark(name)
                && self.answers[serial].request.id != received.request.id
            {
                return Err(format!("{name} of {:?}", self.answers[serial]));
            }
        }
        let mut owner = BytesOwner::Requester;
        for serial in [mark("x-serial"), mark("x-validated")].into_iter().flatten() {
            let answer = &self.answers[serial];
            if answer.request.id != received.request.id {
                self.may_see(answer, received).map_err(|why| {
                    let about: Vec<_> =
                        self.about[&answer.entity].iter().map(|one| &self.answers[*one]).collect();
                    format!(
                        "{why}: {answer:?}\nall answers about it: {about:#?}\nrequested at {:?}",
                        received.at
                    )
                })?;
                owner = BytesOwner::Other;
            }
        }
        if let Some(serial) = mark("x-serial") {
            self.is_not_removed(&self.answers[serial], received)?;
        }
        self.body_is_whole(received, mark("x-serial"))?;
        Ok(owner)
    }

    /// Returns the removal of which a response tells.
    fn removal(&self, received: &ReceivedResponse) -> Option<Removal> {
        let ReceivedResponse { request, response, ended, node, .. } = received;
        let answer = &self.answers[*self.by_request.get(&request.id)?];
        let is_own = response.field("x-serial") == Some(&answer.serial.to_string());
        let reason = match (request.method, response.status) {
            ("POST", 200) => RemovalReason::Write,
            ("POST", 502 | 504) if response.field("x-serial").is_none() => {
                RemovalReason::WriteOfUnknownOutcome
            }
            ("GET", 200) if is_own && request.is_plain() && ends_stored(&request.path, &answer.control) => {
                // Otherwise the proxy did not know a stored response.
                response.cache_status().contains("fwd=stale").then_some(RemovalReason::Withdrawal)?
            }
            _ => return None,
        };
        let path = request.path.clone();
        Some(Removal { reason, path, node: Some(*node), begun: answer.at, ended: *ended })
    }

    /// Checks that no removal precedes a request for a response of another client.
    fn is_not_removed(&self, answer: &OriginAnswer, received: &ReceivedResponse) -> Result<(), String> {
        let removals = self.removals.get(&received.request.path).into_iter().flatten();
        let mut missed = removals.filter(|removal| {
            // A withdrawal concerns one variant, and no response to a `QUERY`.
            let is_only = answer.head.vary == Vary::Nothing && answer.request.content.is_none();
            let all = removal.reason != RemovalReason::Withdrawal || is_only;
            let took_part = removal.node.is_none_or(|node| node == received.node);
            let about = || self.about[&answer.entity].iter().map(|serial| &self.answers[*serial]);
            all && took_part
                && about().all(|one| one.at < removal.begun)
                && removal.ended < received.at
                && !self.is_overlapping(answer, removal)
        });
        match missed.next() {
            Some(removal) if answer.request.id != received.request.id => {
                let first = self.received.get(&answer.request.id);
                let first = first.map(|first| (first.node, first.at, first.ended));
                let (node, at) = (received.node, received.at);
                Err(format!(
                    "{answer:?} after {removal:?}, requested of {node} at {at:?}; first by {first:?}"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the answer to a write declared itself storable, and overlapped a write at
    /// another node. SECURITY.md names this case: the write that ends last determines what is
    /// stored.
    fn is_overlapping(&self, answer: &OriginAnswer, removal: &Removal) -> bool {
        let first = self.received.get(&answer.request.id);
        answer.request.method == "POST"
            && removal.node.is_some_and(|node| {
                first.is_none_or(|first| first.node != node && first.ended > removal.begun)
            })
    }

    /// Checks that head and body belong to one response.
    fn body_is_whole(&self, received: &ReceivedResponse, serial: Option<usize>) -> Result<(), String> {
        let ReceivedResponse { request, response, .. } = received;
        let body = serial.map_or_else(String::new, |serial| self.answers[serial].body());
        let wanted = match response.status {
            _ if request.method == "HEAD" => "",
            304 | 416 => "",
            206 => {
                let range = response.field("content-range").and_then(|text| text.strip_prefix("bytes "));
                let (first, last) =
                    range.and_then(|text| text.split('/').next()?.split_once('-')).ok_or("no range")?;
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                body.get(first..=last).ok_or("a range beyond the body")?
            }
            // CacheWarp itself answers without a mark.
            502 | 504 if serial.is_none() => return Ok(()),
            _ => &body,
        };
        if response.text() == wanted {
            Ok(())
        } else {
            Err(format!("a body that the origin did not send: {}", response.text()))
        }
    }

    /// Checks that a client may receive an answer to another client.
    fn may_see(&self, answer: &OriginAnswer, received: &ReceivedResponse) -> Result<(), &'static str> {
        let whole = &self.answers[answer.entity];
        if whole.request.path != received.request.path {
            return Err("of another path");
        }
        if whole.request.content != received.request.content {
            return Err("to other content");
        }
        if whole.head.status != 200 {
            return Err("of a status that is not stored");
        }
        if !same_variant(whole.head.vary, &whole.request, &received.request) {
            return Err("of another variant");
        }
        if !self.controls(answer).iter().any(|control| may_be_stored(answer, control)) {
            return Err("not to be stored");
        }
        let about = || self.about[&answer.entity].iter().map(|serial| &self.answers[*serial]);
        let was_asked = about().any(|one| one.request.id == received.request.id);
        let mut why = "not for this client";
        for one in about() {
            for control in self.controls(one) {
                if may_be_stored(one, control) && admits(one, control, &received.request) {
                    if was_asked
                        || may_be_reused(one, control, received)
                        || self.is_shared_on_arrival(one, control, received)
                    {
                        return Ok(());
                    }
                    why = "not without validation";
                }
            }
        }
        Err(why)
    }

    /// Returns whether the answer was stale when it arrived, and the client waited for it with
    /// others: it is as new for the client as for the first of them.
    fn is_shared_on_arrival(
        &self,
        answer: &OriginAnswer,
        control: &Control,
        received: &ReceivedResponse,
    ) -> bool {
        let is_routed = PathRules::of(&received.request.path) != PathRules::Settings;
        let is_strict = control.no_cache
            || control.must_revalidate
            || control.proxy_revalidate
            || control.s_maxage.is_some();
        let waited = self.received.get(&answer.request.id).is_none_or(|first| received.at < first.ended);
        waited
            && (is_routed || !is_strict && explicit_lifetime(control) != Some(0))
            && received.response.cache_status().contains("collapsed")
    }

    /// Returns the directives that may apply after an answer: its own, or if it has none those of
    /// any earlier answer. An answer to a client that other clients are not has only its own.
    fn controls(&self, answer: &OriginAnswer) -> Vec<&Control> {
        let own = &self.answers[answer.serial];
        let is_for_one = !own.request.carried.is_empty() || own.request.unlisted;
        if !own.is_validation() || !own.head.lacks_control || is_for_one {
            return vec![&own.control];
        }
        let about = self.about[&answer.entity].iter().map(|serial| &self.answers[*serial]);
        about.filter(|one| !one.is_validation() || !one.head.lacks_control).map(|one| &one.control).collect()
    }
}

impl OriginAnswer {
    /// Returns whether the answer is a 304 about another response.
    fn is_validation(&self) -> bool {
        self.serial != self.entity
    }
}

/// Returns whether a shared store may keep the answer.
fn may_be_stored(answer: &OriginAnswer, control: &Control) -> bool {
    let status = answer.is_validation() || answer.head.status == 200;
    let method = match answer.request.method {
        "GET" | "QUERY" => true,
        "HEAD" => answer.is_validation(),
        // The response to a POST needs an explicit lifetime.
        _ => explicit_lifetime(control).is_some_and(|seconds| seconds > answer.head.age.unwrap_or(0)),
    };
    let is_lifted = PathRules::of(&answer.request.path) == PathRules::Lifted;
    let forbidden = control.malformed || !is_lifted && (control.private || forbids_storing(control));
    let cookie = !answer.head.cookie || is_explicitly_shared(control) || is_lifted;
    let permitted = status && method && !forbidden && cookie && !answer.request.no_store;
    permitted && !answer.unkeyed && admits(answer, control, &answer.request)
}

fn forbids_storing(control: &Control) -> bool {
    control.no_store && !control.must_understand
}

/// Returns whether a whole response with these directives ends the stored one.
fn ends_stored(path: &str, control: &Control) -> bool {
    if PathRules::of(path) == PathRules::Lifted {
        return control.malformed;
    }
    control.malformed || control.private || control.no_store && !control.must_understand
}

fn is_explicitly_shared(control: &Control) -> bool {
    control.public || control.s_maxage.is_some()
}

fn explicit_lifetime(control: &Control) -> Option<u64> {
    control.s_maxage.or(control.max_age)
}

/// Returns whether the directives of an answer admit this kind of request. A lifetime that the
/// route replaces, or a prohibition that it lifts, is not the origin's permission.
fn admits(answer: &OriginAnswer, control: &Control, request: &ClientRequest) -> bool {
    let is_lifted =
        control.private || forbids_storing(control) || answer.head.cookie && !is_explicitly_shared(control);
    let is_stated = !control.no_cache
        && explicit_lifetime(control).is_some_and(|seconds| seconds > answer.head.age.unwrap_or(0));
    let guessed = match PathRules::of(&request.path) {
        PathRules::Settings => {
            (explicit_lifetime(control).is_none_or(|seconds| seconds == 0) || control.no_cache)
                && !(is_explicitly_shared(control)
                    && (explicit_lifetime(control).is_some() || control.no_cache))
        }
        PathRules::Stated => !is_stated,
        PathRules::Lifted => !is_stated || is_lifted,
    };
    match &request.carried[..] {
        [] => !(guessed && request.unlisted),
        _ if guessed => false,
        _ if is_explicitly_shared(control) => true,
        [Credential::Authorization] => control.must_revalidate,
        _ => false,
    }
}

/// Returns whether the cache may reuse the response at that time without validation for this
/// client.
fn may_be_reused(answer: &OriginAnswer, control: &Control, received: &ReceivedResponse) -> bool {
    let is_routed = PathRules::of(&received.request.path) != PathRules::Settings;
    if control.no_cache && !is_routed {
        return false;
    }
    let guess = if control.no_store { 0 } else { DEFAULT_SECONDS };
    // Both routes state 600 s.
    let lifetime = if is_routed { 600 } else { explicit_lifetime(control).unwrap_or(guess) };
    let is_s_maxage_strict = control.s_maxage.is_some() && !is_routed;
    let strict = control.must_revalidate || control.proxy_revalidate || is_s_maxage_strict;
    let window = if strict {
        0
    } else if received.request.max_stale {
        u64::from(u32::MAX)
    } else if is_routed {
        0
    } else {
        control.stale_while_revalidate.max(control.stale_if_error).unwrap_or(0)
    };
    let Some(left) = (lifetime + window).checked_sub(answer.head.age.unwrap_or(0)) else { return false };
    received.at <= answer.at + Duration::from_secs(left) + SLACK && left > 0
}

/// Returns whether two requests have equal values of the selecting fields.
fn same_variant(vary: Vary, one: &ClientRequest, other: &ClientRequest) -> bool {
    let (variant, language) = (one.variant == other.variant, one.language == other.language);
    match vary {
        Vary::Nothing => true,
        Vary::Variant => variant,
        Vary::Language => language,
        Vary::Both => variant && language,
        Vary::Authorization => secret(one) == secret(other),
        Vary::Anything => false,
    }
}

fn secret(request: &ClientRequest) -> Option<&str> {
    request.carried.contains(&Credential::Authorization).then_some(request.identity)
}
