//! Stored connections: what they may be called, and the record that their credentials are sealed for.

pub const MAX_NAME_CHARS: usize = 64;

/// The rule for names, as messages tell it.
pub const NAME_RULE: &str =
    "a name of 1 to 64 characters of a-z, A-Z, 0-9, `_`, `-` and `.`, beginning with a letter or digit";

/// Whether a connection may have this name: one segment of a path, as it is.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    text.len() <= MAX_NAME_CHARS
        && text.bytes().all(fits)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// What is sealed for this record opens for no other. Neither part can hold the line break between them.
pub fn record(connector: &str, name: &str) -> String {
    format!("connection\n{connector}\n{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for name in ["a", "team-slack", "Bot_1.prod", "7", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "-a", "a b", "a/b", "a\n", "ä", "a%2F", "a\0", &"x".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
