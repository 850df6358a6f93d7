//! Random requests and responses.

use fastrand::Rng;

use crate::model::ReceivedResponse;

/// The id of the cache's own requests (background refresh).
pub(crate) const BACKGROUND: usize = usize::MAX;

/// The field that carries a credential.
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

/// Fields that are in no cache key and that no shared fetch sends.
pub(crate) const UNKEYED: [&str; 6] = [
    "X-Host",
    "X-Original-User",
    "X-HTTP-Method-Override",
    "X-Correlation-Id",
    "traceparent",
    "X_Rewrite_URL",
];

/// The contents of `QUERY` requests.
pub(crate) const CONTENTS: [&str; 2] = ["{\"page\":1}", "{\"page\":2}"];

/// Spellings of a language preference, each with its meaning.
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

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct ClientRequest {
    pub(crate) id: usize,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// The content of a `QUERY`.
    pub(crate) content: Option<&'static str>,
    /// The identity of the credentials.
    pub(crate) identity: &'static str,
    pub(crate) carried: Vec<Credential>,
    /// `X-Variant`, if it reaches the origin.
    pub(crate) variant: Option<String>,
    /// The meaning of `Accept-Language`.
    pub(crate) language: Option<usize>,
    pub(crate) no_store: bool,
    pub(crate) max_stale: bool,
    /// True if the request has a field that no list of the cache contains.
    pub(crate) unlisted: bool,
    /// All fields that the client sends.
    pub(crate) fields: Vec<(&'static str, String)>,
}

/// The routes of the proxies. Both state a lifetime; the first also lifts every prohibition.
pub(crate) const ROUTES: &str = r#"
[[route]]
name = "lifted"
path = "/lifted/{resource}"
methods = ["GET", "HEAD", "QUERY"]
cache_control = "max-age=600"
override = ["private", "no-store", "set-cookie"]

[[route]]
name = "stated"
path = "/stated/{resource}"
methods = ["GET", "HEAD", "QUERY"]
cache_control = "max-age=600"
"#;

/// The rules of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathRules {
    Settings,
    Stated,
    Lifted,
}

impl PathRules {
    pub(crate) fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("lifted") => Self::Lifted,
            Some("stated") => Self::Stated,
            Some(_) | None => Self::Settings,
        }
    }
}

pub(crate) fn path(resource: usize) -> String {
    match resource % 5 {
        1 => format!("/lifted/r{resource}"),
        2 => format!("/stated/r{resource}"),
        _ => format!("/r{resource}"),
    }
}

impl ClientRequest {
    /// Draws a request for a resource, possibly conditional on an earlier response.
    pub(crate) fn draw(
        dice: &mut Rng,
        id: usize,
        resource: usize,
        before: Option<&ReceivedResponse>,
    ) -> Self {
        let method = choose(dice, &[("GET", 69), ("HEAD", 6), ("POST", 7), ("QUERY", 18)]);
        let identity = choose(dice, &[("anonymous", 40), ("alice", 30), ("bob", 30)]);
        let mut request = Self { id, method, path: path(resource), identity, ..Self::anonymous() };
        request.fields.push(("User-Agent", id.to_string()));
        if method == "GET" && identity == "anonymous" && dice.bool() {
            return request;
        }
        if method == "POST" {
            request.fields.push(("Content-Length", "0".to_owned()));
        }
        if method == "QUERY" {
            let content = CONTENTS[dice.usize(..CONTENTS.len())];
            request.content = Some(content);
            request.fields.push(("Content-Type", "application/json".to_owned()));
            request.fields.push(("Content-Length", content.len().to_string()));
        }
        if identity != "anonymous" {
            let first = dice.usize(..CREDENTIALS.len());
            request.carry(first);
            if dice.u8(..100) < 15 {
                request.carry((first + 1) % CREDENTIALS.len());
            }
        }
        if dice.bool() {
            let value = choose(dice, &[("a", 1), ("b", 1)]).to_owned();
            request.fields.push(("X-Variant", value.clone()));
            request.variant = Some(value);
            request.unlisted = true;
        }
        if dice.u8(..100) < 15 {
            let name = choose(dice, &[("X-Auth-Token", 1), ("Remote-User", 1), ("X-Tenant-Id", 1)]);
            request.fields.push((name, format!("secret-of-{identity}")));
            request.unlisted = true;
        }
        if dice.u8(..100) < 15 {
            request.fields.push((UNKEYED[dice.usize(..UNKEYED.len())], id.to_string()));
        }
        if dice.bool() {
            let (text, meaning) = LANGUAGES[dice.usize(..LANGUAGES.len())];
            request.fields.push(("Accept-Language", text.to_owned()));
            request.language = Some(meaning);
        }
        // `Connection` removes a field on the way to the origin. The cache must still consider it.
        match dice.u8(..100) {
            0..4 => {
                request.fields.push(("Connection", "x-variant".to_owned()));
                request.variant = None;
            }
            4..8 => request.fields.push(("Connection", "authorization, cookie, x-api-key".to_owned())),
            _ => {}
        }
        request.draw_conditions(dice, before);
        request
    }

    /// Returns whether the request has no field that could keep it from changing the store.
    pub(crate) fn is_plain(&self) -> bool {
        self.fields.iter().all(|(name, _)| ["User-Agent", "Accept-Language"].contains(name))
    }

    /// Returns an anonymous request of the cache itself.
    pub(crate) fn anonymous() -> Self {
        Self {
            id: BACKGROUND,
            method: "GET",
            path: String::new(),
            content: None,
            identity: "anonymous",
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
        self.fields.push((name, format!("secret-of-{}", self.identity)));
    }

    fn draw_conditions(&mut self, dice: &mut Rng, before: Option<&ReceivedResponse>) {
        let control = choose(
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
            && let Some(tag) = before.and_then(|received| received.response.field("etag"))
        {
            self.fields.push(("If-None-Match", tag.to_owned()));
        } else if dice.u8(..100) < 6 {
            self.fields.push(("Range", format!("bytes={}-{}", dice.usize(..5), 5 + dice.usize(..40))));
        }
    }
}

/// The field that controls the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlField {
    Standard,
    Cdn,
    CacheWarp,
}

/// The `Vary` of a response.
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

/// The directives of a cache-control field.
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
    /// True if the field does not parse. A malformed `Cache-Control` forbids storing; a malformed
    /// targeted field is ignored.
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

    /// Returns the field's text: directives in random order and, where case is insignificant, in
    /// random case.
    pub(crate) fn text(&self, control_field: ControlField, dice: &mut Rng) -> String {
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
        // The cache would ignore an empty dictionary and read the next field.
        if parts.is_empty() && control_field != ControlField::Standard {
            parts.push("x=1".to_owned());
        }
        dice.shuffle(&mut parts);
        let text = parts.join(choose(dice, &[(", ", 1), (",", 1)]));
        match control_field {
            _ if self.malformed => format!("{text}, max-age=\"1"),
            ControlField::Standard if dice.bool() && self.own.is_none() => text.to_uppercase(),
            ControlField::Standard | ControlField::Cdn | ControlField::CacheWarp => text,
        }
    }
}

/// The head of a response, without its marks.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) control: Control,
    /// True if the field is absent. A 304 then leaves the stored directives unchanged.
    pub(crate) lacks_control: bool,
    pub(crate) vary: Vary,
    pub(crate) age: Option<u64>,
    pub(crate) cookie: bool,
    pub(crate) own: bool,
    /// True if the end of the connection delimits the body.
    pub(crate) until_close: bool,
}

/// The origin's behaviour for one path.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) control_field: ControlField,
    /// The `Cache-Control` that accompanies a targeted field.
    pub(crate) fallback: Control,
    pub(crate) tagged: bool,
    /// Heads of whole responses.
    pub(crate) heads: Vec<Head>,
    /// Heads of 304 responses.
    pub(crate) validations: Vec<Head>,
    /// Number of answers after which the origin withdraws the resource.
    pub(crate) withdrawn_after: Option<usize>,
}

impl Resource {
    pub(crate) fn draw(dice: &mut Rng) -> Self {
        let control_field = choose(
            dice,
            &[(ControlField::Standard, 70), (ControlField::Cdn, 15), (ControlField::CacheWarp, 15)],
        );
        let vary = choose(
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
        let heads = (0..dice.usize(1..4)).map(|_| Head::draw(dice, control_field, vary)).collect();
        let validations = (0..dice.usize(1..3)).map(|_| Head::draw(dice, control_field, vary)).collect();
        let fallback = if dice.bool() {
            Control { public: true, max_age: Some(600), ..Control::default() }
        } else {
            Control { no_store: true, ..Control::default() }
        };
        let tagged = dice.u8(..100) < 70;
        let drawn = Self { control_field, fallback, tagged, heads, validations, withdrawn_after: None };
        if dice.u8(..100) < 20 { drawn.into_withdrawn(dice.usize(2..8)) } else { drawn }
    }

    /// Returns a resource whose responses need validation, and which the origin then withdraws.
    fn into_withdrawn(self, after: usize) -> Self {
        let control = Control { public: true, max_age: Some(600), ..Control::default() };
        let head = Head { control, age: Some(700), ..Head::private() };
        Self {
            control_field: ControlField::Standard,
            tagged: true,
            heads: vec![head.clone()],
            validations: vec![head],
            withdrawn_after: Some(after),
            ..self
        }
    }

    pub(crate) fn varies_by_authorization(&self) -> bool {
        self.heads.iter().any(|head| head.vary == Vary::Authorization)
    }

    /// Returns the directives of a head that CacheWarp obeys.
    pub(crate) fn control_of<'a>(&'a self, head: &'a Head) -> &'a Control {
        if head.control.malformed && self.control_field != ControlField::Standard {
            &self.fallback
        } else {
            &head.control
        }
    }
}

impl Head {
    /// Returns the head of a response for its own client.
    pub(crate) fn private() -> Self {
        Self {
            status: 200,
            control: Control { private: true, ..Control::default() },
            lacks_control: false,
            vary: Vary::Nothing,
            age: None,
            cookie: false,
            own: false,
            until_close: false,
        }
    }

    fn draw(dice: &mut Rng, control_field: ControlField, vary: Vary) -> Self {
        let own = dice.u8(..100) < 25;
        let lacks_control = control_field == ControlField::Standard && !own && dice.u8(..100) < 20;
        let mut control = if lacks_control { Control::default() } else { Control::draw(dice) };
        if own {
            // One dictionary cannot hold both forms of a directive.
            (control.no_cache, control.private, control.malformed) = (false, false, false);
            control.own = Some(choose(dice, &[("private=\"x-own\"", 1), ("no-cache=\"x-own\"", 1)]));
        }
        Self {
            status: choose(dice, &[(200, 94), (404, 3), (503, 3)]),
            control,
            lacks_control,
            vary: if dice.u8(..100) < 10 { Vary::Both } else { vary },
            age: (dice.u8(..100) < 15).then(|| choose(dice, &[(0, 1), (1, 1), (700, 3)])),
            cookie: dice.u8(..100) < 12,
            own,
            until_close: dice.u8(..100) < 8,
        }
    }
}

/// Draws one choice by weight.
pub(crate) fn choose<T: Copy>(dice: &mut Rng, choices: &[(T, u32)]) -> T {
    let mut left = dice.u32(..choices.iter().map(|(_, weight)| weight).sum::<u32>());
    for (choice, weight) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    unreachable!("the weights have been summed")
}
