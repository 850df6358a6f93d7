//! Who may speak to servers of several, and how.

use super::authority::Authority;

/// What servers, and those who watch them, ask of their clients. The harness itself is let in everywhere: without a name, on
/// a port without TLS.
pub(crate) enum Guard {
    /// Nothing.
    Open,
    /// A name and a password, other ones for sentinels.
    Users,
    /// That they speak TLS, and believe a certificate that is for `127.0.0.1`.
    Tls(Box<Authority>),
}

impl Guard {
    /// Users or TLS, for a server that listens for TLS on this port.
    pub(super) fn of_server(&self, tls_port: u16) -> Vec<String> {
        match self {
            Self::Open => Vec::new(),
            Self::Users => [
                &["--user", "app", "on", ">app-secret", "~*", "&*", "+@all"][..],
                // Who says no name may look after the servers, and have nothing of what they hold.
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

    /// The same for a sentinel, as lines of its file.
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

    /// The port that clients are told, of these two.
    pub(super) fn port(&self, plain: u16, tls: u16) -> u16 {
        match self {
            Self::Open | Self::Users => plain,
            Self::Tls(_) => tls,
        }
    }

    /// How a URL begins: the scheme for servers that hang together so, and who a client is.
    pub(super) fn url(&self, together: &str) -> String {
        match self {
            Self::Open => format!("redis+{together}://"),
            Self::Users => format!("redis+{together}://app:app-secret@"),
            Self::Tls(_) => format!("rediss+{together}://"),
        }
    }

    /// What else a client has to be told.
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
