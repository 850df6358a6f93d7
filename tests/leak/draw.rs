//! What is asked and what is answered, drawn from dice.

use fastrand::Rng;

use crate::model::Seen;

/// Who did not ask: a refresh in the background.
pub(crate) const NOBODY: usize = usize::MAX;

/// Where a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Authorization,
    Cookie,
    ApiKey,
}

pub(crate) const CREDENTIALS: [(Credential, &str); 3] = [
    (Credential::Authorization, "authorization"),
    (Credential::Cookie, "cookie"),
    (Credential::ApiKey, "x-api-key"),
];

/// Fields that are in no key, and that no fetch for others has.
pub(crate) const UNKEYED: [&str; 6] =
    ["X-Host", "X-Original-User", "X-HTTP-Method-Override", "X-Request-Id", "traceparent", "X_Rewrite_URL"];

/// Spellings of a language, and what each means.
pub(crate) const LANGUAGES: [(&str, usize); 8] = [
    ("en", 0),
    ("EN", 0),
    ("en;q=1.0", 0),
    ("de", 1),
    ("de, en", 2),
    ("en,DE", 2),
    ("de;q=0.5, en", 3),
    ("en, de;q=0.50", 3),
];

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: usize,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Whose credentials it carries.
    pub(crate) who: &'static str,
    pub(crate) carried: Vec<Credential>,
    /// `X-Variant`, as far as it reaches the origin.
    pub(crate) variant: Option<String>,
    /// What its `Accept-Language` means.
    pub(crate) language: Option<usize>,
    pub(crate) no_store: bool,
    pub(crate) max_stale: bool,
    /// Whether it has a field that nothing is known of.
    pub(crate) unlisted: bool,
    /// All that is sent.
    pub(crate) fields: Vec<(&'static str, String)>,
}

pub(crate) fn path(resource: usize) -> String {
    format!("/r{resource}")
}

impl Ask {
    /// Somebody asks for a resource; maybe about what was seen before.
    pub(crate) fn draw(dice: &mut Rng, id: usize, resource: usize, before: Option<&Seen>) -> Self {
        let method = one(dice, &[("GET", 90), ("HEAD", 7), ("POST", 3)]);
        let who = one(dice, &[("nobody", 40), ("alice", 30), ("bob", 30)]);
        let mut ask = Self { id, method, path: path(resource), who, ..Self::nobody() };
        ask.fields.push(("User-Agent", id.to_string()));
        if method == "POST" {
            ask.fields.push(("Content-Length", "0".to_owned()));
        }
        if who != "nobody" {
            let first = dice.usize(..CREDENTIALS.len());
            ask.carry(first);
            if dice.u8(..100) < 15 {
                ask.carry((first + 1) % CREDENTIALS.len());
            }
        }
        if dice.bool() {
            let value = one(dice, &[("a", 1), ("b", 1)]).to_owned();
            ask.fields.push(("X-Variant", value.clone()));
            ask.variant = Some(value);
            ask.unlisted = true;
        }
        if dice.u8(..100) < 15 {
            let name = one(dice, &[("X-Auth-Token", 1), ("Remote-User", 1), ("X-Tenant-Id", 1)]);
            ask.fields.push((name, format!("secret-of-{who}")));
            ask.unlisted = true;
        }
        if dice.u8(..100) < 15 {
            ask.fields.push((UNKEYED[dice.usize(..UNKEYED.len())], id.to_string()));
        }
        if dice.bool() {
            let (text, meaning) = LANGUAGES[dice.usize(..LANGUAGES.len())];
            ask.fields.push(("Accept-Language", text.to_owned()));
            ask.language = Some(meaning);
        }
        // Taking a field away from the origin takes nothing away from us.
        match dice.u8(..100) {
            0..4 => {
                ask.fields.push(("Connection", "x-variant".to_owned()));
                ask.variant = None;
            }
            4..8 => ask.fields.push(("Connection", "authorization, cookie, x-api-key".to_owned())),
            _ => {}
        }
        ask.draw_conditions(dice, before);
        ask
    }

    /// On nobody's behalf.
    pub(crate) fn nobody() -> Self {
        Self {
            id: NOBODY,
            method: "GET",
            path: String::new(),
            who: "nobody",
            carried: Vec::new(),
            variant: None,
            language: None,
            no_store: false,
            max_stale: false,
            unlisted: false,
            fields: Vec::new(),
        }
    }

    fn carry(&mut self, number: usize) {
        let (credential, name) = CREDENTIALS[number];
        self.carried.push(credential);
        self.fields.push((name, format!("secret-of-{}", self.who)));
    }

    fn draw_conditions(&mut self, dice: &mut Rng, before: Option<&Seen>) {
        let control = one(
            dice,
            &[
                ("", 84),
                ("no-cache", 4),
                ("no-store", 4),
                ("max-stale", 4),
                ("max-age=0", 2),
                ("only-if-cached", 2),
            ],
        );
        if !control.is_empty() {
            self.fields.push(("Cache-Control", control.to_owned()));
        }
        self.no_store = control == "no-store";
        self.max_stale = control == "max-stale";
        if dice.u8(..100) < 8
            && let Some(tag) = before.and_then(|seen| seen.response.field("etag"))
        {
            self.fields.push(("If-None-Match", tag.to_owned()));
        } else if dice.u8(..100) < 6 {
            self.fields.push(("Range", format!("bytes={}-{}", dice.usize(..5), 5 + dice.usize(..40))));
        }
    }
}

/// Which field speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    All,
    Cdn,
    Ours,
}

/// What a response varies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    Nothing,
    Variant,
    Language,
    Both,
    Authorization,
    Anything,
}

impl Vary {
    pub(crate) fn text(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Variant => Some("X-Variant"),
            Self::Language => Some("Accept-Language"),
            Self::Both => Some("accept-language, X-VARIANT"),
            Self::Authorization => Some("Authorization"),
            Self::Anything => Some("*"),
        }
    }
}

/// What a field for caches says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    /// `private="x-own"` or `no-cache="x-own"`.
    pub(crate) own: Option<&'static str>,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Option<u64>,
    pub(crate) s_maxage: Option<u64>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
    /// Cannot be read. Such a `Cache-Control` forbids everything; such a targeted field is not
    /// there.
    pub(crate) malformed: bool,
}

impl Control {
    fn draw(dice: &mut Rng) -> Self {
        let mut percent = |chance: u8| dice.u8(..100) < chance;
        let mut control = Self {
            no_store: percent(6),
            no_cache: percent(12),
            private: percent(6),
            own: None,
            public: percent(35),
            must_revalidate: percent(15),
            proxy_revalidate: percent(7),
            must_understand: percent(5),
            max_age: percent(70).then_some(600),
            s_maxage: percent(15).then_some(600),
            stale_while_revalidate: percent(20).then_some(600),
            stale_if_error: percent(15).then_some(600),
            malformed: percent(3),
        };
        if dice.u8(..100) < 40 {
            control.max_age = control.max_age.map(|_| dice.u64(..3));
            control.s_maxage = control.s_maxage.map(|_| dice.u64(..3));
        }
        control
    }

    /// The field's text: directives in any order and, where case means nothing, in any case.
    pub(crate) fn text(&self, voice: Voice, dice: &mut Rng) -> String {
        let flags = [
            (self.no_store, "no-store"),
            (self.no_cache, "no-cache"),
            (self.private, "private"),
            (self.public, "public"),
            (self.must_revalidate, "must-revalidate"),
            (self.proxy_revalidate, "proxy-revalidate"),
            (self.must_understand, "must-understand"),
        ];
        let numbers = [
            (self.max_age, "max-age"),
            (self.s_maxage, "s-maxage"),
            (self.stale_while_revalidate, "stale-while-revalidate"),
            (self.stale_if_error, "stale-if-error"),
        ];
        let mut parts: Vec<String> =
            flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()).collect();
        parts.extend(
            numbers.iter().filter_map(|(number, name)| number.map(|number| format!("{name}={number}"))),
        );
        parts.extend(self.own.map(str::to_owned));
        // An empty dictionary would let the next field speak.
        if parts.is_empty() && voice != Voice::All {
            parts.push("x=1".to_owned());
        }
        dice.shuffle(&mut parts);
        let text = parts.join(one(dice, &[(", ", 1), (",", 1)]));
        match voice {
            _ if self.malformed => format!("{text}, max-age=\"1"),
            Voice::All if dice.bool() && self.own.is_none() => text.to_uppercase(),
            Voice::All | Voice::Cdn | Voice::Ours => text,
        }
    }
}

/// The head of a response, less its marks.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) control: Control,
    /// Whether there is no such field: the word that something is still right then leaves what was
    /// said before.
    pub(crate) silent: bool,
    pub(crate) vary: Vary,
    pub(crate) age: Option<u64>,
    pub(crate) cookie: bool,
    pub(crate) own: bool,
}

/// How the origin answers for one path.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) voice: Voice,
    /// What `Cache-Control` says beside a targeted field.
    pub(crate) beside: Control,
    pub(crate) tagged: bool,
    /// Of whole responses.
    pub(crate) heads: Vec<Head>,
    /// Of those that say that something is still right.
    pub(crate) later: Vec<Head>,
}

impl Resource {
    pub(crate) fn draw(dice: &mut Rng) -> Self {
        let voice = one(dice, &[(Voice::All, 70), (Voice::Cdn, 15), (Voice::Ours, 15)]);
        let vary = one(
            dice,
            &[
                (Vary::Nothing, 45),
                (Vary::Variant, 20),
                (Vary::Language, 15),
                (Vary::Both, 10),
                (Vary::Authorization, 5),
                (Vary::Anything, 5),
            ],
        );
        let heads = (0..dice.usize(1..3)).map(|_| Head::draw(dice, voice, vary)).collect();
        let later = (0..dice.usize(1..3)).map(|_| Head::draw(dice, voice, vary)).collect();
        let beside = if dice.bool() {
            Control { public: true, max_age: Some(600), ..Control::default() }
        } else {
            Control { no_store: true, ..Control::default() }
        };
        Self { voice, beside, tagged: dice.u8(..100) < 70, heads, later }
    }

    pub(crate) fn varies_by_authorization(&self) -> bool {
        self.heads.iter().any(|head| head.vary == Vary::Authorization)
    }

    /// What a head of this resource says to us.
    pub(crate) fn said<'a>(&'a self, head: &'a Head) -> &'a Control {
        if head.control.malformed && self.voice != Voice::All { &self.beside } else { &head.control }
    }
}

impl Head {
    fn draw(dice: &mut Rng, voice: Voice, vary: Vary) -> Self {
        let own = dice.u8(..100) < 25;
        let silent = voice == Voice::All && !own && dice.u8(..100) < 20;
        let mut control = if silent { Control::default() } else { Control::draw(dice) };
        if own {
            // One dictionary cannot hold both forms of a directive.
            (control.no_cache, control.private, control.malformed) = (false, false, false);
            control.own = Some(one(dice, &[("private=\"x-own\"", 1), ("no-cache=\"x-own\"", 1)]));
        }
        Self {
            status: one(dice, &[(200, 94), (404, 3), (503, 3)]),
            control,
            silent,
            vary: if dice.u8(..100) < 10 { Vary::Both } else { vary },
            age: (dice.u8(..100) < 15).then(|| one(dice, &[(0, 1), (1, 1), (700, 1)])),
            cookie: dice.u8(..100) < 12,
            own,
        }
    }
}

/// One of several, by weight.
pub(crate) fn one<T: Copy>(dice: &mut Rng, choices: &[(T, u32)]) -> T {
    let mut left = dice.u32(..choices.iter().map(|(_, weight)| weight).sum::<u32>());
    for (choice, weight) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    unreachable!("the weights have been summed")
}
