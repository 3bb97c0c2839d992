//! Finding what is personal or secret in a text. One pass; each look ahead is bounded, or eats what it looked at.

/// What was found. The first five may be asked for; `Text` is what looks like a placeholder of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Email,
    Phone,
    Iban,
    Card,
    Secret,
    Text,
}

impl Kind {
    pub(super) fn label(self) -> &'static str {
        match self {
            Kind::Email => "EMAIL",
            Kind::Phone => "PHONE",
            Kind::Iban => "IBAN",
            Kind::Card => "CARD",
            Kind::Secret => "SECRET",
            Kind::Text => "TEXT",
        }
    }
}

/// A piece of the text, in bytes.
pub(super) struct Found {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

type Finder = fn(&[u8], usize, &Ends) -> Option<usize>;

/// Sharpest first: what a finder takes the later ones do not see.
const FINDERS: [(Kind, Finder); 6] = [
    (Kind::Text, |text, at, _| placeholder_end(text, at)),
    (Kind::Secret, secret),
    (Kind::Iban, |text, at, _| iban(text, at)),
    (Kind::Card, |text, at, _| card(text, at)),
    (Kind::Email, |text, at, _| email(text, at)),
    (Kind::Phone, |text, at, _| phone(text, at)),
];

/// Where the last end of a private key stands, so that a beginning without an end is not looked for again and again.
pub(super) struct Ends {
    last_key_end: Option<usize>,
}

const KEY_END: &str = "-----END";

pub(super) fn all(text: &str, wanted: impl Fn(Kind) -> bool) -> Vec<Found> {
    let bytes = text.as_bytes();
    let ends = Ends { last_key_end: text.rfind(KEY_END) };
    let finders: Vec<&(Kind, Finder)> = FINDERS.iter().filter(|(kind, _)| wanted(*kind)).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hit = finders.iter().find_map(|(kind, find)| Some((*kind, find(bytes, at, &ends)?)));
        match hit {
            Some((kind, end)) => {
                found.push(Found { start: at, end, kind });
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// Nothing that belongs to a word stands before `at`.
fn begins(text: &[u8], at: usize) -> bool {
    at == 0 || !text[at - 1].is_ascii_alphanumeric()
}

fn ends(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// How many bytes from `at` are of a kind, `most` at most.
fn run(text: &[u8], at: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
    text[at.min(text.len())..].iter().take(most).take_while(|byte| is(**byte)).count()
}

/// `[EMAIL_1]` and its like.
pub(super) fn placeholder_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'[') {
        return None;
    }
    let letters = run(text, at + 1, 6, |byte| byte.is_ascii_uppercase());
    let label = &text[at + 1..at + 1 + letters];
    let is_ours = [Kind::Email, Kind::Phone, Kind::Iban, Kind::Card, Kind::Secret, Kind::Text]
        .iter()
        .any(|kind| kind.label().as_bytes() == label);
    let line = at + 1 + letters;
    if !is_ours || text.get(line) != Some(&b'_') {
        return None;
    }
    let digits = run(text, line + 1, 9, |byte| byte.is_ascii_digit());
    let end = line + 1 + digits;
    (digits > 0 && text.get(end) == Some(&b']')).then_some(end + 1)
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

fn email(text: &[u8], at: usize) -> Option<usize> {
    if !text[at].is_ascii_alphanumeric() || at > 0 && is_local(text[at - 1]) {
        return None;
    }
    let local = run(text, at, 65, is_local);
    if local > 64 || text.get(at + local) != Some(&b'@') {
        return None;
    }
    let from = at + local + 1;
    let mut length = run(text, from, 254, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    while length > 0 && !text[from + length - 1].is_ascii_alphanumeric() {
        length -= 1;
    }
    let domain = &text[from..from + length];
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let top = &domain[dot + 1..];
    (dot > 0 && top.len() >= 2 && top.iter().any(u8::is_ascii_alphabetic)).then_some(from + length)
}

/// Digits with single separators between them, from `at`: the digits, and the end behind each.
fn digits(text: &[u8], at: usize, most: usize, is_between: impl Fn(u8) -> bool) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    let mut at = at;
    while let Some(byte) = text.get(at) {
        if byte.is_ascii_digit() {
            found.push((byte - b'0', at + 1));
            if found.len() > most {
                break;
            }
        } else if !(is_between(*byte) && text.get(at + 1).is_some_and(u8::is_ascii_digit)) {
            break;
        }
        at += 1;
    }
    found
}

/// 13 to 19 digits of an issuer, in groups or not, whose last one is right (Luhn).
fn card(text: &[u8], at: usize) -> Option<usize> {
    if !matches!(text[at], b'2'..=b'6') || !begins(text, at) {
        return None;
    }
    let found = digits(text, at, 19, |byte| matches!(byte, b' ' | b'-'));
    let end = found.last()?.1;
    ((13..=19).contains(&found.len()) && ends(text, end) && luhn(&found)).then_some(end)
}

fn luhn(digits: &[(u8, usize)]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, (digit, _))| match (place % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Two letters, two digits and 11 to 30 more, in groups of four or not, whose remainder by 97 is 1.
fn iban(text: &[u8], at: usize) -> Option<usize> {
    let head = text.get(at..at + 4)?;
    let is_head = head[..2].iter().all(u8::is_ascii_uppercase) && head[2..].iter().all(u8::is_ascii_digit);
    if !is_head || !begins(text, at) {
        return None;
    }
    let mut characters = Vec::new();
    let mut end = at;
    let mut next = at;
    // What is right longest is taken: in groups, a word that follows looks like another group.
    let mut right = None;
    while let Some(byte) = text.get(next) {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' => {
                characters.push(*byte);
                end = next + 1;
                if characters.len() > 34 {
                    break;
                }
                if characters.len() >= 15 && ends(text, end) && is_iban(&characters) {
                    right = Some(end);
                }
            }
            b' ' if next == end && characters.len().is_multiple_of(4) => {}
            _ => break,
        }
        next += 1;
    }
    right
}

fn is_iban(characters: &[u8]) -> bool {
    let turned = characters[4..].iter().chain(&characters[..4]);
    let rest = turned.fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    rest == 1
}

/// International numbers, and national ones that are written in groups. A bare row of digits may be anything.
fn phone(text: &[u8], at: usize) -> Option<usize> {
    if at > 0
        && (text[at - 1].is_ascii_alphanumeric() || matches!(text[at - 1], b'+' | b'.' | b'-' | b'/' | b'_'))
    {
        return None;
    }
    let international = text[at] == b'+' || text[at..].starts_with(b"00") && text.get(at + 2) != Some(&b'0');
    let bracket = text[at] == b'(';
    if !international && !bracket && !text[at].is_ascii_digit() {
        return None;
    }
    let (mut count, mut next, mut end) = (0, at + usize::from(text[at] == b'+'), at);
    let mut groups: Vec<usize> = Vec::new();
    let mut in_group = false;
    while let Some(byte) = text.get(next) {
        match byte {
            b'0'..=b'9' => {
                count += 1;
                match groups.last_mut().filter(|_| in_group) {
                    Some(group) => *group += 1,
                    None => groups.push(1),
                }
                in_group = true;
                end = next + 1;
                if count > 15 {
                    return None;
                }
            }
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' => {
                // Two separators at most: `) ` and the like.
                if next - end >= 2 && count > 0 {
                    break;
                }
                in_group = false;
            }
            _ => break,
        }
        next += 1;
    }
    let begins_national = text[at] == b'0' || bracket;
    let national = groups.len() >= 2 && (9..=12).contains(&count) && begins_national || groups == [3, 3, 4];
    let fits = if international { (8..=15).contains(&count) } else { national };
    (fits && ends(text, end)).then_some(end)
}

/// How keys begin, and how many characters of a key must follow.
const KEYS: [(&str, usize); 26] = [
    ("sk-", 16),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("rk_live_", 10),
    ("rk_test_", 10),
    ("whsec_", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("re_", 20),
    ("hf_", 20),
    ("npm_", 30),
    ("gsk_", 20),
];

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn secret(text: &[u8], at: usize, ends: &Ends) -> Option<usize> {
    if !begins(text, at) {
        return None;
    }
    let rest = &text[at..];
    match rest[0] {
        b'-' => private_key(text, at, ends),
        b'e' if rest.starts_with(b"eyJ") => token(text, at),
        b'B' | b'b' if rest.len() > 7 && rest[..7].eq_ignore_ascii_case(b"bearer ") => {
            let length =
                run(text, at + 7, 4096, |byte| is_key(byte) || matches!(byte, b'.' | b'+' | b'/' | b'='));
            (length >= 20).then_some(at + 7 + length)
        }
        _ => {
            let (begin, least) = KEYS.iter().find(|(begin, _)| rest.starts_with(begin.as_bytes()))?;
            let length = run(text, at + begin.len(), 4096, is_key);
            (length >= *least).then_some(at + begin.len() + length)
        }
    }
}

/// Three parts in base64url, the first of which begins as `{"` does.
fn token(text: &[u8], at: usize) -> Option<usize> {
    // One look for each run of such characters, so that this stays linear.
    if at > 0 && is_key(text[at - 1]) {
        return None;
    }
    let mut end = at + run(text, at, 1024, is_key);
    for _ in 0..2 {
        if text.get(end) != Some(&b'.') {
            return None;
        }
        let length = run(text, end + 1, 8192, is_key);
        if length < 4 {
            return None;
        }
        end += 1 + length;
    }
    Some(end)
}

fn private_key(text: &[u8], at: usize, ends: &Ends) -> Option<usize> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let rest = &text[at..];
    if !rest.starts_with(BEGIN) || ends.last_key_end.is_none_or(|last| last < at) {
        return None;
    }
    let title = run(text, at + BEGIN.len(), 40, |byte| byte.is_ascii_uppercase() || byte == b' ');
    if !rest[BEGIN.len()..BEGIN.len() + title].ends_with(b"PRIVATE KEY") {
        return None;
    }
    let end = at + rest.windows(KEY_END.len()).position(|window| window == KEY_END.as_bytes())?;
    let tail = run(text, end + KEY_END.len(), 60, |byte| byte.is_ascii_uppercase() || byte == b' ');
    let dashes = run(text, end + KEY_END.len() + tail, 5, |byte| byte == b'-');
    Some(end + KEY_END.len() + tail + dashes)
}
