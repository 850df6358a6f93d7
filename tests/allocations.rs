//! How often a hit, and a request that is passed on, ask the allocator for memory: a guard, because one more is easily
//! added and never seen.
//!
//! In a binary of its own, since everything that the process allocates is counted. The client allocates nothing, nor does
//! the origin.

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

    /// The authority, `Age` and `Cache-Status`.
    const IN_MEMORY_MAX: usize = 3;
    /// These; the request, the work, and hyper's new buffer with its count, while Redis is waited for; and the key's
    /// name.
    const IN_REDIS_MAX: usize = 8;

    /// Of what is not stored. The request, the work and its target; the head for the origin, the value of each field that
    /// is ours, hyper's message and body channel, and new buffers on both sides with their counts, since the heads hold the
    /// old ones; the body, and `Cache-Status`.
    const UNSTORED_MAX: usize = 20;
    /// The same with a body: hyper's channel for it, and its length in the head.
    const POSTED_MAX: usize = 22;

    const REQUESTS: usize = 1_000;
    /// What is allocated once in a while, by the clock and not by the request: a buffer for many replies, the text of a
    /// new second's date, alarms that are set anew. A slow machine has more of it; one allocation more for each hit
    /// is twice this.
    const NOW_AND_THEN: usize = REQUESTS / 2;

    const REQUEST: &[u8] = b"GET /quotes HTTP/1.1\r\nhost: api.test:8000\r\naccept: application/json\r\n\r\n";
    const POSTED: &[u8] =
        b"POST /quotes HTTP/1.1\r\nhost: api.test:8000\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
    const BODY: &str = r#"{"symbol":"EURUSD","bid":1.0841}"#;
    const PRIVATE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: 32\r\n\r\n{\"symbol\":\"EURUSD\",\"bid\":1.0841}";

    /// One test of both: what another does beside it would be counted too.
    #[test]
    fn neither_allocates_more_than_it_did() {
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
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]);
        assert_eq!(proxy.get("/quotes").status, 200);
        redis.await_keys(1);
        let in_redis = allocations(proxy.addr(), REQUEST);

        assert!(in_memory <= IN_MEMORY_MAX * REQUESTS + NOW_AND_THEN, "{in_memory} for {REQUESTS} in memory");
        assert!(in_redis <= IN_REDIS_MAX * REQUESTS + NOW_AND_THEN, "{in_redis} for {REQUESTS} in Redis");
    }

    fn passed() {
        let origin = answers_without_allocating();
        let proxy = Proxy::start(&format!("http://{origin}"), &[]);
        let unstored = allocations(proxy.addr(), REQUEST);
        let posted = allocations(proxy.addr(), POSTED);
        assert!(unstored <= UNSTORED_MAX * REQUESTS + NOW_AND_THEN, "{unstored} for {REQUESTS} not stored");
        assert!(posted <= POSTED_MAX * REQUESTS + NOW_AND_THEN, "{posted} for {REQUESTS} passed");
    }

    /// An origin of one answer, for one connection after the other.
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

    /// How many so many of these requests on one connection cost.
    fn allocations(proxy: SocketAddr, request: &[u8]) -> usize {
        let mut stream = TcpStream::connect(proxy).unwrap();
        // The first ones fill what is filled once.
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
