//! A real HAProxy in front of the proxy.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use super::redis::on_free_ports;
use super::until;

/// A running HAProxy. Dropping it stops it.
pub(crate) struct HaProxy {
    addr: SocketAddr,
    child: Child,
    _config: NamedTempFile,
}

impl HaProxy {
    /// Starts an HAProxy that carries connections to a server with these options. Returns `None`,
    /// and says so, if the machine has no HAProxy.
    pub(crate) fn start(server: SocketAddr, options: &str) -> Option<Self> {
        if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: this machine has no HAProxy");
            return None;
        }
        Some(on_free_ports(|[port]| Self::try_start(port, server, options)))
    }

    /// Returns `None` if another process has taken the port.
    fn try_start(port: u16, server: SocketAddr, options: &str) -> Option<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut config = NamedTempFile::new().unwrap();
        let text = format!(
            "defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
             listen front\n bind {addr}\n server back {server} {options}\n"
        );
        config.write_all(text.as_bytes()).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(config.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut front = Self { addr, child: command.spawn().unwrap(), _config: config };
        let mut has_ended = false;
        until("HAProxy to listen", || {
            has_ended = front.child.try_wait().unwrap().is_some();
            has_ended || TcpStream::connect(addr).is_ok()
        });
        (!has_ended).then_some(front)
    }

    /// Returns the address for clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
