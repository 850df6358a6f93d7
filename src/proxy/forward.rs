//! The way to the origin: the requests that may take it, and the response that comes back.

use http::Response;
use http::request::Parts;

use crate::hop;
use crate::origin::{
    ExchangeTerms, FetchError, FetchPurpose, InterimReceiver, InterimResponse, OriginBody, RequestBody,
};
use crate::policy;
use crate::proxy::answer::failure::Failure;
use crate::proxy::request::InboundRequest;
use crate::proxy::worker::Proxy;
use crate::request_fields::FieldClass;
use crate::telemetry::trace::{SpanAttribute, SpanName, TRACEPARENT};
use crate::time;

impl Proxy {
    /// Checks whether a request that memory does not answer may go on to the origin.
    pub(in crate::proxy) fn forwardable(&self, inbound: &InboundRequest) -> Result<(), Failure> {
        if self.origin.outbound().has_come_back(&inbound.headers) {
            Err(Failure::Loop)
        } else if hop::lists_too_many(&inbound.headers) {
            Err(Failure::ConnectionOptions)
        } else {
            Ok(())
        }
    }

    /// Sends a request to the origin, with the head for its purpose and its content, if the proxy
    /// has that.
    pub(in crate::proxy) async fn send(
        &self,
        inbound: &InboundRequest,
        purpose: &FetchPurpose,
    ) -> Result<Response<OriginBody>, FetchError> {
        let head = || self.origin.outbound().head(&inbound.to_outbound(purpose));
        self.exchange(inbound, head, inbound.outbound_content()).await
    }

    /// Sends a request to the origin with this head. Every response of the origin passes this
    /// function: its links to the origin become links to this proxy. The interim responses go to
    /// the client of the request.
    pub(in crate::proxy) async fn exchange(
        &self,
        inbound: &InboundRequest,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<OriginBody>, FetchError> {
        let begun = inbound.record.is_logged().then(time::instant);
        let deadlines = inbound.rules.deadlines(&self.origin);
        let span = inbound.record.trace().span(SpanName::Fetch);
        let head = || {
            let mut head = head()?;
            // A field that is a credential or in the key has the client's value.
            if let Some(span) = &span
                && inbound.rules.cache.fields.class(&TRACEPARENT) == FieldClass::Withheld
            {
                span.inject(&mut head.headers);
            }
            Ok(head)
        };
        let forwarder = InterimForwarder { proxy: self, inbound };
        let interims = inbound.interims.has_client().then_some(&forwarder as &dyn InterimReceiver);
        let terms = ExchangeTerms { deadlines, interims };
        let answered = self.origin.send_within(terms, self.client(inbound), head, body).await;
        if let Some(begun) = begun {
            let took = time::instant().saturating_duration_since(begun);
            // A request may be sent again, after a response that does not answer it.
            inbound.record.note(|facts| *facts.origin_time.get_or_insert_default() += took);
        }
        if let Some(span) = &span {
            match &answered {
                Ok(response) => {
                    let status = response.status().as_u16();
                    span.note("http.response.status_code", SpanAttribute::Number(status.into()));
                }
                Err(_) => span.fail(),
            }
        }
        let mut response = answered?;
        if let Some(span) = &span {
            response.extensions_mut().insert(span.to_link());
        }
        self.origin.outbound().rewrite_links(response.headers_mut(), &inbound.target);
        Ok(response)
    }
}

/// Sends the interim responses of the origin to the client whose request caused the exchange.
struct InterimForwarder<'a> {
    proxy: &'a Proxy,
    inbound: &'a InboundRequest,
}

impl InterimReceiver for InterimForwarder<'_> {
    fn receive(&self, interim: InterimResponse) {
        let Self { proxy, inbound } = self;
        let InterimResponse { status, mut fields } = interim;
        // As in the response itself.
        proxy.origin.outbound().rewrite_links(&mut fields, &inbound.target);
        policy::strip_addressed(&mut fields);
        policy::strip_tags(&mut fields, &proxy.tag_rules);
        inbound.interims.send(status, &fields);
    }
}
