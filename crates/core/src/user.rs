//! What may be kept about a person: a request body becomes an upsert or a patch, or one named violation; how meta is merged.
//!
//! The words of `Invalid::error` are the first version's, to the letter. Meta stays text: numbers come back as they were sent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::intake::{Invalid, shown, text};
use crate::json::{compact, decode, entries, members, push_quoted, text_from_body};
use crate::payment::meta_without_payments;

pub const MAX_EMAIL_CHARS: usize = 254;
pub const MAX_LOCAL_PART_CHARS: usize = 64;
pub const MAX_DOMAIN_LABEL_CHARS: usize = 63;
pub const MAX_NAME_CHARS: usize = 200;
pub const MAX_LOCALE_CHARS: usize = 35;
/// The largest meta, as compact UTF-8: of a request, and of what is stored after a merge.
pub const MAX_META_BYTES: usize = 16_384;
pub const CURRENCIES: [&str; 3] = ["GBP", "USD", "EUR"];

/// `error` of an upsert that breaks the rules.
pub const INVALID_USER: &str = "Invalid user payload";
/// `error` of a patch that breaks the rules.
pub const INVALID_PATCH: &str = "Invalid patch payload";
/// `error` of a body that cannot be read as JSON at all.
pub const INVALID_JSON: &str = "invalid JSON";

/// The whole of a person, as it will stand: what is left out is null, or the empty object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserUpsert {
    /// Normalised and checked.
    pub email: String,
    pub name: Option<String>,
    pub locale: Option<String>,
    pub currency: Option<&'static str>,
    /// A compact JSON object.
    pub meta: String,
}

/// What changes; `None` stays as it is. Nothing can be unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPatch {
    pub name: Option<String>,
    pub locale: Option<String>,
    pub currency: Option<&'static str>,
    /// A compact JSON object, to be merged into what is there.
    pub meta: Option<String>,
}

pub fn parse_upsert(body: &[u8]) -> Result<UserUpsert, Invalid> {
    let body = readable(body)?;
    let rules =
        Rules { error: INVALID_USER, members: "email, name, locale, currency, meta", has_email: true };
    let fields = rules.read(&body)?;
    Ok(UserUpsert {
        email: rules.email(fields.email)?,
        name: rules.text("name", fields.name, MAX_NAME_CHARS)?,
        locale: rules.text("locale", fields.locale, MAX_LOCALE_CHARS)?,
        currency: rules.currency(fields.currency)?,
        meta: rules.meta(fields.meta)?.unwrap_or_else(|| "{}".to_owned()),
    })
}

pub fn parse_patch(body: &[u8]) -> Result<UserPatch, Invalid> {
    let body = readable(body)?;
    let rules = Rules { error: INVALID_PATCH, members: "name, locale, currency, meta", has_email: false };
    let fields = rules.read(&body)?;
    Ok(UserPatch {
        name: rules.text("name", fields.name, MAX_NAME_CHARS)?,
        locale: rules.text("locale", fields.locale, MAX_LOCALE_CHARS)?,
        currency: rules.currency(fields.currency)?,
        meta: rules.meta(fields.meta)?,
    })
}

/// The body as compact JSON.
pub(crate) fn readable(body: &[u8]) -> Result<String, Invalid> {
    let unreadable = |problem: String| Invalid { error: INVALID_JSON.to_owned(), details: Some(problem) };
    let text = text_from_body(body).map_err(|problem| unreadable(problem.to_string()))?;
    compact(text).map_err(|problem| unreadable(problem.to_string()))
}

/// An e-mail address as it is stored and looked up.
pub fn normalize_email(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Why a text is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEmail {
    #[error("must have at most 254 characters")]
    TooLong,
    #[error("must be an e-mail address with exactly one @")]
    At,
    #[error(
        "must have 1 to 64 characters before the @, without blanks, control characters, quotes and brackets, and no dot at an end or beside another"
    )]
    LocalPart,
    #[error(
        "must have a domain of at least two parts after the @, of letters, digits and inner hyphens, 1 to 63 characters each"
    )]
    Domain,
}

/// Judges a normalised address: what mail systems take in practice, not all that RFC 5322 allows (no quotes, no comments, no
/// address literals). Letters of any script are fine.
pub fn check_email(email: &str) -> Result<(), BadEmail> {
    if email.chars().count() > MAX_EMAIL_CHARS {
        return Err(BadEmail::TooLong);
    }
    let (local, domain) = email.split_once('@').ok_or(BadEmail::At)?;
    if domain.contains('@') {
        return Err(BadEmail::At);
    }
    let fits = (1..=MAX_LOCAL_PART_CHARS).contains(&local.chars().count());
    if !fits || !local.chars().all(is_of_local_part) || local.split('.').any(str::is_empty) {
        return Err(BadEmail::LocalPart);
    }
    if !domain.contains('.') || !domain.split('.').all(is_domain_label) {
        return Err(BadEmail::Domain);
    }
    Ok(())
}

fn is_of_local_part(c: char) -> bool {
    match c {
        '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | ']' | '\\' => false,
        _ if c.is_ascii() => c.is_ascii_graphic(),
        _ => is_visible(c),
    }
}

fn is_domain_label(label: &str) -> bool {
    (1..=MAX_DOMAIN_LABEL_CHARS).contains(&label.chars().count())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && is_visible(c)))
}

/// Not blank, not a control or a format character: two addresses that look alike would be two people.
fn is_visible(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e0000}'..='\u{10ffff}');
    !c.is_whitespace() && !c.is_control() && !is_format
}

/// The merged meta is larger than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "meta: with what is stored it would have {bytes} bytes as compact JSON, at most {MAX_META_BYTES} are allowed"
)]
pub struct MetaTooLarge {
    pub bytes: usize,
}

/// Merges one level deep: members of `sent` replace those of `stored`, the others stay; a null stays null. What is larger
/// than allowed already (only the first version can have stored it) may still be made smaller.
pub fn merge_meta(stored: &str, sent: &str) -> Result<String, MetaTooLarge> {
    let mut merged: BTreeMap<Cow<str>, &str> = members(stored).unwrap_or_default().into_iter().collect();
    merged.extend(members(sent).unwrap_or_default());
    let mut out = String::with_capacity(stored.len() + sent.len());
    out.push('{');
    for (name, value) in &merged {
        if out.len() > 1 {
            out.push(',');
        }
        push_quoted(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    if out.len() > MAX_META_BYTES.max(stored.len()) {
        return Err(MetaTooLarge { bytes: out.len() });
    }
    Ok(out)
}

/// The raw values as they stand in the body.
#[derive(Default)]
struct Fields<'a> {
    email: Option<&'a str>,
    name: Option<&'a str>,
    locale: Option<&'a str>,
    currency: Option<&'a str>,
    meta: Option<&'a str>,
}

/// What the two kinds of body differ in.
struct Rules {
    error: &'static str,
    members: &'static str,
    has_email: bool,
}

impl Rules {
    fn refuse(&self, details: impl Into<String>) -> Invalid {
        Invalid { error: self.error.to_owned(), details: Some(details.into()) }
    }

    fn field(&self, name: &str, raw: &str, allowed: impl std::fmt::Display) -> Invalid {
        self.refuse(format!("{name}: {} is not allowed, it {allowed}", shown(raw)))
    }

    /// Of duplicate members the last one counts.
    fn read<'a>(&self, body: &'a str) -> Result<Fields<'a>, Invalid> {
        let Some(found) = entries(body) else {
            return Err(self.refuse(format!("the body must be an object, not {}", shown(body))));
        };
        let mut fields = Fields::default();
        for (raw_name, value) in found {
            let name = decode(raw_name).unwrap_or_default();
            let field = match name.as_ref() {
                "email" if self.has_email => &mut fields.email,
                "name" => &mut fields.name,
                "locale" => &mut fields.locale,
                "currency" => &mut fields.currency,
                "meta" => &mut fields.meta,
                _ => {
                    let (name, allowed) = (shown(raw_name), self.members);
                    return Err(self.refuse(format!("unknown member {name}, allowed are {allowed}")));
                }
            };
            *field = Some(value);
        }
        Ok(fields)
    }

    fn email(&self, raw: Option<&str>) -> Result<String, Invalid> {
        let raw = raw.ok_or_else(|| self.refuse("email is required: a string"))?;
        let sent = decode(raw).ok_or_else(|| self.field("email", raw, "must be a string"))?;
        let email = normalize_email(&sent);
        check_email(&email).map_err(|problem| self.field("email", raw, problem))?;
        Ok(email)
    }

    /// An empty text is fine, as it was in the first version.
    fn text(&self, name: &str, raw: Option<&str>, max_chars: usize) -> Result<Option<String>, Invalid> {
        let Some(raw) = raw else { return Ok(None) };
        let allowed = format!("must be a string of at most {max_chars} characters without NUL");
        let text = text(raw, 0, max_chars).ok_or_else(|| self.field(name, raw, allowed))?;
        Ok(Some(text.into_owned()))
    }

    fn currency(&self, raw: Option<&str>) -> Result<Option<&'static str>, Invalid> {
        let Some(raw) = raw else { return Ok(None) };
        let word = decode(raw);
        let known = CURRENCIES.into_iter().find(|known| word.as_deref() == Some(*known));
        known.map(Some).ok_or_else(|| self.field("currency", raw, "must be GBP, USD or EUR"))
    }

    fn meta(&self, raw: Option<&str>) -> Result<Option<String>, Invalid> {
        let Some(raw) = raw else { return Ok(None) };
        if !raw.starts_with('{') {
            return Err(self.field("meta", raw, "must be an object"));
        }
        // Whoever sends back what a read has shown must not write history by that.
        let meta = meta_without_payments(raw);
        if meta.len() > MAX_META_BYTES {
            let bytes = meta.len();
            let limit = format!("meta: {bytes} bytes as compact JSON, at most {MAX_META_BYTES} are allowed");
            return Err(self.refuse(limit));
        }
        Ok(Some(meta.into_owned()))
    }
}

#[cfg(test)]
mod tests;
