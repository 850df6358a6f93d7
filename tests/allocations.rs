//! Heap allocations of a hit, and of a request that is passed on. The test guards against a new
//! allocation, which is easily added and never seen.
//!
//! This is its own binary, since the count covers the whole process. The client and the origin
//! allocate nothing.

#[cfg(test)]
#[path = "harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "a hit needs few of the parties")]
mod harness;

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;

    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

    use crate::harness::{Answer, Origin, Proxy, Redis};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    /// Allocations of a hit in memory: the authority, `Age` and `Cache-Status`.
    const MEMORY_HIT_MAX: usize = 3;
    /// Allocations of a hit in Redis: those of a hit in memory; the request, the task, and hyper's
    /// new buffer with its count, during the wait for Redis; and the key's name.
    const REDIS_HIT_MAX: usize = 8;

    /// Allocations of a request whose response is not stored: the request, the task and its target;
    /// the head for the origin, the value of each added field, hyper's message and body channel,
    /// and new buffers on both sides with their counts, since the heads hold the old ones; hyper's
    /// two tables for up to 256 fields of the response, since more than 100 do not fit its stack;
    /// the body, and `Cache-Status`.
    const UNSTORED_MAX: usize = 20;
    /// Allocations of a request with a body: in addition, hyper's channel for it, and its length in
    /// the head.
    const POSTED_MAX: usize = 24;

    const REQUESTS: usize = 1_000;
    /// Occasional allocations, which depend on the time and not on the request: a buffer for many
    /// replies, the date of a new second, timers that are set anew. A slow machine has more of
    /// them; one more allocation for each request is twice this.
    const OCCASIONAL: usize = REQUESTS / 2;

    const REQUEST: &[u8] = b"GET /quotes HTTP/1.1\r\nhost: api.test:8000\r\naccept: application/json\r\n\r\n";
    const UNSAMPLED: &[u8] = b"GET /quotes HTTP/1.1\r\nhost: api.test:8000\r\naccept: application/json\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n";
    const POSTED: &[u8] =
        b"POST /quotes HTTP/1.1\r\nhost: api.test:8000\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
    const BODY: &str = r#"{"symbol":"EURUSD","bid":1.0841}"#;
    const PRIVATE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: 32\r\n\r\n{\"symbol\":\"EURUSD\",\"bid\":1.0841}";

    /// One test covers both, since the allocations of a concurrent test would be counted too.
    #[test]
    fn hits_and_passed_requests_stay_within_their_allocations() {
        hits();
        passed();
    }

    fn hits() {
        let (origin, redis) = (Origin::start(), Redis::start());
        let fields = [("content-type", "application/json"), ("cache-control", "max-age=3600")];
        origin.answer("/quotes", Answer::new(200, &fields, BODY));

        let alone = Proxy::start(&origin.url(), &[]);
        let in_memory = allocations(alone.addr(), REQUEST);
        drop(alone);
        // A collector changes nothing for requests that are not sampled.
        let settings = [("otlp_endpoint", "http://127.0.0.1:9"), ("trace_sample", "0")];
        let traced = Proxy::start(&origin.url(), &settings);
        let unsampled = allocations(traced.addr(), REQUEST);
        let stated = allocations(traced.addr(), UNSAMPLED);
        drop(traced);
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]);
        assert_eq!(proxy.get("/quotes").status, 200);
        redis.await_keys(1);
        let in_redis = allocations(proxy.addr(), REQUEST);

        assert!(in_memory <= MEMORY_HIT_MAX * REQUESTS + OCCASIONAL, "{in_memory} for {REQUESTS} in memory");
        for (count, context) in [(unsampled, "no context"), (stated, "an unsampled context")] {
            let most = MEMORY_HIT_MAX * REQUESTS + OCCASIONAL;
            assert!(count <= most, "{count} for {REQUESTS} in memory with {context}");
        }
        assert!(in_redis <= REDIS_HIT_MAX * REQUESTS + OCCASIONAL, "{in_redis} for {REQUESTS} in Redis");
    }

    fn passed() {
        let origin = answers_without_allocating();
        let proxy = Proxy::start(&format!("http://{origin}"), &[]);
        let unstored = allocations(proxy.addr(), REQUEST);
        let posted = allocations(proxy.addr(), POSTED);
        assert!(unstored <= UNSTORED_MAX * REQUESTS + OCCASIONAL, "{unstored} for {REQUESTS} not stored");
        assert!(posted <= POSTED_MAX * REQUESTS + OCCASIONAL, "{posted} for {REQUESTS} passed");
    }

    /// Starts an origin with one answer, which serves one connection after the other.
    fn answers_without_allocating() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (mut request, mut filled) = ([0; 4096], 0);
                while let Ok(count @ 1..) = stream.read(&mut request[filled..]) {
                    filled += count;
                    let read = &request[..filled];
                    let whole = if read.starts_with(b"POST") { &b"\r\n\r\n{}"[..] } else { b"\r\n\r\n" };
                    if read.ends_with(whole) {
                        filled = 0;
                        stream.write_all(PRIVATE).unwrap();
                    }
                }
            }
        });
        addr
    }

    /// Returns the allocations of [`REQUESTS`] requests on one connection.
    fn allocations(proxy: SocketAddr, request: &[u8]) -> usize {
        let mut stream = TcpStream::connect(proxy).unwrap();
        // The first requests fill buffers and caches.
        (0..REQUESTS).for_each(|_| ask(&mut stream, request));
        let region = Region::new(ALLOCATOR);
        (0..REQUESTS).for_each(|_| ask(&mut stream, request));
        let change = region.change();
        change.allocations + change.reallocations
    }

    fn ask(stream: &mut TcpStream, request: &[u8]) {
        let (mut answer, mut filled) = ([0; 1024], 0);
        stream.write_all(request).unwrap();
        while !answer[..filled].ends_with(BODY.as_bytes()) {
            let count = stream.read(&mut answer[filled..]).unwrap();
            assert!(count > 0, "the connection ended");
            filled += count;
        }
    }
}
