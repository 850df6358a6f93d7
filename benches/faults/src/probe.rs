//! One request on its own connection, as an operator, a supervisor or a scraper sends it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use load::clock;

use crate::Failure;

const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head and the body.
    pub(crate) text: String,
    /// The time from connecting to the end of the answer.
    pub(crate) took: Duration,
}

/// Requests a path.
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

/// Returns the sum of a metric's series.
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
