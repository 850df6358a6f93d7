//! The run of a server: the identifier that it draws at each start.

use std::fmt;

use crate::limits::REDIS_RUN_BYTES_MAX;
use crate::resp::reply::Reply;

/// The identifier of a server's run, `run_id` in `INFO server`.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerRun(Box<str>);

impl ServerRun {
    /// Reads the reply to `INFO server`; `None` if the server refuses it or has no run.
    pub fn parse(info: &Reply) -> Option<Self> {
        let Reply::Bulk(text) = info else { return None };
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"))?;
        let run = str::from_utf8(line.trim_ascii_end()).ok()?;
        let is_plain = run.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_plain && (1..=REDIS_RUN_BYTES_MAX).contains(&run.len())).then(|| Self(run.into()))
    }

    /// Returns the identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServerRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerRun({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_from_the_information_about_the_server() {
        let info = |text: &'static str| ServerRun::parse(&Reply::Bulk(text.into()));
        let whole = "# Server\r\nredis_version:7.0.15\r\nrun_id:0a1b\r\ntcp_port:6379\r\n";
        assert_eq!(info(whole).unwrap().as_str(), "0a1b");
        assert_eq!(info("run_id:0a1b").unwrap().as_str(), "0a1b");
        for text in ["", "run_id:", "run_id:a b", "xrun_id:a", "run_id:\u{e9}"] {
            assert_eq!(info(text), None, "{text:?}");
        }
        let long = format!("run_id:{}", "a".repeat(REDIS_RUN_BYTES_MAX + 1));
        assert_eq!(ServerRun::parse(&Reply::Bulk(long.into())), None);
        assert_eq!(ServerRun::parse(&Reply::Nil), None);
    }
}
