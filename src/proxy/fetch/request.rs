//! A request for the origin, with the lookup that precedes it.

use std::rc::Rc;

use crate::entry::{Entry, KeyGeneration};
use crate::proxy::answer::cache_status::ForwardReason;
use crate::proxy::explain::notes::ExplainedRole;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::{Completeness, StorePermit};

/// A request that no store could answer.
pub(in crate::proxy) struct FetchRequest {
    pub(in crate::proxy) request: Rc<CacheRequest>,
    pub(in crate::proxy) location: CacheLocation,
    pub(in crate::proxy) forward: ForwardReason,
    pub(in crate::proxy) completeness: Completeness,
    /// The stored entry to validate. It may be served stale if the origin fails.
    pub(in crate::proxy) stored: Option<Rc<Entry>>,
}

impl FetchRequest {
    /// Takes the permit to store the response to this request.
    pub(in crate::proxy::fetch) fn permit(&self, proxy: &Proxy) -> StorePermit {
        proxy.permit(&self.request, &self.location.whole, self.location.generation)
    }

    /// Returns the key generation that the lookup has seen, if the lookup was complete.
    pub(in crate::proxy::fetch) fn seen(&self) -> Option<KeyGeneration> {
        match self.completeness {
            Completeness::Complete => Some(self.location.generation),
            Completeness::TimedOut => None,
        }
    }

    pub(in crate::proxy::fetch) fn note_role(&self, role: ExplainedRole) {
        self.request.note(|explanation| explanation.goes_forward(role, self.forward));
    }
}
