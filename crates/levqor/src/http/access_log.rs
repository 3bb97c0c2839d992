//! One line per request, as text or JSON. Never a key, a body, a query or a header other than the user agent.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::LogFormat;

const MAX_AGENT_CHARS: usize = 200;
const MAX_PATH_CHARS: usize = 500;
const MAX_METHOD_CHARS: usize = 20;

/// What the line tells. Texts are as the client sent them.
pub struct Line<'a> {
    pub at_ms: i64,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub took: Duration,
    pub client: IpAddr,
    pub peer: SocketAddr,
    pub agent: &'a [u8],
    pub request_id: &'a str,
}

impl Line<'_> {
    /// Appends the line with its newline.
    pub fn write(&self, out: &mut Vec<u8>, format: LogFormat) {
        let method = escaped(self.method.as_bytes(), MAX_METHOD_CHARS);
        let path = escaped(self.path.as_bytes(), MAX_PATH_CHARS);
        let agent = escaped(self.agent, MAX_AGENT_CHARS);
        let at = levqor_core::duration::rfc3339(self.at_ms);
        let took_ms = self.took.as_secs_f64() * 1000.0;
        let (status, client, peer, id) = (self.status, self.client, self.peer, self.request_id);
        // Writing to a Vec cannot fail. Escaped text holds no quote and no backslash that is not part of an escape.
        let _ = match format {
            LogFormat::Text => writeln!(
                out,
                "{at}  INFO levqor: in {method} {path} status={status} ms={took_ms:.3} ip={client} peer={peer} ua=\"{agent}\" id={id}"
            ),
            LogFormat::Json => {
                let [method, path, agent] = [method, path, agent].map(|text| text.replace('\\', "\\\\"));
                writeln!(
                    out,
                    "{{\"timestamp\":\"{at}\",\"level\":\"INFO\",\"target\":\"levqor\",\"message\":\"in\",\"method\":\"{method}\",\
                     \"path\":\"{path}\",\"status\":{status},\"ms\":{took_ms:.3},\"ip\":\"{client}\",\"peer\":\"{peer}\",\
                     \"ua\":\"{agent}\",\"id\":\"{id}\"}}"
                )
            }
        };
    }
}

/// Printable ASCII as it is; everything else as `\xNN`, so that no text can forge a line, a field or a terminal's state.
fn escaped(text: &[u8], most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for byte in text.iter().take(most) {
        match byte {
            b'"' | b'\\' | ..=0x1f | 0x7f.. => {
                out.push_str("\\x");
                out.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('?')),
                );
            }
            _ => out.push(char::from(*byte)),
        }
    }
    if text.len() > most {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(format: LogFormat) -> String {
        let mut out = Vec::new();
        let line = Line {
            at_ms: 1_700_000_000_123,
            method: "GET",
            path: "/a\nINFO forged \"b\\ \u{1b}[31m",
            status: 404,
            took: Duration::from_micros(1500),
            client: "1.2.3.4".parse().unwrap(),
            peer: "127.0.0.1:9".parse().unwrap(),
            agent: &[b'x'; 1000],
            request_id: "r1",
        };
        line.write(&mut out, format);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_text_of_a_client_can_forge_a_line_or_a_field() {
        let text = line(LogFormat::Text);

        assert_eq!(text.matches('\n').count(), 1);
        assert!(
            text.contains(
                r"in GET /a\x0aINFO forged \x22b\x5c \x1b[31m status=404 ms=1.500 ip=1.2.3.4 peer=127.0.0.1:9"
            ),
            "{text}"
        );
        assert!(text.len() < 600, "user agents are shortened");
    }

    #[test]
    fn the_json_form_is_json() {
        let text = line(LogFormat::Json);

        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["path"], r"/a\x0aINFO forged \x22b\x5c \x1b[31m");
        assert_eq!(value["status"], 404);
        assert_eq!(value["id"], "r1");
    }
}
