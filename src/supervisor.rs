//! Notifications to the supervisor that started the process, such as systemd (`sd_notify(3)`).
//!
//! `NOTIFY_SOCKET` names a datagram socket, by its path or, behind `@`, by an abstract name. A
//! supervisor that expects signs of life states their interval in `WATCHDOG_USEC`. Without these
//! variables, nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A state of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// The process serves, after its start or after a reload.
    Ready,
    /// The process reads its settings again.
    Reloading,
    /// The process drains.
    Stopping,
    /// A sign of life.
    Alive,
}

impl ServiceState {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
                format!("RELOADING=1\nMONOTONIC_USEC={micros}")
            }
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::Alive => "WATCHDOG=1".to_owned(),
        }
    }
}

/// The supervisor of this process, if it has one.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Finds the supervisor by the environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "a supervisor passes it to the process, not to its settings"
    )]
    pub fn of_this_process() -> Self {
        Self::of(|name| std::env::var(name).ok(), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<String>, own_id: u32) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let socket = address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        let socket =
            socket.inspect_err(|error| tracing::warn!(%error, name, "cannot notify the supervisor")).ok();
        let is_own = variable("WATCHDOG_PID").is_none_or(|id| id == own_id.to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| is_own && socket.is_some());
        let watchdog = watchdog.and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
        Self { socket, watchdog: watchdog.filter(|interval| !interval.is_zero()) }
    }

    /// Returns the time within which the supervisor expects each sign of life.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends a state. A supervisor that does not take it is ignored.
    pub fn notify(&self, state: ServiceState) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.text().as_bytes(), address) {
            tracing::debug!(%error, ?state, "the supervisor did not take a notification");
        }
    }
}

fn address(name: &str) -> std::io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor(variables: &[(&str, &str)]) -> Supervisor {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        Supervisor::of(|name| find(name).map(str::to_owned), 7)
    }

    #[test]
    fn each_state_reaches_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("cachewarp-test-{}", path.display());
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        for (socket, named) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            let supervisor = supervisor(&[("NOTIFY_SOCKET", &named)]);
            assert_eq!(supervisor.watchdog(), None);
            for (state, text) in [
                (ServiceState::Ready, "READY=1"),
                (ServiceState::Reloading, "RELOADING=1\nMONOTONIC_USEC="),
                (ServiceState::Stopping, "STOPPING=1"),
                (ServiceState::Alive, "WATCHDOG=1"),
            ] {
                supervisor.notify(state);
                let mut bytes = [0; 128];
                let length = socket.recv(&mut bytes).unwrap();
                assert!(bytes[..length].starts_with(text.as_bytes()), "{state:?}");
            }
        }
    }

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        let socket = ("NOTIFY_SOCKET", "@cachewarp-no-such-supervisor");
        let micros = ("WATCHDOG_USEC", "2000000");
        let interval = Some(Duration::from_secs(2));
        assert_eq!(supervisor(&[socket, micros]).watchdog(), interval);
        assert_eq!(supervisor(&[socket, micros, ("WATCHDOG_PID", "7")]).watchdog(), interval);
        assert_eq!(supervisor(&[socket, micros, ("WATCHDOG_PID", "8")]).watchdog(), None);
        assert_eq!(supervisor(&[socket, ("WATCHDOG_USEC", "0")]).watchdog(), None);
        assert_eq!(supervisor(&[micros]).watchdog(), None);
        supervisor(&[]).notify(ServiceState::Ready);
        supervisor(&[socket]).notify(ServiceState::Ready);
    }
}
