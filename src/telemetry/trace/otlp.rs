//! Spans as a message of OTLP (`ExportTraceServiceRequest`, version 1) in the encoding of Protocol
//! Buffers.
//!
//! The messages have a dozen fields, so this file writes them itself: the generated types and
//! their runtime would add six crates. A test decodes the bytes by the rules of the encoding.

use super::span::{FinishedSpan, SpanAttribute, SpanOutcome};
use crate::label::Label;

/// The type of a field in its tag: a varint, 64 bits, and bytes with a length.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The code of a failed span.
const STATUS_ERROR: u64 = 2;

/// Encodes a batch of spans.
pub(super) fn encode(spans: &[FinishedSpan]) -> Vec<u8> {
    let mut resource = Vec::new();
    for (key, value) in [("service.name", "cachewarp"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        put_bytes(&mut resource, 1, &attribute(key, &SpanAttribute::Text(value.into())));
    }
    let mut scope = Vec::new();
    put_bytes(&mut scope, 1, b"cachewarp");
    let mut of_scope = Vec::new();
    put_bytes(&mut of_scope, 1, &scope);
    for span in spans {
        put_bytes(&mut of_scope, 2, &encode_span(span));
    }
    let mut of_resource = Vec::new();
    put_bytes(&mut of_resource, 1, &resource);
    put_bytes(&mut of_resource, 2, &of_scope);
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &of_resource);
    request
}

fn encode_span(span: &FinishedSpan) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &span.trace);
    put_bytes(&mut out, 2, &span.id);
    if let Some(parent) = &span.parent {
        put_bytes(&mut out, 4, parent);
    }
    put_bytes(&mut out, 5, span.name.word().as_bytes());
    put_number(&mut out, 6, span.name.kind() as u64);
    put_fixed(&mut out, 7, span.begun);
    put_fixed(&mut out, 8, span.ended);
    for (key, value) in &span.attributes {
        put_bytes(&mut out, 9, &attribute(key, value));
    }
    for link in &span.links {
        let mut ids = Vec::new();
        put_bytes(&mut ids, 1, &link.trace);
        put_bytes(&mut ids, 2, &link.span);
        put_bytes(&mut out, 13, &ids);
    }
    if span.outcome == SpanOutcome::Error {
        let mut status = Vec::new();
        put_number(&mut status, 3, STATUS_ERROR);
        put_bytes(&mut out, 15, &status);
    }
    out
}

fn attribute(key: &str, value: &SpanAttribute) -> Vec<u8> {
    let mut any = Vec::new();
    match value {
        SpanAttribute::Text(text) => put_bytes(&mut any, 1, text.as_bytes()),
        SpanAttribute::Number(number) => put_number(&mut any, 3, *number),
    }
    let mut out = Vec::new();
    put_bytes(&mut out, 1, key.as_bytes());
    put_bytes(&mut out, 2, &any);
    out
}

fn put_varint(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, number);
}

fn put_fixed(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::{SpanLink, SpanName};

    /// The bytes that Python's `opentelemetry-proto` 1.45 writes for this span are these, field by
    /// field in the order of the schema.
    #[test]
    fn a_span_is_encoded_by_the_schema() {
        let span = FinishedSpan {
            trace: [0xaa; 16],
            id: [0xbb; 8],
            parent: Some([0xcc; 8]),
            name: SpanName::Fetch,
            begun: 1,
            ended: 0x0102_0304_0506_0708,
            outcome: SpanOutcome::Error,
            attributes: vec![("http.response.status_code", SpanAttribute::Number(503))],
            links: vec![SpanLink { trace: [0xdd; 16], span: [0xee; 8] }],
        };
        let expected = [
            &[0x0a, 16][..],
            &[0xaa; 16],
            &[0x12, 8],
            &[0xbb; 8],
            &[0x22, 8],
            &[0xcc; 8],
            &[0x2a, 5],
            b"fetch",
            &[0x30, 3],
            &[0x39, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x41, 8, 7, 6, 5, 4, 3, 2, 1],
            &[0x4a, 32, 0x0a, 25],
            b"http.response.status_code",
            &[0x12, 3, 0x18, 0xf7, 0x03],
            &[0x6a, 28, 0x0a, 16],
            &[0xdd; 16],
            &[0x12, 8],
            &[0xee; 8],
            &[0x7a, 2, 0x18, 2],
        ]
        .concat();
        assert_eq!(encode_span(&span), expected);
    }
}
