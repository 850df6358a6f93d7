//! The credentials of a request: the parts that identify the client.

use crate::label::Label;

crate::labels! {
    /// A part of a request that may make the response personal.
    pub enum Credential {
        /// The `Authorization` field (RFC 9110 §11.6.2).
        Authorization => "authorization",
        /// The `Cookie` field.
        Cookie => "cookie",
        /// A field that the operator lists as a credential.
        Header => "credential-header",
        /// A certificate of the client's connection.
        ClientCertificate => "client-certificate",
    }
}

/// The credentials of one request: none, one or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialSet(u8);

impl CredentialSet {
    /// Adds a credential.
    pub(in crate::policy) fn add(&mut self, credential: Credential) {
        self.0 |= bit(credential);
    }

    /// Returns whether the set contains a credential.
    pub(in crate::policy) fn contains(self, credential: Credential) -> bool {
        self.0 & bit(credential) != 0
    }

    /// Returns the set without a credential.
    #[must_use]
    pub(in crate::policy) fn without(self, credential: Credential) -> Self {
        Self(self.0 & !bit(credential))
    }

    /// Returns whether the request is anonymous.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the first credential of the set, in the order of [`Credential`].
    pub fn first(self) -> Option<Credential> {
        Credential::ALL.iter().copied().find(|&credential| self.contains(credential))
    }
}

const fn bit(credential: Credential) -> u8 {
    1 << credential as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_returns_its_first_credential() {
        let mut credentials = CredentialSet::default();
        assert!(credentials.is_empty());
        assert_eq!(credentials.first(), None);
        credentials.add(Credential::Header);
        credentials.add(Credential::Authorization);
        assert!(!credentials.is_empty());
        assert_eq!(credentials.first(), Some(Credential::Authorization));
        assert_eq!(credentials.without(Credential::Authorization).first(), Some(Credential::Header));
    }
}
