//! The loop of a run: it sends due requests, sleeps until an event, and counts answers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::clock;
use crate::connection::{RequestInFlight, Step};
use crate::plan::{Idle, Order, Plan};
use crate::pool::{Job, Pool};
use crate::schedule::{Next, Schedule};
use crate::tally::{Failure, Tally};

/// Interval at which the loop checks for timeouts and opens closed connections.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Time in which all connections must open before the first request.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const EVENTS_MAX: usize = 1024;
/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// The reason why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An error of the system.
    #[error("epoll: {0}")]
    System(#[from] Errno),
    /// A server that does not accept every connection.
    #[error("cannot open every connection to {0}")]
    NoServer(SocketAddr),
}

/// Runs a plan, and returns one tally for each phase. Calls `began` with each phase when its first
/// request is due.
///
/// # Errors
/// [`Fault`], before the first request.
pub fn run(plan: &Plan, began: impl FnMut(usize)) -> Result<Vec<Tally>, Fault> {
    // Without this the kernel may wake the thread 50 µs late, to save power.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let mut run = Run::new(plan, began)?;
    run.connect()?;
    run.go()?;
    Ok(run.tallies)
}

struct Run<'a, F> {
    plan: &'a Plan,
    began: F,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    pools: Vec<Pool>,
    /// The pool of each request of the plan.
    pool_of: Vec<usize>,
    tallies: Vec<Tally>,
    schedule: Schedule,
    rng: Rng,
    /// The number of requests drawn.
    drawn: u64,
    /// A drawn request of a closed loop that waits for a free connection.
    held: Option<Job>,
    /// Requests sent and not answered.
    in_flight: usize,
    /// Requests due and not sent.
    waiting: usize,
    phase: Option<usize>,
    /// The CPU time at the beginning of the phase, of this process and of the watched one.
    cpu: Duration,
    watched: Option<Duration>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// The next step of the schedule.
enum Until {
    Time(Instant),
    Event,
    Over,
}

impl<'a, F: FnMut(usize)> Run<'a, F> {
    fn new(plan: &'a Plan, began: F) -> Result<Self, Fault> {
        let mut pools: Vec<Pool> = Vec::new();
        let mut pool_of = Vec::new();
        for request in &plan.requests {
            let place = pools.iter().position(|pool| pool.address() == request.address);
            pool_of.push(place.unwrap_or(pools.len()));
            if place.is_none() {
                let first_token = (pools.len() * plan.connections) as u64;
                pools.push(Pool::new(request.address, plan.connections, first_token));
            }
        }
        Ok(Self {
            plan,
            began,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_MAX),
            pools,
            pool_of,
            tallies: plan.phases.iter().map(|_| Tally::new()).collect(),
            schedule: Schedule::new(Vec::new(), clock::now()),
            rng: Rng::with_seed(plan.seed),
            drawn: 0,
            held: None,
            in_flight: 0,
            waiting: 0,
            phase: None,
            cpu: Duration::ZERO,
            watched: None,
            request: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Opens every connection.
    fn connect(&mut self) -> Result<(), Fault> {
        let limit = clock::now() + START_TIMEOUT;
        while let Some(closed) = self.pools.iter().find(|pool| !pool.is_open()) {
            if clock::now() > limit {
                return Err(Fault::NoServer(closed.address()));
            }
            self.pools.iter_mut().for_each(|pool| pool.open_closed(&self.epoll));
            self.wait(clock::now() + CHECK_INTERVAL)?;
        }
        Ok(())
    }

    fn go(&mut self) -> Result<(), Fault> {
        self.schedule = Schedule::new(self.plan.phases.clone(), clock::now());
        let mut next_check = clock::now() + CHECK_INTERVAL;
        loop {
            let until = self.send_due();
            if clock::now() >= next_check {
                self.check();
                next_check = clock::now() + CHECK_INTERVAL;
            }
            match until {
                Until::Over if self.in_flight == 0 && self.waiting == 0 => break,
                Until::Over | Until::Event => self.wait(next_check)?,
                Until::Time(due) => self.wait(due.min(next_check))?,
            }
        }
        self.charge();
        Ok(())
    }

    /// Draws every due request, and sends it if a connection is free.
    fn send_due(&mut self) -> Until {
        loop {
            let now = clock::now();
            match self.schedule.next(now) {
                Next::At(_, due) if due > now => return Until::Time(due),
                Next::At(phase, due) => {
                    self.schedule.take();
                    self.enter(phase);
                    let job = self.draw(phase, due);
                    self.dispatch(job);
                }
                Next::WhenFree(phase) => {
                    self.enter(phase);
                    let mut job = match self.held.take() {
                        Some(job) => job,
                        None => self.draw(phase, now),
                    };
                    if !self.pool(job).is_some_and(Pool::has_free) {
                        self.held = Some(job);
                        return Until::Event;
                    }
                    self.schedule.take();
                    (job.phase, job.due) = (phase, now);
                    self.dispatch(job);
                }
                Next::Over => return Until::Over,
            }
        }
    }

    /// Enters a phase. The CPU time so far belongs to the previous one.
    fn enter(&mut self, phase: usize) {
        if self.phase != Some(phase) {
            self.charge();
            self.phase = Some(phase);
            (self.began)(phase);
        }
    }

    fn charge(&mut self) {
        let used = clock::cpu_time();
        // A process that has ended has no figure.
        let watched = self.plan.watch.and_then(|process| clock::cpu_time_of(process).ok());
        if let Some(tally) = self.phase.and_then(|phase| self.tallies.get_mut(phase)) {
            tally.cpu += used.saturating_sub(self.cpu);
            tally.watched = watched.zip(self.watched).map(|(now, before)| now.saturating_sub(before));
        }
        (self.cpu, self.watched) = (used, watched);
    }

    fn draw(&mut self, phase: usize, due: Instant) -> Job {
        let draw = match self.plan.order {
            Order::Sequential => self.drawn,
            Order::Random => self.rng.u64(..),
        };
        self.drawn += 1;
        let request = match self.plan.requests.as_slice() {
            [_] => 0,
            several => {
                let mut left = self.rng.u64(..several.iter().map(|one| one.weight).sum::<u64>().max(1));
                several
                    .iter()
                    .position(|one| left.checked_sub(one.weight).map(|rest| left = rest).is_none())
                    .unwrap_or(0)
            }
        };
        Job { phase, request, draw, due }
    }

    fn pool(&mut self, job: Job) -> Option<&mut Pool> {
        self.pools.get_mut(*self.pool_of.get(job.request)?)
    }

    /// Sends a request, or queues it.
    fn dispatch(&mut self, job: Job) {
        // Requests that have waited longer go first.
        if self.pool(job).is_some_and(|pool| !pool.waiting.is_empty()) || !self.send(job) {
            self.waiting += 1;
            if let Some(pool) = self.pool(job) {
                pool.waiting.push_back(job);
            }
        }
    }

    /// Sends a request if a connection is free. Returns whether it did.
    fn send(&mut self, job: Job) -> bool {
        let Some(request) = self.plan.requests.get(job.request) else { return false };
        request.write(job.draw, &mut self.request);
        let sent = clock::now();
        let request = RequestInFlight { phase: job.phase, due: job.due, sent };
        let pool = self.pool_of.get(job.request).and_then(|&pool| self.pools.get_mut(pool));
        let Some(free) = pool.and_then(|pool| pool.send(&self.request, request)) else { return false };
        self.in_flight += 1;
        if let Some(tally) = self.tallies.get_mut(job.phase) {
            tally.sent(job.due, free, sent);
        }
        true
    }

    /// Sleeps until an event or until the given time, and handles the events.
    fn wait(&mut self, until: Instant) -> Result<(), Fault> {
        let left = match self.plan.idle {
            Idle::Sleep => until.saturating_duration_since(clock::now()),
            Idle::Spin => {
                rustix::thread::sched_yield();
                Duration::ZERO
            }
        };
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for index in 0..self.events.len() {
            let Some(token) = self.events.get(index).map(|event| event.data.u64()) else { break };
            let place = usize::try_from(token).unwrap_or(usize::MAX) / self.plan.connections;
            self.handle(place, token);
        }
        Ok(())
    }

    fn handle(&mut self, place: usize, token: u64) {
        let Some(pool) = self.pools.get_mut(place) else { return };
        let step = pool.handle(token, &self.epoll, &mut self.buffer, clock::now);
        match step {
            Some(Step::Answered(request, answer, bytes)) => {
                self.in_flight -= 1;
                if let Some(tally) = self.tallies.get_mut(request.phase) {
                    tally.bytes += bytes as u64;
                    tally.answered(request.due, request.sent, clock::now(), answer.status);
                }
            }
            Some(Step::Failed(request, failure)) => {
                self.in_flight -= 1;
                if let Some(tally) = self.tallies.get_mut(request.phase) {
                    tally.failed(failure);
                }
            }
            Some(Step::More(request, bytes)) => {
                if let Some(tally) = self.tallies.get_mut(request.phase) {
                    tally.bytes += bytes as u64;
                }
            }
            Some(Step::Nothing) | None => {}
        }
        self.send_waiting(place);
    }

    fn send_waiting(&mut self, place: usize) {
        while let Some(pool) = self.pools.get_mut(place) {
            let Some(&job) = pool.waiting.front() else { return };
            if !pool.has_free() || !self.send(job) {
                return;
            }
            self.waiting -= 1;
            if let Some(pool) = self.pools.get_mut(place) {
                pool.waiting.pop_front();
            }
        }
    }

    /// Gives up requests after their timeout, and opens closed connections.
    fn check(&mut self) {
        let now = clock::now();
        // Without a server, a closed loop would continue slowly, so each check takes one request.
        if let Some(job) = self.held
            && self.pool(job).is_some_and(|pool| pool.is_down())
        {
            self.held = None;
            self.schedule.take();
            if let Some(tally) = self.tallies.get_mut(job.phase) {
                tally.failed(Failure::Refused);
            }
        }
        for pool in &mut self.pools {
            if let Some(limit) = now.checked_sub(self.plan.timeout) {
                pool.expire(limit, |request| {
                    self.in_flight -= 1;
                    if let Some(tally) = self.tallies.get_mut(request.phase) {
                        tally.failed(Failure::Timeout);
                    }
                });
            }
            while let Some(&job) = pool.waiting.front() {
                let failure = if pool.is_down() {
                    Failure::Refused
                } else if now.saturating_duration_since(job.due) > self.plan.timeout {
                    Failure::Unsent
                } else {
                    break;
                };
                pool.waiting.pop_front();
                self.waiting -= 1;
                if let Some(tally) = self.tallies.get_mut(job.phase) {
                    tally.failed(failure);
                }
            }
            pool.open_closed(&self.epoll);
        }
    }
}
