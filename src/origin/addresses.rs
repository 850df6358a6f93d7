//! Addresses of the origin, shared by all workers of a process, and the resolver of its name.
//!
//! The system's resolver (`getaddrinfo`) returns no lifetime of its answer. So the name is resolved
//! again while requests use it, at most once in
//! [`ORIGIN_RESOLVE_INTERVAL`](crate::limits::ORIGIN_RESOLVE_INTERVAL), whatever its TTL is.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::lookup_host;

use super::address_book::AddressBook;

/// Answer of a resolver.
pub type ResolvedName<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Resolver of the origin's name.
pub trait NameResolver: Send + Sync {
    /// Returns the addresses of a host, in the order of preference.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolvedName<'a>;
}

/// The system's resolver.
struct SystemResolver;

impl NameResolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolvedName<'a> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}

/// The resolver of a unix socket: one address, which nothing dials.
struct SocketResolver;

impl NameResolver for SocketResolver {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> ResolvedName<'a> {
        Box::pin(async move { Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]) })
    }
}

/// Addresses of one origin. Clones share them.
#[derive(Clone)]
pub struct OriginAddresses(Arc<SharedAddresses>);

struct SharedAddresses {
    resolver: Box<dyn NameResolver>,
    book: Mutex<AddressBook>,
}

impl Default for OriginAddresses {
    /// Creates an empty list, which the system's resolver fills.
    fn default() -> Self {
        Self::with_resolver(SystemResolver)
    }
}

/// Prints only the name: the settings that contain it have no use for its state.
impl fmt::Debug for OriginAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginAddresses")
    }
}

impl OriginAddresses {
    /// Creates the list of an origin at a unix socket, where nothing is resolved.
    pub fn of_socket() -> Self {
        Self::with_resolver(SocketResolver)
    }

    /// Creates an empty list, which this resolver fills.
    pub fn with_resolver(resolver: impl NameResolver + 'static) -> Self {
        Self(Arc::new(SharedAddresses { resolver: Box::new(resolver), book: Mutex::default() }))
    }

    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let answer = self.0.resolver.resolve(host, port).await?;
        if answer.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(answer) }
    }

    /// Locks the addresses. No holder awaits.
    pub(super) fn book(&self) -> MutexGuard<'_, AddressBook> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
