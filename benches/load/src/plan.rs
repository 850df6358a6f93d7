//! What is to be done: requests, connections, and phases one after the other.

use std::time::Duration;

use crate::request::Request;

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked; at least one.
    pub requests: Vec<Request>,
    /// Kept-alive connections to each address; at least one.
    pub connections: usize,
    /// How long after it was due a request is given up.
    pub timeout: Duration,
    /// How the numbers of a range follow each other.
    pub order: Order,
    /// What is done until the next request is due.
    pub idle: Idle,
    /// The same seed asks the same.
    pub seed: u64,
    /// A process whose CPU time is told for each phase: the server's.
    pub watch: Option<u32>,
    /// What is done; at least one.
    pub phases: Vec<Phase>,
}

/// How the numbers of a range follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// Each as likely as any other.
    Random,
    /// One after the other, from the first: fills a cache.
    Sequential,
}

/// What is done until the next request is due, or the next answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Idle {
    /// Sleep: leaves the core to whoever else needs it.
    Sleep,
    /// Look again at once, after whoever else is ready has run: in a virtual machine, where a timer or a wake from
    /// sleep can cost 20 µs, this keeps such delays out of the latencies, and uses the core whole.
    Spin,
}

/// A part of a run, with figures of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Letters, digits and `-`.
    pub name: String,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub length: Length,
}

/// When a request is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Open loop: so many a second, whatever the server does.
    PerSecond(f64),
    /// Closed loop: when a connection is free. Shows what a server can do, not how long anybody waits.
    AsAnswered,
}

/// When a phase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After a time.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// Why a phase could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no phase: NAME,rate=PER_SECOND|max,seconds=S or NAME,rate=PER_SECOND|max,requests=N")]
pub struct NoPhase(String);

impl Phase {
    /// Reads `NAME,rate=8000,seconds=10`, `NAME,rate=max,requests=500`.
    ///
    /// # Errors
    /// [`NoPhase`], with what was read.
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
