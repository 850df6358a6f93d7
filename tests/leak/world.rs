//! The origin, and the record of everything that was asked and said.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cachewarp::time;
use fastrand::Rng;

use crate::draw::{Ask, CREDENTIALS, Control, Credential, Head, LANGUAGES, Resource, UNKEYED, Voice, path};
use crate::harness::{Answer, Exchange, Origin, Then};

/// What there is, and what has happened in it.
pub(crate) struct World {
    pub(crate) seed: u64,
    turns: AtomicUsize,
    resources: Vec<Resource>,
    asks: Mutex<Vec<Ask>>,
    said: Mutex<Vec<Said>>,
    pub(crate) faults: Mutex<Vec<String>>,
}

/// Something that the origin said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Its number, and its place in the log.
    pub(crate) serial: usize,
    /// To whom.
    pub(crate) ask: Ask,
    /// When, between request and response.
    pub(crate) at: Instant,
    pub(crate) head: Head,
    /// The number of the whole response that it is about: its own, unless it says that another is
    /// still right.
    pub(crate) entity: usize,
    /// Whether the request had a field, when it came here, that is in no key.
    pub(crate) unkeyed: bool,
    /// What it says to us about storing.
    pub(crate) control: Control,
}

impl Said {
    /// Its body: its mark, and whom it is for.
    pub(crate) fn body(&self) -> String {
        let (serial, pad) = (self.serial, "x".repeat(self.serial % 7 * 300));
        format!(r#"{{"serial":{serial},"for":"{}","pad":"{pad}"}}"#, self.ask.who)
    }
}

impl World {
    /// Draws resources, and lets the origin answer for them.
    pub(crate) fn open(seed: u64, resources: usize, origin: &Origin) -> Arc<Self> {
        let mut dice = Rng::with_seed(seed);
        let world = Arc::new(Self {
            seed,
            turns: AtomicUsize::new(0),
            resources: (0..resources).map(|_| Resource::draw(&mut dice)).collect(),
            asks: Mutex::default(),
            said: Mutex::default(),
            faults: Mutex::default(),
        });
        for resource in 0..resources {
            let world = Arc::clone(&world);
            origin.script(&path(resource), move |exchange| world.answer(resource, exchange));
        }
        world
    }

    /// The next of so many turns.
    pub(crate) fn turn(&self, turns: usize) -> Option<usize> {
        Some(self.turns.fetch_add(1, Ordering::Relaxed)).filter(|turn| *turn < turns)
    }

    /// Notes down a request before it is sent.
    pub(crate) fn register(&self, draw: impl FnOnce(usize) -> Ask) -> Ask {
        let mut asks = self.asks.lock().unwrap();
        let ask = draw(asks.len());
        asks.push(ask.clone());
        ask
    }

    /// All that was said.
    pub(crate) fn log(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    fn answer(&self, number: usize, exchange: &mut Exchange) -> io::Result<Then> {
        exchange.body()?;
        let resource = &self.resources[number];
        let ask = self.who_asks(exchange, resource);
        let condition =
            exchange.request.field("if-none-match").and_then(|tag| tag.trim_matches('"').parse().ok());
        let mut said = self.said.lock().unwrap();
        let serial = said.len();
        let mut dice = Rng::with_seed(self.seed ^ (serial as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Long enough for others to come meanwhile.
        let pause = Duration::from_micros(dice.u64(..8_000));

        let own = |said: &[Said], entity: usize| {
            said.get(entity).is_some_and(|one: &Said| one.ask.path == path(number))
        };
        let entity = match (ask.method, condition) {
            ("GET", Some(entity)) if dice.u8(..100) < 60 && own(&said, entity) => entity,
            // Of the last that was said.
            ("HEAD", _) if resource.tagged => {
                let whole = |(at, one): (usize, &Said)| {
                    (one.entity == at && one.ask.method == "GET" && own(&said, at)).then_some(at)
                };
                said.iter().enumerate().rev().find_map(whole).unwrap_or(serial)
            }
            _ => serial,
        };
        let whole = entity == serial;
        let heads = if whole { &resource.heads } else { &resource.later };
        let head = heads[dice.usize(..heads.len())].clone();
        let text = text(resource, &head, serial, entity, &mut dice);
        let control = resource.said(&head).clone();
        let unkeyed = UNKEYED.iter().any(|name| exchange.request.field(name).is_some());
        let own = Said { serial, ask, at: time::instant(), head, entity, unkeyed, control };
        said.push(own.clone());
        drop(said);
        thread::sleep(pause);
        let fields: Vec<(&str, &str)> = text.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = match own.ask.method {
            "GET" if !whole => Answer::not_modified(&fields),
            "HEAD" => Answer::new(200, &fields, &own.body()),
            _ => Answer::new(own.head.status, &fields, &own.body()),
        };
        answer.give(exchange)
    }

    /// Whose request the origin sees; and whether it sees nobody else's credentials.
    fn who_asks(&self, exchange: &Exchange, resource: &Resource) -> Ask {
        let request = &exchange.request;
        let id = request.field("user-agent").and_then(|id| id.parse::<usize>().ok());
        let mut ask = match id {
            Some(id) => self.asks.lock().unwrap()[id].clone(),
            None => Ask { path: request.path().to_owned(), ..Ask::nobody() },
        };
        let secrets =
            CREDENTIALS.iter().filter_map(|(credential, name)| Some((*credential, request.field(name)?)));
        for (credential, secret) in secrets {
            let may_carry = match id {
                Some(_) => secret == format!("secret-of-{}", ask.who) && ask.carried.contains(&credential),
                // Nobody's but what selects the variant.
                None => credential == Credential::Authorization && resource.varies_by_authorization(),
            };
            if !may_carry {
                self.faults.lock().unwrap().push(format!("{secret} went to the origin with {ask:?}"));
            }
            if id.is_none() {
                ask.carried.push(credential);
                ask.who = if secret.ends_with("alice") { "alice" } else { "bob" };
            }
        }
        if id.is_none() {
            ask.variant = request.field("x-variant").map(str::to_owned);
            ask.unlisted = ask.variant.is_some();
            let language = request.field("accept-language");
            ask.language =
                LANGUAGES.iter().find(|(text, _)| Some(*text) == language).map(|(_, meaning)| *meaning);
        }
        ask
    }
}

/// The fields of a response, with its marks.
fn text(
    resource: &Resource,
    head: &Head,
    serial: usize,
    entity: usize,
    dice: &mut Rng,
) -> Vec<(&'static str, String)> {
    let whole = entity == serial;
    let mut fields = vec![("Content-Type", "application/json".to_owned())];
    fields.push((if whole { "X-Serial" } else { "X-Validated" }, serial.to_string()));
    if !head.silent {
        let text = head.control.text(resource.voice, dice);
        match resource.voice {
            Voice::All => fields.push(("Cache-Control", text)),
            Voice::Cdn => fields.push(("CDN-Cache-Control", text)),
            Voice::Ours => fields.push(("CacheWarp-Cache-Control", text)),
        }
    }
    if resource.voice != Voice::All {
        fields.push(("Cache-Control", resource.beside.text(Voice::All, dice)));
    }
    if resource.tagged {
        fields.push(("ETag", format!("\"{entity}\"")));
    }
    if whole {
        fields.extend(head.vary.text().map(|vary| ("Vary", vary.to_owned())));
        // An empty reference is to the target itself: what a `POST` is answered with is what a
        // `GET` would get.
        fields.push(("Content-Location", String::new()));
    }
    if head.own {
        fields.push(("X-Own", serial.to_string()));
    }
    if head.cookie {
        fields.push(("Set-Cookie", format!("own={serial}")));
    }
    fields.extend(head.age.map(|age| ("Age", age.to_string())));
    fields
}
