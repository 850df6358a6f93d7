//! Dialogues with a server on a real socket.

mod drain;
mod http1;
mod http2;
mod interims;
mod parking;
mod refusals;
mod stage;
mod time_limits;
