//! CacheWarp: a caching reverse proxy for JSON APIs.
//!
//! The pure modules decide ([`key`], [`policy`], [`entry`], [`resp`]); the others carry
//! ([`server`], [`proxy`], [`store`], [`redis`], [`origin`]). ARCHITECTURE.md has the map, and
//! `tests/tidy.rs` holds the direction of imports.

pub mod admin;
pub mod answer_budget;
pub mod app;
pub mod cli;
pub mod client_address;
pub mod config;
pub mod demo;
pub mod descriptors;
pub mod entry;
pub mod hash;
pub mod hop;
pub mod interim;
pub mod json;
pub mod key;
pub mod label;
pub mod limits;
pub mod origin;
pub mod policy;
pub mod probe;
pub mod proxy;
pub mod purge;
pub mod purge_stream;
pub mod quantity;
pub mod readiness;
pub mod redis;
pub mod request_fields;
pub mod request_id;
pub mod resp;
pub mod routes;
pub mod sealing;
pub mod secret;
pub mod server;
pub mod store;
pub mod supervisor;
pub mod survey;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod top;
