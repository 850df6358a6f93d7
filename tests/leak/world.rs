//! The origin, and the record of all requests and answers.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cachewarp::time;
use fastrand::Rng;

use crate::draw::{
    BACKGROUND, CONTENTS, CREDENTIALS, ClientRequest, Control, ControlField, Credential, Head, LANGUAGES,
    Resource, UNKEYED, choose, path,
};
use crate::harness::{Answer, Exchange, Origin, Then};

/// The fields in which the origin repeats the context of a trace.
pub(crate) const TRACE_FIELDS: [&str; 3] = ["traceresponse", "server-timing", "x-trace-id"];

/// Bytes of a well-formed `traceparent`.
const CONTEXT_BYTES: usize = 55;

/// The resources of the origin, and the record of the test.
pub(crate) struct World {
    pub(crate) seed: u64,
    sent: AtomicUsize,
    resources: Vec<Resource>,
    /// Number of answers of each resource.
    served: Vec<AtomicUsize>,
    requests: Mutex<Vec<ClientRequest>>,
    answers: Mutex<Vec<OriginAnswer>>,
    pub(crate) faults: Mutex<Vec<String>>,
}

/// The end of an unsafe request at the origin, which has applied it.
#[derive(Clone, Copy)]
enum WriteEnd {
    Answered,
    /// The connection ends without a byte.
    Closed,
    /// The connection ends after the first byte.
    Cut,
    /// No byte arrives before the timeout.
    Silent,
}

/// An answer of the origin.
#[derive(Clone, Debug)]
pub(crate) struct OriginAnswer {
    /// Its number, which is its index in the record.
    pub(crate) serial: usize,
    /// The request that it answers.
    pub(crate) request: ClientRequest,
    /// A time between request and response.
    pub(crate) at: Instant,
    pub(crate) head: Head,
    /// The number of the whole response that it concerns: its own, except for a 304.
    pub(crate) entity: usize,
    /// True if the request arrived with a field that is in no cache key.
    pub(crate) unkeyed: bool,
    /// The directives that CacheWarp obeys.
    pub(crate) control: Control,
}

impl OriginAnswer {
    /// Returns the body: its mark, and the identity of the request.
    pub(crate) fn body(&self) -> String {
        let (serial, pad) = (self.serial, "x".repeat(self.serial % 7 * 300));
        format!(r#"{{"serial":{serial},"for":"{}","pad":"{pad}"}}"#, self.request.identity)
    }
}

impl World {
    /// Draws resources, and answers for them at the origin.
    pub(crate) fn open(seed: u64, resources: usize, origin: &Origin) -> Arc<Self> {
        let mut dice = Rng::with_seed(seed);
        let world = Arc::new(Self {
            seed,
            sent: AtomicUsize::new(0),
            resources: (0..resources).map(|_| Resource::draw(&mut dice)).collect(),
            served: (0..resources).map(|_| AtomicUsize::default()).collect(),
            requests: Mutex::default(),
            answers: Mutex::default(),
            faults: Mutex::default(),
        });
        for resource in 0..resources {
            let world = Arc::clone(&world);
            origin.script(&path(resource), move |exchange| world.answer(resource, exchange));
        }
        world
    }

    /// Returns the number of the next request, up to the limit.
    pub(crate) fn next_request(&self, limit: usize) -> Option<usize> {
        Some(self.sent.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < limit)
    }

    /// Records a request before the client sends it.
    pub(crate) fn register(&self, draw: impl FnOnce(usize) -> ClientRequest) -> ClientRequest {
        let mut requests = self.requests.lock().unwrap();
        let request = draw(requests.len());
        requests.push(request.clone());
        request
    }

    /// Returns all answers.
    pub(crate) fn log(&self) -> Vec<OriginAnswer> {
        self.answers.lock().unwrap().clone()
    }

    fn answer(&self, number: usize, exchange: &mut Exchange) -> io::Result<Then> {
        let content = exchange.body()?;
        let resource = &self.resources[number];
        let mut request = self.identify(exchange, resource);
        if exchange.request.method == "QUERY" {
            let sent = CONTENTS.into_iter().find(|known| known.as_bytes() == content);
            let is_described = exchange.request.field("content-type") == Some("application/json");
            if !is_described || (request.id != BACKGROUND && request.content != sent) {
                self.faults.lock().unwrap().push(format!("{sent:?} went to the origin with {request:?}"));
            }
            (request.method, request.content) = ("QUERY", sent);
        }
        let condition =
            exchange.request.field("if-none-match").and_then(|tag| tag.trim_matches('"').parse().ok());
        let mut answers = self.answers.lock().unwrap();
        let serial = answers.len();
        let mut dice = Rng::with_seed(self.seed ^ (serial as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // The pause lets other requests arrive meanwhile.
        let pause = Duration::from_micros(dice.u64(..8_000));

        let own = |answers: &[OriginAnswer], entity: usize| {
            let is_own = |one: &OriginAnswer| {
                one.request.path == path(number) && one.request.content == request.content
            };
            answers.get(entity).is_some_and(is_own)
        };
        let earlier = self.served[number].fetch_add(1, Ordering::Relaxed);
        let is_withdrawn = resource.withdrawn_after.is_some_and(|after| earlier >= after);
        let entity = match (request.method, condition) {
            _ if is_withdrawn => serial,
            ("GET" | "QUERY", Some(entity)) if dice.u8(..100) < 60 && own(&answers, entity) => entity,
            // A HEAD describes the last whole response.
            ("HEAD", _) if resource.tagged => {
                let whole = |(at, one): (usize, &OriginAnswer)| {
                    (one.entity == at && one.request.method == "GET" && own(&answers, at)).then_some(at)
                };
                answers.iter().enumerate().rev().find_map(whole).unwrap_or(serial)
            }
            _ => serial,
        };
        let whole = entity == serial;
        let heads = if whole { &resource.heads } else { &resource.validations };
        let drawn = heads[dice.usize(..heads.len())].clone();
        let head = if is_withdrawn { Head::private() } else { drawn };
        let text = text(resource, &head, serial, entity, &mut dice);
        let control = resource.control_of(&head).clone();
        // A well-formed context is CacheWarp's own; no client sends one.
        let is_of_client = |(name, text): (&str, &str)| name != "traceparent" || text.len() != CONTEXT_BYTES;
        let unkeyed = UNKEYED
            .iter()
            .any(|name| exchange.request.field(name).is_some_and(|text| is_of_client((name, text))));
        let own = OriginAnswer { serial, request, at: time::instant(), head, entity, unkeyed, control };
        answers.push(own.clone());
        drop(answers);
        thread::sleep(pause);
        if own.request.method == "POST" {
            match choose(
                &mut dice,
                &[(WriteEnd::Answered, 82), (WriteEnd::Closed, 8), (WriteEnd::Cut, 8), (WriteEnd::Silent, 2)],
            ) {
                WriteEnd::Answered => {}
                WriteEnd::Closed => return Ok(Then::Close),
                WriteEnd::Cut => return Answer::raw("H").close().give(exchange),
                WriteEnd::Silent => return Answer::silent().hang().give(exchange),
            }
        }
        let mut fields: Vec<(&str, &str)> =
            text.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // The origin repeats the trace of the request, as origins do for browsers.
        let trace = exchange.request.field("traceparent").map(str::to_owned);
        fields.extend(trace.iter().flat_map(|trace| TRACE_FIELDS.map(|name| (name, trace.as_str()))));
        let answer = match own.request.method {
            "GET" | "QUERY" if !whole => Answer::not_modified(&fields),
            "HEAD" => Answer::new(200, &fields, &own.body()),
            "GET" | "QUERY" if own.head.until_close => {
                Answer::until_close(own.head.status, &fields, &own.body())
            }
            _ => Answer::new(own.head.status, &fields, &own.body()),
        };
        answer.give(exchange)
    }

    /// Identifies the request that the origin received, and records a failure if it carries another
    /// client's credentials.
    fn identify(&self, exchange: &Exchange, resource: &Resource) -> ClientRequest {
        let forwarded = &exchange.request;
        let id = forwarded.field("user-agent").and_then(|id| id.parse::<usize>().ok());
        let mut request = match id {
            Some(id) => self.requests.lock().unwrap()[id].clone(),
            None => ClientRequest { path: forwarded.path().to_owned(), ..ClientRequest::anonymous() },
        };
        let secrets =
            CREDENTIALS.iter().filter_map(|(credential, name)| Some((*credential, forwarded.field(name)?)));
        for (credential, secret) in secrets {
            let may_carry = match id {
                Some(_) => {
                    secret == format!("secret-of-{}", request.identity)
                        && request.carried.contains(&credential)
                }
                // A request of the cache may carry only a credential that selects the variant.
                None => credential == Credential::Authorization && resource.varies_by_authorization(),
            };
            if !may_carry {
                self.faults.lock().unwrap().push(format!("{secret} went to the origin with {request:?}"));
            }
            if id.is_none() {
                request.carried.push(credential);
                request.identity = if secret.ends_with("alice") { "alice" } else { "bob" };
            }
        }
        if id.is_none() {
            request.variant = forwarded.field("x-variant").map(str::to_owned);
            request.unlisted = request.variant.is_some();
            let language = forwarded.field("accept-language");
            request.language =
                LANGUAGES.iter().find(|(text, _)| Some(*text) == language).map(|(_, meaning)| *meaning);
        }
        request
    }
}

/// Returns the fields of a response, with its marks.
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
    if !head.lacks_control {
        let text = head.control.text(resource.control_field, dice);
        match resource.control_field {
            ControlField::Standard => fields.push(("Cache-Control", text)),
            ControlField::Cdn => fields.push(("CDN-Cache-Control", text)),
            ControlField::CacheWarp => fields.push(("CacheWarp-Cache-Control", text)),
        }
    }
    if resource.control_field != ControlField::Standard {
        fields.push(("Cache-Control", resource.fallback.text(ControlField::Standard, dice)));
    }
    if resource.tagged {
        fields.push(("ETag", format!("\"{entity}\"")));
    }
    if whole {
        fields.extend(head.vary.text().map(|vary| ("Vary", vary.to_owned())));
        // An empty reference names the target itself: the response to a `POST` is then a response
        // to a `GET`.
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
