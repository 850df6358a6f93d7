//! The interim responses (1xx) before a response head, for the client of the request.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use crate::hop;
use crate::origin::http1::ResponseHead;

/// Receiver of the interim responses to one request.
pub trait InterimReceiver {
    /// Takes an interim response other than `100 Continue` and `101`, without the fields of the
    /// connection.
    fn receive(&self, interim: InterimResponse);
}

/// Interim response of the origin.
#[derive(Debug, PartialEq, Eq)]
pub struct InterimResponse {
    /// Status, 102 or higher.
    pub status: StatusCode,
    /// End-to-end fields.
    pub fields: HeaderMap,
}

impl InterimResponse {
    /// Returns the response with this head; `None` for one that the proxy does not forward: `100`
    /// concerns the connection.
    pub(super) fn of(head: ResponseHead) -> Option<Self> {
        let ResponseHead { status, headers: mut fields, .. } = head;
        if status == StatusCode::CONTINUE || hop::lists_too_many(&fields) {
            return None;
        }
        hop::strip(&mut fields);
        // RFC 9110 §8.6: an interim response has no `Content-Length`.
        fields.remove(CONTENT_LENGTH);
        Some(Self { status, fields })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::HeaderValue;

    use super::*;
    use crate::origin::http1::ResponseHeadReader;

    #[test]
    fn an_interim_response_keeps_its_end_to_end_fields() {
        let read = |head: &str| {
            let mut bytes = BytesMut::from(head);
            InterimResponse::of(ResponseHeadReader::default().next(&mut bytes).unwrap().unwrap())
        };
        let interim = read(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\nConnection: X-A\r\nX-A: 1\r\n\
             Content-Length: 5\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n",
        )
        .unwrap();
        let fields: Vec<_> = interim.fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let links =
            [("link", &HeaderValue::from_static("</a>")), ("link", &HeaderValue::from_static("</b>"))];
        assert_eq!((interim.status, &fields[..]), (StatusCode::EARLY_HINTS, &links[..]));
        assert_eq!(read("HTTP/1.1 102 \r\n\r\n").map(|interim| interim.status.as_u16()), Some(102));
        assert_eq!(read("HTTP/1.1 199\n\n").map(|interim| interim.status.as_u16()), Some(199));
        let options = "close,".repeat(100);
        for head in
            ["HTTP/1.1 100 Continue\r\n\r\n", &format!("HTTP/1.1 103 A\r\nConnection: {options}\r\n\r\n")]
        {
            assert_eq!(read(head), None, "{head:?}");
        }
    }
}
