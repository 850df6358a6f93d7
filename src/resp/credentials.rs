//! The credentials of a connection.

use crate::secret::Secret;

/// The arguments of `AUTH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// An ACL user; [`Credentials::DEFAULT_USER`] if the URL names none.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

impl Credentials {
    /// The user of a connection without a login.
    pub const DEFAULT_USER: &'static str = "default";
}
