//! Answers: a response with its `Cache-Status`, its body, and the failures that become answers.

pub(super) mod body;
pub(super) mod cache_status;
pub(super) mod failure;
pub(super) mod outcome;
pub(super) mod present;
pub(super) mod response;
pub(super) mod seconds;
pub(super) mod shared_body;
