//! The service behind the admin listener: it finds the resource, checks the client, and answers.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::VARY;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::Body;

use super::access::Options;
use super::problem::AdminProblem;
use super::reload::ReloadQueue;
use super::response::{AdminResponse, document, json};
use super::series::SeriesRing;
use super::stats::StatsSource;
use super::{access, entries, page, purge, reload, stats};
use crate::proxy::Proxy;
use crate::readiness::Readiness;
use crate::store::Store;
use crate::telemetry::{MetricsFormat, Registry};
use crate::time;

/// The service behind the admin listener.
pub struct AdminService {
    options: Options,
    reloads: ReloadQueue,
    source: StatsSource,
    series: SeriesRing,
}

/// A resource of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdminResource {
    Page,
    Health,
    Ready,
    Metrics,
    Purge,
    Entries,
    Stats,
    Series,
    Reload,
}

impl AdminResource {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/health" => Self::Health,
            "/ready" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/purge" => Self::Purge,
            "/entries" => Self::Entries,
            "/stats" => Self::Stats,
            "/series" => Self::Series,
            "/reload" => Self::Reload,
            _ => return None,
        })
    }

    /// Returns the methods that the resource allows.
    fn allow(self) -> &'static str {
        match self {
            Self::Purge | Self::Reload => "POST",
            Self::Page
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Entries
            | Self::Stats
            | Self::Series => "GET, HEAD",
        }
    }

    fn has(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    fn is_public(self) -> bool {
        matches!(self, Self::Page | Self::Health | Self::Ready | Self::Metrics)
    }
}

impl AdminService {
    /// Returns a service that shows the metrics of `registry`, the health of `store` and the state
    /// of `proxy`, in a process with this number of workers.
    pub fn new(
        options: Options,
        reloads: ReloadQueue,
        registry: Registry,
        store: Rc<Store>,
        proxy: Rc<Proxy>,
        workers: usize,
    ) -> Rc<Self> {
        let source = StatsSource { registry, store, proxy, workers, begun: time::instant() };
        Rc::new(Self { options, reloads, source, series: SeriesRing::default() })
    }

    /// Keeps the series of the process; never ends.
    pub async fn keep_series(&self) -> Infallible {
        self.series.keep(&self.source).await
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
            AdminResource::Page => page::answer(),
            AdminResource::Health => Ok(json(StatusCode::OK, self.source.store.health().await.document())),
            AdminResource::Ready => Ok(ready(&self.options.readiness)),
            AdminResource::Reload => reload::answer(&self.reloads, &head.headers, body).await,
            AdminResource::Metrics => {
                let format = MetricsFormat::preferred(&head.headers);
                let page = self.source.registry.render_as(format);
                let mut response = document(StatusCode::OK, format.content_type(), page);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                Ok(response)
            }
            AdminResource::Purge => purge::answer(&self.source.proxy, &head.headers, body).await,
            AdminResource::Entries => entries::answer(&self.source.proxy, &head.uri).await,
            AdminResource::Stats => stats::answer(&self.source, &head.uri).await,
            AdminResource::Series => Ok(self.series.answer()),
        }
    }
}

/// Answers a readiness check: `200` if the process should get requests, else `503`.
fn ready(readiness: &Readiness) -> AdminResponse {
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, readiness.phase().document())
}
