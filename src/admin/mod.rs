//! The admin listener, for operators. It never shares a port with clients.
//!
//! `/health` and `/metrics` are open to every peer that can connect: a supervisor and a scraper
//! have no token, and neither page shows a URL, a key or stored data. [`access`] guards every other
//! resource.

mod access;
mod body;
mod entries;
mod problem;
mod purge;
mod query;
mod stats;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::proxy::Proxy;
use crate::store::Store;
use crate::telemetry::{self, Registry};
use crate::time;
use problem::AdminProblem;

pub use access::Options;

/// A response to an operator.
pub type AdminResponse = Response<Full<Bytes>>;

/// The service behind the admin listener.
pub struct AdminService {
    options: Options,
    registry: Registry,
    store: Rc<Store>,
    proxy: Rc<Proxy>,
    /// Number of workers of the process.
    workers: usize,
    begun: Instant,
}

/// A resource of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminResource {
    Health,
    Metrics,
    Purge,
    Entries,
    Stats,
}

impl AdminResource {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/health" => Self::Health,
            "/metrics" => Self::Metrics,
            "/purge" => Self::Purge,
            "/entries" => Self::Entries,
            "/stats" => Self::Stats,
            _ => return None,
        })
    }

    /// Returns the methods that the resource allows.
    fn allow(self) -> &'static str {
        match self {
            Self::Purge => "POST",
            Self::Health | Self::Metrics | Self::Entries | Self::Stats => "GET, HEAD",
        }
    }

    fn has(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    fn is_public(self) -> bool {
        matches!(self, Self::Health | Self::Metrics)
    }
}

impl AdminService {
    /// Returns a service that shows the metrics of `registry`, the health of `store` and the state
    /// of `proxy`, in a process with this number of workers.
    pub fn new(
        options: Options,
        registry: Registry,
        store: Rc<Store>,
        proxy: Rc<Proxy>,
        workers: usize,
    ) -> Rc<Self> {
        Rc::new(Self { options, registry, store, proxy, workers, begun: time::instant() })
    }

    /// Answers one request.
    pub async fn respond<B: Body<Data = Bytes>>(&self, peer: IpAddr, request: Request<B>) -> AdminResponse {
        let (head, body) = request.into_parts();
        self.answer(peer, &head, body).await.unwrap_or_else(AdminProblem::answer)
    }

    async fn answer<B: Body<Data = Bytes>>(
        &self,
        peer: IpAddr,
        head: &Parts,
        body: B,
    ) -> Result<AdminResponse, AdminProblem> {
        let resource = AdminResource::at(head.uri.path()).ok_or(AdminProblem::NoSuchPath)?;
        if !resource.has(&head.method) {
            return Err(AdminProblem::Method { allow: resource.allow() });
        }
        if !resource.is_public() {
            access::admit(&self.options, peer, &head.uri, &head.headers)?;
        }
        match resource {
            AdminResource::Health => Ok(json(StatusCode::OK, self.store.health().await.document())),
            AdminResource::Metrics => {
                Ok(document(StatusCode::OK, telemetry::CONTENT_TYPE, self.registry.render()))
            }
            AdminResource::Purge => purge::answer(&self.proxy, &head.headers, body).await,
            AdminResource::Entries => entries::answer(&self.proxy, &head.uri).await,
            AdminResource::Stats => stats::answer(self, &head.uri).await,
        }
    }
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> AdminResponse {
    document(status, "application/json", body)
}

fn document(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
