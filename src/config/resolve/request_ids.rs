//! The setting that names the header of request ids, compared with those that name other headers.

use http::header::HeaderName;
use ipnet::IpNet;

use crate::client_address::TrustedProxies;
use crate::config::reporting::error::ConfigError;
use crate::config::resolve::resolver::Resolver;
use crate::config::table::Name;
use crate::request_fields::contain_spelling;
use crate::request_id::{RequestIdOptions, refused_as_id};
use crate::routes::{Route, RouteTable};

/// The word that turns the ids off.
const OFF: &str = "off";

impl Resolver<'_> {
    /// Reads the header of request ids; the inner `None` is no header.
    fn request_id_header(&mut self) -> Option<Option<HeaderName>> {
        self.take(Name::RequestIdHeader, |text| {
            if text == OFF {
                return Ok(None);
            }
            let malformed = || ConfigError::HeaderName(text.to_owned());
            let header = HeaderName::from_bytes(text.as_bytes()).map_err(|_| malformed())?;
            match refused_as_id(&header) {
                Some(why) => Err(ConfigError::NoRequestId { header, why }),
                None => Ok(Some(header)),
            }
        })
    }

    /// Reads the header of request ids, which `trusted` peers may state.
    pub(in crate::config) fn request_ids(&mut self, trusted: &[IpNet]) -> Option<Option<RequestIdOptions>> {
        let trusted = TrustedProxies::new(trusted.to_vec());
        Some(self.request_id_header()?.map(|header| RequestIdOptions { header, trusted }))
    }

    /// Notes an error if another setting gives the header of request ids another meaning.
    pub(in crate::config) fn check_request_id(
        &mut self,
        header: &HeaderName,
        others: &[(Name, &[HeaderName])],
    ) {
        for (other, names) in others {
            if contain_spelling(names, header) {
                let header = header.clone();
                self.note(Name::RequestIdHeader, ConfigError::InBoth { header, other: *other });
            }
        }
    }

    /// Notes an error for each route that gives the header of request ids another meaning: every
    /// request has an id of its own, so no two requests would share a response of the route.
    pub(in crate::config) fn check_request_id_of_routes(
        &mut self,
        header: Option<&HeaderName>,
        routes: Option<&RouteTable>,
    ) {
        let (Some(header), Some(routes)) = (header, routes) else { return };
        for Route { line, members, .. } in routes.routes() {
            for (member, names) in
                [("key_headers", &members.key_headers), ("credential_headers", &members.credential_headers)]
            {
                if contain_spelling(names, header) {
                    let (line, header) = (*line, header.clone());
                    self.note(Name::RoutesFile, ConfigError::RequestIdOfRoute { line, member, header });
                }
            }
        }
    }
}
