//! The plan of a run: requests, connections, and consecutive phases.

use std::time::Duration;

use crate::request::Request;

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The requests; at least one.
    pub requests: Vec<Request>,
    /// Kept-alive connections to each address; at least one.
    pub connections: usize,
    /// The time after its due time at which a request is given up.
    pub timeout: Duration,
    /// The order of the numbers of a range.
    pub order: Order,
    /// The activity until the next request is due.
    pub idle: Idle,
    /// The seed of the random numbers. Equal seeds send equal requests.
    pub seed: u64,
    /// A process, such as the server, whose CPU time each phase reports.
    pub watch: Option<u32>,
    /// The phases; at least one.
    pub phases: Vec<Phase>,
}

/// The order of the numbers of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// Random numbers, uniformly distributed.
    Random,
    /// Ascending numbers, from the first: fills a cache.
    Sequential,
}

/// The activity until the next request is due, or the next answer arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Idle {
    /// Sleep, and leave the core to other processes.
    Sleep,
    /// Poll without sleeping, after yielding to other ready threads. In a virtual machine, a timer
    /// or a wake from sleep can take 20 µs: this keeps such delays out of the latencies, and uses a
    /// whole core.
    Spin,
}

/// A part of a run, with its own figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Letters, digits and `-`.
    pub name: String,
    /// The rate of requests.
    pub pace: Pace,
    /// The end of the phase.
    pub length: Length,
}

/// The times at which requests are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Open loop: this many a second, whatever the server does.
    PerSecond(f64),
    /// Closed loop: as soon as a connection is free. Shows the capacity of a server, not the
    /// waiting time of clients.
    AsAnswered,
}

/// The end of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After a time.
    Time(Duration),
    /// After a number of requests.
    Requests(u64),
}

/// An error for a malformed phase.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid phase {0:?}: use NAME,rate=PER_SECOND|max,seconds=S or NAME,rate=PER_SECOND|max,requests=N")]
pub struct NoPhase(String);

impl Phase {
    /// Parses `NAME,rate=8000,seconds=10` or `NAME,rate=max,requests=500`.
    ///
    /// # Errors
    /// [`NoPhase`], with the text.
    pub fn parse(text: &str) -> Result<Self, NoPhase> {
        Self::read(text).ok_or_else(|| NoPhase(text.to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(',');
        let name = words
            .next()
            .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))?;
        let rate = words.next()?.strip_prefix("rate=")?;
        let pace = if rate == "max" { Pace::AsAnswered } else { Pace::PerSecond(positive(rate)?) };
        let length = match words.next()?.split_once('=')? {
            ("seconds", seconds) => Length::Time(Duration::try_from_secs_f64(positive(seconds)?).ok()?),
            ("requests", requests) => Length::Requests(requests.parse().ok().filter(|&count| count > 0)?),
            _ => return None,
        };
        words.next().is_none().then(|| Self { name: name.to_owned(), pace, length })
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse().ok().filter(|&number: &f64| number.is_finite() && number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_a_name_a_pace_and_a_length() {
        let open = Phase::parse("steady,rate=8000,seconds=0.5").unwrap();
        assert_eq!(open.pace, Pace::PerSecond(8000.0));
        assert_eq!(open.length, Length::Time(Duration::from_millis(500)));
        let closed = Phase::parse("fill-1,rate=max,requests=7").unwrap();
        assert_eq!((closed.pace, closed.length), (Pace::AsAnswered, Length::Requests(7)));
        for wrong in [
            "",
            "a",
            "a,rate=0,seconds=1",
            "a,rate=1",
            "a,rate=1,seconds=-1",
            "a,rate=1,seconds=NaN",
            "a\",rate=1,seconds=1",
            "a,rate=1,requests=0",
            "a,rate=1,seconds=1,x",
        ] {
            assert_eq!(Phase::parse(wrong), Err(NoPhase(wrong.into())));
        }
    }
}
