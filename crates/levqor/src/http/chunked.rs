//! Follows a chunked body to its end, strictly, so that the gate knows where the next head begins. Pure.
//!
//! Invariant: everything that is accepted here, hyper reads the same way; what hyper tolerates beyond the RFC (blanks after the
//! size, bare line feeds) is refused.

const MAX_EXTENSION_BYTES: u16 = 256;
const MAX_TRAILER_BYTES: u16 = 8 * 1024;

/// The body is not chunked as RFC 9112 §7.1 writes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk")]
pub struct BadChunk;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { seen: u16, size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart { seen: u16 },
    Trailer { seen: u16 },
    TrailerLf { seen: u16 },
    EndLf,
    End,
}

/// How far into a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked(At);

impl Default for Chunked {
    fn default() -> Self {
        Chunked(At::Size { digits: 0, size: 0 })
    }
}

impl Chunked {
    pub fn is_end(&self) -> bool {
        self.0 == At::End
    }

    /// Takes what belongs to the body from the start of `bytes`; returns how many bytes that are.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && !self.is_end() {
            if let At::Data { left } = self.0 {
                let taken = left.min((bytes.len() - at) as u64);
                at += taken as usize;
                self.0 = if taken == left { At::DataCr } else { At::Data { left: left - taken } };
            } else {
                self.0 = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&self, byte: u8) -> Result<At, BadChunk> {
        let next = match (self.0, byte) {
            (At::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                At::Size { digits: digits + 1, size: size << 4 | digit }
            }
            (At::Size { digits: 1.., size }, b'\r') => At::SizeLf { size },
            (At::Size { digits: 1.., size }, b';') => At::Extension { seen: 0, size },
            (At::Extension { size, .. }, b'\r') => At::SizeLf { size },
            (At::Extension { seen, size }, b'\t' | b' '..=b'~' | 0x80..) if seen < MAX_EXTENSION_BYTES => {
                At::Extension { seen: seen + 1, size }
            }
            (At::SizeLf { size: 0 }, b'\n') => At::TrailerStart { seen: 0 },
            (At::SizeLf { size }, b'\n') => At::Data { left: size },
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::TrailerStart { .. }, b'\r') => At::EndLf,
            (At::Trailer { seen }, b'\r') => At::TrailerLf { seen },
            (At::TrailerStart { seen } | At::Trailer { seen }, b'\t' | b' '..=b'~' | 0x80..)
                if seen < MAX_TRAILER_BYTES =>
            {
                At::Trailer { seen: seen + 1 }
            }
            (At::TrailerLf { seen }, b'\n') => At::TrailerStart { seen },
            (At::EndLf, b'\n') => At::End,
            _ => return Err(BadChunk),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_followed_to_its_end_and_no_byte_further() {
        for body in
            ["0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "a;x=y\r\n0123456789\r\n00\r\nTrailer: 1\r\nB: 2\r\n\r\n"]
        {
            let with_next = format!("{body}GET / HTTP/1.1\r\n");

            let mut whole = Chunked::default();
            assert_eq!(whole.advance(with_next.as_bytes()), Ok(body.len()), "{body:?}");
            assert!(whole.is_end());

            for split in 0..body.len() {
                let (first, second) = with_next.as_bytes().split_at(split);
                let mut parts = Chunked::default();
                let taken = parts.advance(first).and_then(|n| parts.advance(second).map(|m| n + m));
                assert_eq!(taken, Ok(body.len()), "{body:?} split at {split}");
            }
        }
    }

    #[test]
    fn loose_chunks_are_refused() {
        for body in [
            "\r\n",
            "3 \r\nabc\r\n",
            "3\nabc",
            "3\r\nabcd\r\n",
            "-1\r\n",
            "0x3\r\nabc",
            "3\r\nabc\n",
            "00000000000000001\r\n",
            "0\r\n\n",
            "0\r\nX: 1\n",
            "3;\nabc",
            "g\r\n",
        ] {
            assert_eq!(Chunked::default().advance(body.as_bytes()), Err(BadChunk), "{body:?}");
        }
        let long = format!("1;{}", "x".repeat(300));
        assert_eq!(Chunked::default().advance(long.as_bytes()), Err(BadChunk));
    }
}
