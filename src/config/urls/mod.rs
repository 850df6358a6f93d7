//! The URLs of the origin, Redis, and a running CacheWarp.
//!
//! A URL may carry a password, so every output of one, valid or not, goes through [`masked`].

mod http;
mod mask;
pub(super) mod parts;
mod redis;

pub(super) use self::http::{collector, explain, health, origin};
pub(super) use self::mask::{MASK, has_unencoded_password, masked};
pub(super) use self::redis::{UrlLogin, redis};

pub use self::parts::SettingUrlError;
