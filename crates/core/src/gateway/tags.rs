//! Tags of a call, as a header: `team=a,env=prod`. The rules are those of a job's tags.

use super::Refused;
use super::fields::refused;
use crate::intake::{MAX_TAG_KEY_CHARS, MAX_TAG_VALUE_CHARS, MAX_TAGS};
use crate::job::Tags;

/// Reads the header's value.
pub fn parse_tags(text: &str) -> Result<Tags, Refused> {
    let mut tags = Tags::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        add(&mut tags, "x-levqor-tags", name.trim(), value.trim())?;
    }
    Ok(tags)
}

pub(super) fn add(tags: &mut Tags, at: &str, name: &str, value: &str) -> Result<(), Refused> {
    let is_fine = |text: &str, least: usize, most: usize| {
        (least..=most).contains(&text.chars().take(most + 1).count()) && !text.chars().any(char::is_control)
    };
    let wrong = |what: &str| Err(refused(at, format!("{at}: {what}")));
    if !is_fine(name, 1, MAX_TAG_KEY_CHARS) || !is_fine(value, 1, MAX_TAG_VALUE_CHARS) {
        return wrong(&format!(
            "a tag is name=value, with a name of 1 to {MAX_TAG_KEY_CHARS} characters and a value of 1 to {MAX_TAG_VALUE_CHARS}"
        ));
    }
    if tags.insert(name.to_owned(), value.to_owned()).is_some() {
        return wrong("a tag is there twice");
    }
    if tags.len() > MAX_TAGS {
        return wrong(&format!("there may be {MAX_TAGS} tags at most"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_or_refused() {
        let read = |text: &str| parse_tags(text).map(|tags| tags.into_iter().collect::<Vec<_>>());
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());

        assert_eq!(read(" team = a , env=x=y,"), Ok(vec![tag("env", "x=y"), tag("team", "a")]));
        assert_eq!(read(""), Ok(vec![]));
        let many: String = (0..40).map(|n| format!("t{n}=1,")).collect();
        for text in ["team", "=a", "team=", "a=1,a=2", &format!("{}=1", "x".repeat(65)), "a=\u{1}", &many] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
