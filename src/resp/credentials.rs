//! Who a connection says that it is.

use crate::secret::Secret;

/// What `AUTH` sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// An ACL user; [`Credentials::DEFAULT_USER`] if the URL names none.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

impl Credentials {
    /// Who a connection is as long as it says nothing else.
    pub const DEFAULT_USER: &'static str = "default";
}
