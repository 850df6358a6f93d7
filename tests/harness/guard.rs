//! Access control of a group of Redis servers.

use super::authority::Authority;

/// The credentials that servers and sentinels require of their clients. The harness itself has
/// access everywhere: without a name, on a port without TLS.
pub(crate) enum Guard {
    /// No credentials.
    Open,
    /// A name and a password, with other ones for sentinels.
    Users,
    /// TLS, with a certificate for `127.0.0.1` that clients must trust.
    Tls(Box<Authority>),
}

impl Guard {
    /// Returns the arguments of a server that listens for TLS on this port.
    pub(super) fn of_server(&self, tls_port: u16) -> Vec<String> {
        match self {
            Self::Open => Vec::new(),
            Self::Users => [
                &["--user", "app", "on", ">app-secret", "~*", "&*", "+@all"][..],
                // The default user may administer the servers, but not read or write their data.
                &["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-get", "-set", "-evalsha"],
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
            Self::Tls(authority) => tls(authority, tls_port)
                .into_iter()
                .flat_map(|(name, value)| [format!("--{name}"), value])
                .chain(["--tls-replication", "yes", "--tls-cluster", "yes"].map(str::to_owned))
                .collect(),
        }
    }

    /// Returns the configuration lines of a sentinel that listens for TLS on this port.
    pub(super) fn of_sentinel(&self, tls_port: u16) -> String {
        match self {
            Self::Open => String::new(),
            Self::Users => "user watcher on >watch-secret &* +@all\n\
                user default on nopass &* +@all -subscribe -sentinel|get-master-addr-by-name\n"
                .to_owned(),
            Self::Tls(authority) => {
                let lines = tls(authority, tls_port).map(|(name, value)| format!("{name} {value}\n"));
                lines.concat() + "tls-replication yes\n"
            }
        }
    }

    /// Returns the port for clients.
    pub(super) fn port(&self, plain: u16, tls: u16) -> u16 {
        match self {
            Self::Open | Self::Users => plain,
            Self::Tls(_) => tls,
        }
    }

    /// Returns the beginning of a URL: the scheme of this kind of deployment, and the client's
    /// credentials.
    pub(super) fn url(&self, together: &str) -> String {
        match self {
            Self::Open => format!("redis+{together}://"),
            Self::Users => format!("redis+{together}://app:app-secret@"),
            Self::Tls(_) => format!("rediss+{together}://"),
        }
    }

    /// Returns the further flags that a client needs.
    pub(crate) fn flags(&self) -> Vec<String> {
        match self {
            Self::Open | Self::Users => Vec::new(),
            Self::Tls(authority) => vec![format!("--redis-ca-file={}", authority.ca_file())],
        }
    }
}

fn tls(authority: &Authority, port: u16) -> [(&'static str, String); 5] {
    let [certificate, key] = authority.issue("127.0.0.1");
    [
        ("tls-port", port.to_string()),
        ("tls-cert-file", certificate),
        ("tls-key-file", key),
        ("tls-ca-cert-file", authority.ca_file()),
        ("tls-auth-clients", "no".to_owned()),
    ]
}
