//! The context of a trace, as any client may state it.

use cachewarp::telemetry::trace::TraceContext;

/// Checks that a context that is read has ids, and that its text reads as the same context.
pub(crate) fn traceparent(data: &[u8]) {
    let Some(context) = TraceContext::parse(data) else { return };
    assert!(context.trace != [0; 16] && context.span != [0; 8]);
    let text = context.to_text();
    assert_eq!(TraceContext::parse(text.as_bytes()), Some(context));
    assert_eq!(data.get(2..52), text.as_bytes().get(2..52), "{text}");
}
