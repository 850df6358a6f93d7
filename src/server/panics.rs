//! Panics of a handler, which end one request or one connection and never the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic of the handler.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked: {0}")]
pub(super) struct HandlerPanicError(String);

impl HandlerPanicError {
    /// Creates the error from the payload of a panic.
    pub(super) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("no message").to_owned())
    }

    /// Returns the message of the panic.
    pub(super) fn message(&self) -> &str {
        &self.0
    }
}

/// Runs a handler's code and turns a panic into an error. The caller drops the state that the panic
/// may have broken.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, HandlerPanicError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| HandlerPanicError::new(payload.as_ref()))
}
