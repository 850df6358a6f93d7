//! The way of interim responses (1xx) from the origin to the client of a request.
//!
//! A client connection that can write interim responses gives the handler of each request a sink.
//! The sink of any other request leads nowhere. A sink may outlive its request and the connection:
//! the fetch of a request goes on when the client has left, or has another response.

use std::fmt;
use std::sync::Weak;

use http::{HeaderMap, StatusCode};

/// Client connection that can write interim responses.
pub trait InterimWriter: Send + Sync {
    /// Queues an interim response to the request of this number. Drops it if the response to that
    /// request has begun, or the request has ended.
    fn queue_interim(&self, request: u64, status: StatusCode, fields: &HeaderMap);
}

/// Sink of the interim responses to one request.
#[derive(Clone, Default)]
pub struct InterimSink(Option<RequestOfConnection>);

#[derive(Clone)]
struct RequestOfConnection {
    connection: Weak<dyn InterimWriter>,
    /// Number of the request on its connection.
    request: u64,
}

impl InterimSink {
    /// Creates the sink of a request, by its number on a connection.
    pub fn new(connection: Weak<dyn InterimWriter>, request: u64) -> Self {
        Self(Some(RequestOfConnection { connection, request }))
    }

    /// Returns whether the client of the request takes interim responses.
    pub fn has_client(&self) -> bool {
        self.0.is_some()
    }

    /// Sends an interim response with these fields to the client.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) {
        if let Some(RequestOfConnection { connection, request }) = &self.0
            && let Some(connection) = connection.upgrade()
        {
            connection.queue_interim(*request, status, fields);
        }
    }
}

impl fmt::Debug for InterimSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InterimSink").field(&self.0.as_ref().map(|of| of.request)).finish()
    }
}
