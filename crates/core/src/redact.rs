//! Personal data and secrets out of what is sent, and back into what is answered.
//!
//! What is found becomes a placeholder such as `[EMAIL_1]`, the same one each time; a [`Vault`] knows what stands behind it
//! and lives as long as the conversation of a step. Everything here takes time linear in the text.
//!
//! Invariant: `restore(redact(text)) == text` for every text: what looks like a placeholder already is replaced itself.

mod find;

use std::collections::HashMap;

pub use find::Kind;

/// Which kinds are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    pub const NONE: Kinds = Kinds(0);
    pub const ALL: Kinds = Kinds(0b1_1111);
    /// As they are written in definitions.
    pub const NAMES: [&'static str; 5] = ["emails", "phones", "ibans", "cards", "secrets"];

    pub fn named(name: &str) -> Option<Kinds> {
        Kinds::NAMES.iter().position(|known| *known == name).map(|place| Kinds(1 << place))
    }

    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0 || kind == Kind::Text && !self.is_none()
    }
}

/// What stands behind the placeholders of one conversation. Never written anywhere: it is made again from the same texts.
#[derive(Default)]
pub struct Vault {
    by_original: HashMap<String, String>,
    by_placeholder: HashMap<String, String>,
    counts: [usize; 6],
}

impl Vault {
    /// The text with placeholders.
    pub fn redact(&mut self, text: &str, kinds: Kinds) -> String {
        if kinds.is_none() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = 0;
        for found in find::all(text, |kind| kinds.has(kind)) {
            out.push_str(&text[rest..found.start]);
            out.push_str(self.placeholder(&text[found.start..found.end], found.kind));
            rest = found.end;
        }
        out.push_str(&text[rest..]);
        out
    }

    fn placeholder(&mut self, original: &str, kind: Kind) -> &str {
        if !self.by_original.contains_key(original) {
            let count = &mut self.counts[kind as usize];
            *count += 1;
            let placeholder = format!("[{}_{count}]", kind.label());
            self.by_placeholder.insert(placeholder.clone(), original.to_owned());
            self.by_original.insert(original.to_owned(), placeholder);
        }
        &self.by_original[original]
    }

    /// The text with what stood behind its placeholders. Unknown ones stay.
    pub fn restore(&self, text: &str) -> String {
        self.restored(text, |out, original| out.push_str(original))
    }

    /// The same inside JSON: what is put back is escaped as a JSON text is.
    pub fn restore_json(&self, raw: &str) -> String {
        self.restored(raw, |out, original| {
            let quoted = crate::json::quote(original);
            out.push_str(&quoted[1..quoted.len() - 1]);
        })
    }

    fn restored(&self, text: &str, put: impl Fn(&mut String, &str)) -> String {
        if self.by_placeholder.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = 0;
        while let Some(at) = text[rest..].find('[').map(|at| rest + at) {
            out.push_str(&text[rest..at]);
            let known = find::placeholder_end(text.as_bytes(), at)
                .and_then(|end| Some((end, self.by_placeholder.get(&text[at..end])?)));
            rest = match known {
                Some((end, original)) => {
                    put(&mut out, original);
                    end
                }
                None => {
                    out.push('[');
                    at + 1
                }
            };
        }
        out.push_str(&text[rest..]);
        out
    }

    /// How many things were replaced.
    pub fn len(&self) -> usize {
        self.by_placeholder.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_placeholder.is_empty()
    }
}

#[cfg(test)]
mod tests;
