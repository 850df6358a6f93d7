//! A randomised test that no byte of one client's response reaches another client against the
//! rules.
//!
//! Two identities and anonymous clients send requests concurrently to two proxies on one Redis. The
//! origin's responses combine directives, targeted cache control, `Vary`, cookies, credentials,
//! ages, validators and ranges. The origin marks each response, in the body and in the fields, with
//! the number of its exchange. Afterwards a small [`model`] of the rules, which shares no line with
//! the code, checks every mark that any client received.
//!
//! Writes end without a response or after its first byte, clients leave before it, operators purge,
//! another party damages and exchanges entries in Redis, and Redis is down for a while and comes
//! back empty. After each removal, the node must not serve what the origin sent before it.
//!
//! One seed determines all requests and responses; a failure names it, and
//! `LEAK_SEED=<seed> cargo test --test leak` repeats it. The scheduler still decides which requests
//! overlap. Another API with equal paths shares the Redis: no mark crosses between the two APIs.
//!
//! A second run has keys. The other party then also exchanges sealed entries with each other, and
//! brings back all entries that it has copied, after writes and purges too.

#![cfg(test)]

mod draw;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
mod model;
mod world;

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cachewarp::time;
use tempfile::TempDir;

use draw::{ClientRequest, ROUTES, path};
use harness::{Answer, Client, Origin, Proxy, Redis, Value};
use model::{LeakReport, ReceivedResponse, Removal, RemovalReason};
use world::{TRACE_FIELDS, World};

/// Maximum number of requests of a run.
const REQUESTS: usize = 6_000;
/// Time limit of a run, for a machine that does not make progress.
const TIME: Duration = Duration::from_secs(600);
/// Number of concurrent clients.
const CLIENTS: usize = 8;
/// Approximate number of requests between a resource's first and last request.
const REQUESTS_A_RESOURCE: usize = 30;
const RESOURCES_AT_A_TIME: usize = 4;
/// Redis is killed at this request, and started again after as many requests as the second number.
const REDIS_OUTAGE: (usize, usize) = (1_000, 300);

/// The form of the entries in Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Storage {
    Plain,
    Sealed,
}

/// Held by a run: two at a time would only be slower.
static RUNNING: Mutex<()> = Mutex::new(());

#[test]
fn no_byte_of_one_client_leaks_to_another() {
    run_all(Storage::Plain);
}

#[test]
fn no_byte_leaks_from_sealed_entries_that_another_party_moves_and_replays() {
    run_all(Storage::Sealed);
}

/// Runs once, or until `LEAK_EXCHANGES` requests have been judged.
#[expect(clippy::disallowed_methods, reason = "it is no setting of the product")]
fn run_all(storage: Storage) {
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("LEAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    let exchanges = number("LEAK_EXCHANGES").unwrap_or(1);
    let (mut sum, mut requests, mut seed) = (LeakReport::default(), 0, first);
    while requests < exchanges {
        let (report, count) = run(seed, storage);
        (requests, seed) = (requests + count as u64, seed.wrapping_add(1));
        sum.add(report);
        println!("{requests} requests: {sum:?}");
    }
}

/// Draws and judges one run. Returns its result, and the number of its requests.
fn run(seed: u64, storage: Storage) -> (LeakReport, usize) {
    let (origin, redis) = (Origin::start(), Redis::start());
    let world = World::open(seed, REQUESTS / REQUESTS_A_RESOURCE + RESOURCES_AT_A_TIME, &origin);
    let mut routes = tempfile::NamedTempFile::new().expect("a file");
    routes.write_all(ROUTES.as_bytes()).expect("a file");
    let routes_file = routes.path().to_str().expect("a path");
    let keys = KeyFiles::write();
    let proxies: [Proxy; 2] = ["64MiB", "0"].map(|memory| {
        let mut settings = vec![
            ("cache_memory_size", memory),
            ("redis_timeout", "5s"),
            ("origin_head_timeout", "1s"),
            ("routes_file", routes_file),
            // No collector listens there.
            ("otlp_endpoint", "http://127.0.0.1:9"),
            ("trace_sample", "50%"),
        ];
        if storage == Storage::Sealed {
            settings.extend([("entry_key_file", &*keys.entries), ("name_key_file", &*keys.names)]);
        }
        Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
    });
    let neighbour = Neighbour::start(&redis, seed);
    let party = Arc::new(Party {
        world,
        proxies,
        storage,
        redis: Mutex::new(redis),
        purges: Mutex::default(),
        forged: AtomicUsize::default(),
        replayed: AtomicUsize::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let party = Arc::clone(&party);
            thread::spawn(move || party.send_requests(number))
        })
        .collect();
    let received: Vec<ReceivedResponse> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();

    // The model knows no mark of the neighbour, and the neighbour's client checks its own
    // responses.
    let neighbour_requests = neighbour.stop();
    let purges = party.purges.lock().unwrap().drain(..).collect();
    let mut report = model::judge(&party.world.log(), &received, purges);
    let ids: HashSet<_> =
        received.iter().filter_map(|received| received.response.field("x-request-id")).collect();
    assert_eq!(ids.len(), received.len(), "LEAK_SEED={seed}: answers without an id of their own");
    let traced: Vec<_> = TRACE_FIELDS
        .iter()
        .flat_map(|name| {
            received.iter().filter_map(move |received| Some((name, received.response.field(name)?)))
        })
        .collect();
    let traces: HashSet<_> = traced.iter().collect();
    assert_eq!(traces.len(), traced.len(), "LEAK_SEED={seed}: answers with the trace of another request");
    let foreign = received
        .iter()
        .filter(|received| String::from_utf8_lossy(&received.response.body).contains(NEIGHBOUR))
        .count();
    assert_eq!(foreign, 0, "LEAK_SEED={seed}: answers of another origin on the same Redis");
    report.faults.extend(party.world.faults.lock().unwrap().drain(..));
    let some = &report.faults[..report.faults.len().min(5)];
    assert!(
        some.is_empty(),
        "LEAK_SEED={seed}: {} leaks, among them\n{}",
        report.faults.len(),
        some.join("\n\n")
    );
    // A run with too few shared responses has tested nothing.
    let removals = |reason: RemovalReason| report.removals.get(&reason).copied().unwrap_or_default();
    let enough = [
        (report.shared, 500),
        (report.shared_by_name, 50),
        (report.shared_queries, 20),
        (report.shared_stated, 50),
        (report.shared_lifted, 50),
        (report.validated, 20),
        (report.collapsed, 20),
        (neighbour_requests, 100),
        (traced.len(), 300),
        (removals(RemovalReason::Write), 20),
        (removals(RemovalReason::WriteOfUnknownOutcome), 10),
        (removals(RemovalReason::Withdrawal), 3),
        (removals(RemovalReason::Purge), 10),
        (removals(RemovalReason::PurgeWithoutRedis), 1),
        (party.forged.load(Ordering::Relaxed), 20),
    ];
    assert!(enough.iter().all(|(count, least)| count >= least), "LEAK_SEED={seed}: {enough:?}");
    if storage == Storage::Sealed {
        let refused = |proxy: &Proxy| proxy.metric("cachewarp_entries_damaged_total{reason=\"forged\"}");
        let refused: f64 = party.proxies.iter().map(refused).sum();
        let replayed = party.replayed.load(Ordering::Relaxed);
        assert!(
            refused >= 3.0 && replayed >= 100,
            "LEAK_SEED={seed}: {refused} refused, {replayed} replayed"
        );
    }
    (report, received.len())
}

/// The body of every response of the neighbour.
const NEIGHBOUR: &str = "next door";

/// Another API behind another CacheWarp on one Redis. It gets requests and purges for equal paths
/// of an equal host.
struct Neighbour {
    over: Arc<AtomicBool>,
    client: JoinHandle<usize>,
}

impl Neighbour {
    fn start(redis: &Redis, seed: u64) -> Self {
        let (over, url) = (Arc::new(AtomicBool::new(false)), redis.url());
        let ended = Arc::clone(&over);
        let client = thread::spawn(move || {
            let origin = Origin::start();
            let fields = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=600")];
            let body = format!("{NEIGHBOUR:?}");
            let resources = REQUESTS / REQUESTS_A_RESOURCE + RESOURCES_AT_A_TIME;
            (0..resources).for_each(|number| origin.answer(&path(number), Answer::new(200, &fields, &body)));
            let proxy = Proxy::start_with_redis(&origin.url(), &url, &[("purge_allow", "127.0.0.1")]);
            let (mut client, mut dice) = (proxy.connect(), fastrand::Rng::with_seed(seed));
            let mut requests = 0;
            while !ended.load(Ordering::Relaxed) {
                let path = path(dice.usize(..resources));
                assert_eq!(client.get(&path).text(), body, "LEAK_SEED={seed}: {path} of another origin");
                if dice.u8(..8) == 0 {
                    client.request("PURGE", &path, &[]);
                }
                requests += 1;
            }
            requests
        });
        Self { over, client }
    }

    /// Stops the neighbour. Returns the number of its requests.
    fn stop(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().expect("the neighbour's client")
    }
}

/// The files with the keys of the sealed entries and of the names.
struct KeyFiles {
    _folder: TempDir,
    entries: String,
    names: String,
}

impl KeyFiles {
    fn write() -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = |name: &str, line: &str| {
            let path = folder.path().join(name);
            fs::write(&path, line).expect("a file");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file");
            path.to_str().expect("a path").to_owned()
        };
        let entries = file("entries", "e:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let names = file("names", "n:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        Self { _folder: folder, entries, names }
    }
}

/// The clients, and the operators and other parties whose roles they take in turn.
struct Party {
    world: Arc<World>,
    proxies: [Proxy; 2],
    storage: Storage,
    redis: Mutex<Redis>,
    purges: Mutex<Vec<Removal>>,
    /// Number of forged entries in Redis.
    forged: AtomicUsize,
    /// Number of entries that were brought back.
    replayed: AtomicUsize,
}

impl Party {
    /// Sends requests on one connection, each with another identity.
    fn send_requests(&self, number: usize) -> Vec<ReceivedResponse> {
        let mut dice = fastrand::Rng::with_seed(self.world.seed.wrapping_add(number as u64));
        let node = number % self.proxies.len();
        let mut client = self.proxies[node].connect();
        let begun = time::instant();
        let mut received = Vec::new();
        while begun.elapsed() < TIME
            && let Some(sent) = self.world.next_request(REQUESTS)
        {
            let resource = sent / REQUESTS_A_RESOURCE + dice.usize(0..RESOURCES_AT_A_TIME);
            self.disturb(sent, node, resource, &mut dice);
            let request =
                self.world.register(|id| ClientRequest::draw(&mut dice, id, resource, received.last()));
            let at = time::instant();
            let fields: Vec<(&str, &str)> =
                request.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            if request.method == "POST" && dice.u8(..100) < 15 {
                // The client leaves before it knows the outcome.
                client.send_head("POST", &request.path, &fields);
                client = self.proxies[node].connect();
                continue;
            }
            client.send_head(request.method, &request.path, &fields);
            client.send(request.content.unwrap_or_default());
            let response = client.response_to(request.method);
            received.push(ReceivedResponse { request, at, ended: time::instant(), node, response });
        }
        received
    }

    /// Sometimes purges, forges an entry, or kills or starts Redis.
    fn disturb(&self, sent: usize, node: usize, resource: usize, dice: &mut fastrand::Rng) {
        let (kill, outage) = REDIS_OUTAGE;
        match sent {
            sent if sent == kill => self.redis.lock().unwrap().kill(),
            sent if sent == kill + outage => self.redis.lock().unwrap().restart(),
            _ => {}
        }
        match dice.u8(..100) {
            0..2 => self.purge(node, resource),
            2..6 => self.forge(dice),
            6 if self.storage == Storage::Sealed => self.copy_replay_or_exchange(dice),
            _ => {}
        }
    }

    /// Purges a path at one node.
    fn purge(&self, node: usize, resource: usize) {
        let (begun, path) = (time::instant(), path(resource));
        let admin = self.proxies[node].admin_addr();
        let order = format!(r#"{{"url":"http://test{path}"}}"#);
        let mut client = Client::connect(admin);
        client.send(format!(
            "POST /purge HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{order}",
            order.len()
        ));
        let status = client.response().status;
        let (reason, node) = match status {
            200 => (RemovalReason::Purge, None),
            503 => (RemovalReason::PurgeWithoutRedis, Some(node)),
            _ => (RemovalReason::Purge, Some(node)),
        };
        let removal = Removal { reason, path, node, begun, ended: time::instant() };
        self.purges.lock().unwrap().push(removal);
    }

    /// Puts the entry of one key under another key of the same namespace, or damages an entry.
    ///
    /// Without keys, it leaves the key generations as they are, those of tombstones too. A party
    /// that removes one lets Redis store a fetch from before the purge, and SECURITY.md promises
    /// nothing against such a party. With keys, the node that purged remembers it.
    fn forge(&self, dice: &mut fastrand::Rng) {
        const SCRIPT: &str = r"
            local entry = ':' .. string.rep('%x', 32) .. '$'
            local function namespace(name) return string.sub(name, 1, -33) end
            local function draw(like)
                for _ = 1, 20 do
                    local name = redis.call('RANDOMKEY')
                    local is_entry = name and string.find(name, entry) and not string.find(name, 'tag:') and not string.find(name, 'lease:')
                    local is_spared = is_entry and ARGV[3] == 'plain' and redis.call('GETRANGE', name, 0, 3) == 'CW\4\3'
                    if is_entry and not is_spared and (not like or namespace(name) == namespace(like)) then return name end
                end
            end
            local one = draw()
            local other = one and draw(one)
            if not other then return 0 end
            local bytes, replaced = redis.call('GET', one), redis.call('GET', other)
            local at = math.min(tonumber(ARGV[2]), #bytes - 1)
            if ARGV[3] == 'plain' then
                at = math.max(at, 12)
                bytes = string.sub(bytes, 1, 4) .. string.sub(replaced, 5, 12) .. string.sub(bytes, 13)
            end
            if ARGV[1] == '0' then
                if one == other then return 0 end
                redis.call('SET', other, bytes, 'PX', redis.call('PTTL', one))
            elseif ARGV[1] == '1' then
                redis.call('SETRANGE', one, at, '!')
            else
                redis.call('SET', one, string.sub(redis.call('GET', one), 1, at), 'KEEPTTL')
            end
            return 1";
        let (kind, at) = (dice.u8(..3).to_string(), dice.usize(..400).to_string());
        let storage = if self.storage == Storage::Plain { "plain" } else { "sealed" };
        let redis = self.redis.lock().unwrap();
        if let Ok(Value::Integer(forged)) = redis.try_command(&["EVAL", SCRIPT, "0", &kind, &at, storage]) {
            self.forged.fetch_add(usize::try_from(forged).unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// Copies all entries, puts all copies back under their names, or gives each entry of a
    /// namespace the name of another one.
    fn copy_replay_or_exchange(&self, dice: &mut fastrand::Rng) {
        const SCRIPT: &str = r"
            local count, spaces = 0, {}
            for _, name in ipairs(redis.call('KEYS', ARGV[1] == 'replay' and 'copy:*' or 'cachewarp:*')) do
                local bytes = redis.pcall('GET', name)
                local is_entry = type(bytes) == 'string' and string.sub(bytes, 1, 3) == 'CW\4' and string.byte(bytes, 4) ~= 3
                if is_entry and ARGV[1] == 'exchange' then
                    local space = string.sub(name, 1, -33)
                    spaces[space] = spaces[space] or {}
                    table.insert(spaces[space], { name, bytes })
                elseif is_entry then
                    local to = ARGV[1] == 'copy' and 'copy:' .. name or string.sub(name, 6)
                    redis.call('SET', to, bytes, 'PX', 600000)
                    count = count + 1
                end
            end
            for _, entries in pairs(spaces) do
                for number, entry in ipairs(entries) do
                    redis.call('SET', entry[1], entries[number % #entries + 1][2], 'KEEPTTL')
                end
            end
            return count";
        let what = ["copy", "copy", "replay", "replay", "exchange"][dice.usize(..5)];
        let redis = self.redis.lock().unwrap();
        if let Ok(Value::Integer(count)) = redis.try_command(&["EVAL", SCRIPT, "0", what])
            && what == "replay"
        {
            self.replayed.fetch_add(usize::try_from(count).unwrap_or_default(), Ordering::Relaxed);
        }
    }
}
