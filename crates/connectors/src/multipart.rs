//! A form with one file in it, as `multipart/form-data` (RFC 7578).

use sha2::{Digest, Sha256};

/// One file of a form.
pub(crate) struct FilePart<'a> {
    pub field: &'a str,
    pub filename: &'a str,
    pub content_type: &'a str,
    pub content: &'a [u8],
}

/// The boundary and the body. The boundary is the hash of the file: what holds its own hash cannot be made.
pub(crate) fn form(fields: &[(String, String)], file: &FilePart<'_>) -> (String, Vec<u8>) {
    let mut hash = Sha256::new();
    fields.iter().for_each(|(name, value)| hash.update(format!("{name}\0{value}\0")));
    hash.update(file.content);
    let boundary: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut body = Vec::with_capacity(file.content.len() + 4096);
    for (name, value) in fields {
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", quoted(name));
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
        quoted(file.field),
        quoted(file.filename),
        file.content_type
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file.content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (boundary, body)
}

/// A name between quotes, as browsers write it.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn fields_and_file_stand_in_their_order_and_no_name_breaks_out() {
        let file = FilePart {
            field: "photo",
            filename: "a\"\r\nX: 1.png",
            content_type: "image/png",
            content: b"\0\r\n--",
        };
        let (boundary, body) = form(&[("chat_id".to_owned(), "-100".to_owned())], &file);

        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n-100\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a%22%0D%0AX: 1.png\"\r\n\
             Content-Type: image/png\r\n\r\n\0\r\n--\r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn the_boundary_depends_on_what_it_bounds() {
        let boundary = |content: &[u8]| {
            form(&[], &FilePart { field: "f", filename: "f", content_type: "a/b", content }).0
        };

        let first = boundary(b"x");
        assert_ne!(first, boundary(b"y"));
        assert_ne!(first, boundary(first.as_bytes()));
    }
}
