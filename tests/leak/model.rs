//! When may one client see what was said to another? The rules of DESIGN and of RFC 9111 once more,
//! in few words, over what was said and not over heads.
//!
//! The model does not follow what is stored when. It asks whether *any* history could have led to
//! what was seen: a mark is a leak only if none could. What was said about one whole response,
//! itself and every later word that it is still right, is taken together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::draw::{Ask, Control, Credential, Vary};
use crate::harness::Response;
use crate::world::Said;

/// What a response is fresh for that says nothing of it: `cache_default_ttl`.
const DEFAULT_SECONDS: u64 = 30;
/// What clocks and threads may be off by.
const SLACK: Duration = Duration::from_millis(50);

/// An answer that a client got.
pub(crate) struct Seen {
    pub(crate) ask: Ask,
    /// When it began to ask.
    pub(crate) at: Instant,
    pub(crate) response: Response,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) faults: Vec<String>,
    /// Answers with another's bytes, as they may be.
    pub(crate) shared: usize,
    /// Of these, to a client with a name.
    pub(crate) shared_by_name: usize,
    pub(crate) validated: usize,
    pub(crate) collapsed: usize,
}

/// Everything that was said, and what was said about what.
struct Log<'a> {
    said: &'a [Said],
    about: HashMap<usize, Vec<usize>>,
}

/// Holds everything that was seen against what was said.
pub(crate) fn judge(said: &[Said], seen: &[Seen]) -> Verdict {
    let mut log = Log { said, about: HashMap::new() };
    for (serial, one) in said.iter().enumerate() {
        log.about.entry(one.entity).or_default().push(serial);
    }
    let mut verdict = Verdict::default();
    for seen in seen {
        let status = seen.response.cache_status();
        verdict.validated += usize::from(status.contains("fwd-status=304"));
        verdict.collapsed += usize::from(status.contains("collapsed"));
        match log.judge(seen) {
            Ok(Whose::Own) => {}
            Ok(Whose::Anothers) => {
                verdict.shared += 1;
                verdict.shared_by_name += usize::from(!seen.ask.carried.is_empty());
            }
            Err(why) => {
                let Seen { ask, response, .. } = seen;
                verdict.faults.push(format!("{why}\nasked: {ask:?}\ngot: {:?}", response.head));
            }
        }
    }
    verdict
}

/// Whose bytes they are.
#[derive(PartialEq)]
enum Whose {
    Own,
    Anothers,
}

impl Log<'_> {
    fn judge(&self, seen: &Seen) -> Result<Whose, String> {
        let mark = |name: &str| -> Option<usize> {
            seen.response.field(name).map(|text| text.trim_start_matches("own=").parse().expect("a mark"))
        };
        for name in ["x-own", "set-cookie"] {
            if let Some(serial) = mark(name)
                && self.said[serial].ask.id != seen.ask.id
            {
                return Err(format!("{name} of {:?}", self.said[serial]));
            }
        }
        let mut whose = Whose::Own;
        for serial in [mark("x-serial"), mark("x-validated")].into_iter().flatten() {
            let said = &self.said[serial];
            if said.ask.id != seen.ask.id {
                self.may_see(said, seen).map_err(|why| {
                    let about: Vec<_> = self.about[&said.entity].iter().map(|one| &self.said[*one]).collect();
                    format!("{why}: {said:?}\nall that was said of it: {about:#?}\nasked at {:?}", seen.at)
                })?;
                whose = Whose::Anothers;
            }
        }
        self.body_is_whole(seen, mark("x-serial"))?;
        Ok(whose)
    }

    /// Head and body are of one response.
    fn body_is_whole(&self, seen: &Seen, serial: Option<usize>) -> Result<(), String> {
        let Seen { ask, response, .. } = seen;
        let body = serial.map_or_else(String::new, |serial| self.said[serial].body());
        let wanted = match response.status {
            _ if ask.method == "HEAD" => "",
            304 | 416 => "",
            206 => {
                let range = response.field("content-range").and_then(|text| text.strip_prefix("bytes "));
                let (first, last) =
                    range.and_then(|text| text.split('/').next()?.split_once('-')).ok_or("no range")?;
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                body.get(first..=last).ok_or("a range beyond the body")?
            }
            // Ours.
            502 | 504 if serial.is_none() => return Ok(()),
            _ => &body,
        };
        if response.text() == wanted {
            Ok(())
        } else {
            Err(format!("a body that nobody sent: {}", response.text()))
        }
    }

    /// Whether a client may see what was said to another.
    fn may_see(&self, said: &Said, seen: &Seen) -> Result<(), &'static str> {
        let whole = &self.said[said.entity];
        if whole.ask.path != seen.ask.path {
            return Err("of another path");
        }
        if whole.head.status != 200 {
            return Err("of a status that is not stored");
        }
        if !same_variant(whole.head.vary, &whole.ask, &seen.ask) {
            return Err("of another variant");
        }
        if !self.controls(said).iter().any(|control| is_kept(said, control)) {
            return Err("not to be stored");
        }
        let about = || self.about[&said.entity].iter().map(|serial| &self.said[*serial]);
        let asked = about().any(|one| one.ask.id == seen.ask.id);
        let mut why = "not for this client";
        for one in about() {
            for control in self.controls(one) {
                if is_kept(one, control) && admits(control, &seen.ask) {
                    if asked || goes_unasked(one, control, seen) {
                        return Ok(());
                    }
                    why = "not without asking the origin";
                }
            }
        }
        Err(why)
    }

    /// What may be in force after something was said: its own word, or where it has none any that
    /// was there before.
    fn controls(&self, said: &Said) -> Vec<&Control> {
        let own = &self.said[said.serial];
        if !own.is_later() || !own.head.silent {
            return vec![&own.control];
        }
        let about = self.about[&said.entity].iter().map(|serial| &self.said[*serial]);
        about.filter(|one| !one.is_later() || !one.head.silent).map(|one| &one.control).collect()
    }
}

impl Said {
    /// Whether it says of another response that it is still right.
    fn is_later(&self) -> bool {
        self.serial != self.entity
    }
}

/// Whether what was said could be stored for others.
fn is_kept(said: &Said, control: &Control) -> bool {
    let status = said.is_later() || said.head.status == 200;
    let method = match said.ask.method {
        "GET" => true,
        "HEAD" => said.is_later(),
        // Only what says how long.
        _ => explicit(control).is_some_and(|seconds| seconds > said.head.age.unwrap_or(0)),
    };
    let forbidden = control.malformed || control.private || control.no_store && !control.must_understand;
    let cookie = !said.head.cookie || in_so_many_words(control);
    let permitted = status && method && !forbidden && cookie && !said.ask.no_store;
    permitted && !said.unkeyed && admits(control, &said.ask)
}

fn in_so_many_words(control: &Control) -> bool {
    control.public || control.s_maxage.is_some()
}

fn explicit(control: &Control) -> Option<u64> {
    control.s_maxage.or(control.max_age)
}

/// Whether it is for those who ask like this.
fn admits(control: &Control, ask: &Ask) -> bool {
    let guessed = explicit(control).is_none() && !control.no_cache;
    match &ask.carried[..] {
        [] => !(guessed && ask.unlisted),
        _ if guessed => false,
        _ if in_so_many_words(control) => true,
        [Credential::Authorization] => control.must_revalidate,
        _ => false,
    }
}

/// Whether it may be served, when it was, without a word of the origin to this client.
fn goes_unasked(said: &Said, control: &Control, seen: &Seen) -> bool {
    if control.no_cache {
        return false;
    }
    let guess = if control.no_store { 0 } else { DEFAULT_SECONDS };
    let lifetime = explicit(control).unwrap_or(guess);
    let strict = control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some();
    let window = if strict {
        0
    } else if seen.ask.max_stale {
        u64::from(u32::MAX)
    } else {
        control.stale_while_revalidate.max(control.stale_if_error).unwrap_or(0)
    };
    let Some(left) = (lifetime + window).checked_sub(said.head.age.unwrap_or(0)) else { return false };
    seen.at <= said.at + Duration::from_secs(left) + SLACK && left > 0
}

/// Whether two requests are alike in the fields that select.
fn same_variant(vary: Vary, one: &Ask, other: &Ask) -> bool {
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

fn secret(ask: &Ask) -> Option<&str> {
    ask.carried.contains(&Credential::Authorization).then_some(ask.who)
}
