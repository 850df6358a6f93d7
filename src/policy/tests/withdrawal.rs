//! Tests of withdrawal: the outcome for a stored response if the origin's whole response may not be
//! stored (RFC 9111 §4.3.3).

use http::{Method, StatusCode};

use super::{head, rules};
use crate::label::Label;
use crate::policy::{FreshenOutcome, Initiator, NotStorable, RequestFacts, withdrawn};

fn request(fields: &[(&str, &str)]) -> RequestFacts {
    RequestFacts::read(&Method::GET, &head(fields), &rules())
}

fn removes(initiator: Initiator, fields: &[(&str, &str)], status: u16, reason: NotStorable) -> bool {
    let status = StatusCode::from_u16(status).unwrap();
    match withdrawn(initiator, &request(fields), status, reason) {
        FreshenOutcome::Invalidated(because) => because == reason,
        FreshenOutcome::Unchanged(because) => {
            assert_eq!(because, reason);
            false
        }
        FreshenOutcome::Updated { .. } => panic!("a withdrawal has no new fields"),
    }
}

#[test]
fn statuses_decide_about_withdrawal() {
    let both = [Initiator::Client, Initiator::Refresh];
    for status in [200, 203, 204, 300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 409, 410, 422, 451] {
        let got = both.map(|initiator| removes(initiator, &[], status, NotStorable::Status));
        assert_eq!(got, [true, true], "{status}");
    }
    for status in [206, 304, 408, 412, 416, 421, 425, 429, 500, 501, 502, 503, 504, 511, 530, 599] {
        let got = both.map(|initiator| removes(initiator, &[], status, NotStorable::Status));
        assert_eq!(got, [false, false], "{status}");
    }
    for status in [400, 406, 407, 411, 413, 414, 415, 417, 426, 428, 431] {
        let got = both.map(|initiator| removes(initiator, &[], status, NotStorable::Status));
        assert_eq!(got, [false, true], "{status}: a client chooses the form of its request");
    }
}

#[test]
fn reasons_decide_about_withdrawal() {
    let kept = [
        NotStorable::Method,
        NotStorable::RequestNoStore,
        NotStorable::Authorization,
        NotStorable::Cookie,
        NotStorable::CredentialHeader,
        NotStorable::ClientCertificate,
        NotStorable::UnlistedField,
        NotStorable::UnkeyedField,
        NotStorable::PartialContent,
        NotStorable::NoValidator,
        NotStorable::Changed,
        NotStorable::ContentLocation,
        NotStorable::BodyMemory,
        NotStorable::CutBody,
        NotStorable::Unread,
        NotStorable::CheckTimeout,
        NotStorable::NotAdmitted,
        NotStorable::Held,
        NotStorable::NoTier,
    ];
    for reason in NotStorable::ALL {
        for initiator in [Initiator::Client, Initiator::Refresh] {
            assert_eq!(removes(initiator, &[], 200, *reason), !kept.contains(reason), "{}", reason.word());
        }
    }
}

#[test]
fn a_request_with_a_credential_withdraws_nothing() {
    for field in [("authorization", "a"), ("cookie", "a=b"), ("x-api-key", "a")] {
        for (status, reason) in [(200, NotStorable::Private), (403, NotStorable::Status)] {
            assert!(!removes(Initiator::Client, &[field], status, reason), "{field:?}");
        }
    }
}

#[test]
fn a_request_with_an_unlisted_field_withdraws_nothing() {
    for initiator in [Initiator::Client, Initiator::Refresh] {
        for status in [200, 401, 403, 404] {
            let fields = [("x-auth-token", "wrong")];
            assert!(!removes(initiator, &fields, status, NotStorable::Status), "{status}");
        }
    }
}
