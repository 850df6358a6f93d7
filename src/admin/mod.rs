//! The second listener, for operators. Never on the clients' own.
//!
//! `/health` and `/metrics` are for whoever can connect: a supervisor and a scraper have no token,
//! and neither shows a URL, a key or anything stored. Everything that changes or reveals something
//! is behind [`access`].

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

/// What operators are answered.
pub type AdminResponse = Response<Full<Bytes>>;

/// What the admin listener serves.
pub struct AdminService {
    options: Options,
    registry: Registry,
    store: Rc<Store>,
    proxy: Rc<Proxy>,
    /// Of the whole process.
    workers: usize,
    begun: Instant,
}

/// What is served, and where.
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

    /// The methods that it has.
    fn allow(self) -> &'static str {
        match self {
            Self::Purge => "POST",
            Self::Health | Self::Metrics | Self::Entries | Self::Stats => "GET, HEAD",
        }
    }

    fn has(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    fn is_for_everybody(self) -> bool {
        matches!(self, Self::Health | Self::Metrics)
    }
}

impl AdminService {
    /// Shows what `registry` counts, how `store` does and what `proxy` knows, in a process with so
    /// many workers.
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
        if !resource.is_for_everybody() {
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
