//! One question on a connection of its own: what an operator, a supervisor or a scraper asks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use load::clock;

use crate::Failure;

const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Head and body.
    pub(crate) text: String,
    /// From connecting to its end.
    pub(crate) took: Duration,
}

/// Asks for a path.
pub(crate) fn get(at: SocketAddr, path: &str) -> Result<Answer, Failure> {
    let begun = clock::now();
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no answer")?;
    Ok(Answer { status, text, took: clock::now().saturating_duration_since(begun) })
}

/// The sum of a metric's lines.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> Result<f64, Failure> {
    let answer = get(admin, "/metrics")?;
    let values = answer.text.lines().filter_map(|line| {
        let (labelled, value) = line.split_once(' ')?;
        let own = labelled.split('{').next()?;
        (own == name).then(|| value.parse::<f64>().ok()).flatten()
    });
    let values: Vec<_> = values.collect();
    if values.is_empty() { Err(format!("no metric {name}").into()) } else { Ok(values.iter().sum()) }
}
