//! Judges a request head before hyper sees it. Pure: bytes in, verdict out.
//!
//! hyper drops `Content-Length` silently when `Transfer-Encoding` is there, takes any number of `Host` headers, and answers
//! malformed heads with a bare 400. Request smuggling lives on such leniency, so what is let through here is only what
//! has one reading.

use http::StatusCode;

/// The largest head: request line and headers.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;

const MAX_HEADERS: usize = 100;

/// How the body behind a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Scan {
    /// More bytes are needed.
    Incomplete,
    Complete {
        head_bytes: usize,
        framing: Framing,
    },
    Refused(Refusal),
}

/// Why a connection's next request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    Malformed = 1,
    BareLineEnd,
    TooLarge,
    TooSlow,
    CutShort,
    Version,
    Target,
    Connect,
    Host,
    HostCount,
    Length,
    LengthAndEncoding,
    Encoding,
}

impl Refusal {
    const ALL: [Refusal; 13] = [
        Refusal::Malformed,
        Refusal::BareLineEnd,
        Refusal::TooLarge,
        Refusal::TooSlow,
        Refusal::CutShort,
        Refusal::Version,
        Refusal::Target,
        Refusal::Connect,
        Refusal::Host,
        Refusal::HostCount,
        Refusal::Length,
        Refusal::LengthAndEncoding,
        Refusal::Encoding,
    ];

    pub fn from_code(code: u8) -> Option<Self> {
        Refusal::ALL.into_iter().find(|refusal| *refusal as u8 == code)
    }

    pub fn status(self) -> StatusCode {
        match self {
            Refusal::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Refusal::Malformed => "the request line or a header is malformed",
            Refusal::BareLineEnd => "lines of a request head must end with CR LF",
            Refusal::TooLarge => "a request head may have at most 32768 bytes and 100 headers",
            Refusal::TooSlow => "the request head came too slowly",
            Refusal::CutShort => "the request head ended early",
            Refusal::Version => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Refusal::Target => "the request target must be a path or an http URL without user name",
            Refusal::Connect => "CONNECT is not served here",
            Refusal::Host => "the Host header must be a host name or address with an optional port",
            Refusal::HostCount => "exactly one Host header is needed",
            Refusal::Length => "Content-Length must be one number, given once",
            Refusal::LengthAndEncoding => "Content-Length and Transfer-Encoding must not come together",
            Refusal::Encoding => "the only Transfer-Encoding allowed is chunked, given once, over HTTP/1.1",
        }
    }
}

/// Looks for the end of the head in `bytes` and judges it. `scanned` remembers how far earlier calls looked; it is to be 0
/// for a new head.
pub fn scan(bytes: &[u8], scanned: &mut usize) -> Scan {
    let mut at = *scanned;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let newline = at + found;
        if newline == 0 || bytes[newline - 1] != b'\r' {
            return Scan::Refused(Refusal::BareLineEnd);
        }
        at = newline + 1;
        if newline >= 3 && bytes[newline - 2] == b'\n' {
            return if at > MAX_HEAD_BYTES { Scan::Refused(Refusal::TooLarge) } else { judge(&bytes[..at]) };
        }
    }
    *scanned = bytes.len();
    if bytes.len() > MAX_HEAD_BYTES { Scan::Refused(Refusal::TooLarge) } else { Scan::Incomplete }
}

fn judge(head: &[u8]) -> Scan {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Scan::Refused(Refusal::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Scan::Refused(Refusal::TooLarge),
        Err(httparse::Error::Version) => return Scan::Refused(Refusal::Version),
        Err(_) => return Scan::Refused(Refusal::Malformed),
    }
    let is_1_1 = request.version == Some(1);
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let verdict = check_target(method, target).and_then(|()| framing(request.headers, is_1_1));
    match verdict {
        Ok(framing) => Scan::Complete { head_bytes: head.len(), framing },
        Err(refusal) => Scan::Refused(refusal),
    }
}

fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok(()) } else { Err(Refusal::Target) };
    }
    let uri: http::Uri = target.parse().map_err(|_| Refusal::Target)?;
    if target.starts_with('/') {
        return Ok(());
    }
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.authority().is_some_and(|authority| is_host(authority.as_str().as_bytes()));
    if is_http && is_plain { Ok(()) } else { Err(Refusal::Target) }
}

/// Checks `Host`, `Content-Length` and `Transfer-Encoding`, and says what body follows.
fn framing(headers: &[httparse::Header<'_>], is_1_1: bool) -> Result<Framing, Refusal> {
    let (mut hosts, mut length, mut is_chunked) = (0, None, false);
    for header in headers {
        // By length first: most headers are told apart without looking at their letters.
        match header.name.len() {
            4 if header.name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !is_host(header.value) {
                    return Err(Refusal::Host);
                }
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let earlier = length.replace(parse_length(header.value)?);
                if earlier.is_some() {
                    return Err(Refusal::Length);
                }
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                if is_chunked || !is_1_1 || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Encoding);
                }
                is_chunked = true;
            }
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && is_1_1) {
        return Err(Refusal::HostCount);
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(Refusal::LengthAndEncoding),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Length);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Refusal::Length)?;
    text.parse().map_err(|_| Refusal::Length)
}

/// `host[:port]`, where host is a name, an IPv4 address or an IPv6 address in brackets.
fn is_host(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let (host, port) = if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let is_address =
            std::str::from_utf8(&rest[..end]).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_address {
            return false;
        }
        match &rest[end + 1..] {
            [] => return true,
            [b':', port @ ..] => return is_port(port),
            _ => return false,
        }
    } else {
        match value.iter().position(|byte| *byte == b':') {
            Some(colon) => (&value[..colon], &value[colon + 1..]),
            None => (value, &b"0"[..]),
        }
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    !host.is_empty() && host.len() <= 255 && host.iter().all(is_name) && is_port(port)
}

fn is_port(port: &[u8]) -> bool {
    // RFC 3986 lets the digits be missing after the colon.
    port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0')) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_all(head: &str) -> Scan {
        scan(head.as_bytes(), &mut 0)
    }

    #[test]
    fn clean_heads_pass_and_tell_their_framing() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            (
                "POST /x?y=z HTTP/1.1\r\nHost: a.example:5000\r\nContent-Length: 12\r\n\r\n",
                Framing::Length(12),
            ),
            ("POST / HTTP/1.1\r\nhost: [::1]:80\r\ntransfer-encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("BREW /%0A HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
        ];
        for (head, framing) in cases {
            assert_eq!(scan_all(head), Scan::Complete { head_bytes: head.len(), framing }, "{head:?}");
        }
    }

    #[test]
    fn heads_with_two_readings_are_refused() {
        use Refusal::*;
        let with = |lines: &str| format!("POST / HTTP/1.1\r\n{lines}\r\n");
        let cases = [
            (with(""), HostCount),
            (with("Host: a\r\nHost: a\r\n"), HostCount),
            (with("Host: a\r\nhost: b\r\n"), HostCount),
            (with("Host: \r\n"), Host),
            (with("Host: user@a\r\n"), Host),
            (with("Host: a/b\r\n"), Host),
            (with("Host: a b\r\n"), Host),
            (with("Host: a, b\r\n"), Host),
            (with("Host: a:99999\r\n"), Host),
            (with("Host: a:1:2\r\n"), Host),
            (with("Host: [::1\r\n"), Host),
            (with("Host: [zz]\r\n"), Host),
            (with("Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), Length),
            (with("Host: a\r\nContent-Length: 1, 1\r\n"), Length),
            (with("Host: a\r\nContent-Length: +1\r\n"), Length),
            (with("Host: a\r\nContent-Length: -1\r\n"), Length),
            (with("Host: a\r\nContent-Length: 0x1\r\n"), Length),
            (with("Host: a\r\nContent-Length:\r\n"), Length),
            (with("Host: a\r\nContent-Length: 99999999999999999999\r\n"), Length),
            (with("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"), LengthAndEncoding),
            (with("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n"), LengthAndEncoding),
            (with("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), Encoding),
            (with("Host: a\r\nTransfer-Encoding: identity\r\n"), Encoding),
            (with("Host: a\r\nTransfer-Encoding: xchunked\r\n"), Encoding),
            (with("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Encoding),
            (with("Host: a\r\nX: 1\r\n folded\r\n"), Malformed),
            (with("Host: a\r\nX : 1\r\n"), Malformed),
            (with("Host: a\r\nX\r\n"), Malformed),
            (with("Host: a\r\nX: \0\r\n"), Malformed),
            (with("Host: a\r\nX: a\rb\r\n"), Malformed),
            (with("Host: a\nX: 1\r\n"), BareLineEnd),
            ("GET / HTTP/1.1\n\n".to_owned(), BareLineEnd),
            ("GET /\r\n\r\n".to_owned(), Malformed),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Malformed),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), Version),
            ("G<T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Malformed),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Target),
            ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Target),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Target),
            ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Target),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Connect),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Encoding),
        ];
        for (head, refusal) in cases {
            assert_eq!(scan_all(&head), Scan::Refused(refusal), "{head:?}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_refused_at_its_limit() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(101));
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));

        assert_eq!(scan_all(&many), Scan::Refused(Refusal::TooLarge));
        assert_eq!(scan_all(&long), Scan::Refused(Refusal::TooLarge));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_judged_the_same() {
        let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        let mut scanned = 0;
        for end in 0..head.len() {
            assert_eq!(scan(&head[..end], &mut scanned), Scan::Incomplete, "{end}");
        }
        let complete = Scan::Complete { head_bytes: head.len(), framing: Framing::Length(3) };
        assert_eq!(scan(head, &mut scanned), complete);
    }

    #[test]
    fn codes_of_refusals_round_trip() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal as u8), Some(refusal));
        }
        assert_eq!(Refusal::from_code(0), None);
    }
}
