//! Headers of the PROXY protocol, as any peer may send them.

use cachewarp::server::proxy_header::{
    BINARY_HEAD_BYTES, FIRST_BYTES, LINE_BYTES_MAX, ProxyVersion, parse_addresses, parse_binary_head,
    parse_line, version,
};

/// Bytes of addresses and extensions that the receiver takes.
const MAX: usize = 256;

/// Checks that a line that names a client is the only spelling of its address and port, and that a
/// binary header is taken only with the length that it states.
pub(crate) fn proxy_header(data: &[u8]) {
    let Some((first, rest)) = data.split_first_chunk::<FIRST_BYTES>() else { return };
    match version(first) {
        Ok(ProxyVersion::Line) => {
            let Ok(client) = parse_line(data) else { return };
            assert!(data.len() <= LINE_BYTES_MAX && data.ends_with(b"\r\n"));
            let text = std::str::from_utf8(data).expect("ASCII");
            if let Some(client) = client {
                let words: Vec<_> = text.trim_end().split(' ').collect();
                assert_eq!(words.len(), 6);
                assert_eq!(words[4], client.port().to_string());
                assert_eq!(
                    words[2].parse(),
                    Ok(client.ip()).map(|ip| if ip.is_ipv4() && words[1] == "TCP6" {
                        // The text of a mapped address has another form.
                        words[2].parse().expect("an address")
                    } else {
                        ip
                    })
                );
            }
        }
        Ok(ProxyVersion::Binary) => {
            let Some((head, rest)) = rest.split_first_chunk::<BINARY_HEAD_BYTES>() else { return };
            let Ok(head) = parse_binary_head(*head, MAX) else { return };
            assert!(head.length <= MAX);
            let taken = parse_addresses(head, rest);
            assert_eq!(taken.is_ok(), rest.len() == head.length);
            if let Some(whole) = rest.get(..head.length) {
                assert!(parse_addresses(head, whole).is_ok());
            }
        }
        Err(_) => {}
    }
}
