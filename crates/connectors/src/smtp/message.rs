//! A mail as SMTP carries it: RFC 5322 with MIME, made by lettre. No text of a caller is put into a header by hand.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use levqor_core::mail::Mail;
use sha2::{Digest, Sha256};

use super::NAME;
use crate::email::Failure;

/// The message and its id. The id is a hash of the key: whoever knows a job's id may read its status, and mails go to
/// strangers.
pub(super) fn build(
    from: &str,
    mail: &Mail,
    key: &str,
    domain: &str,
    now_ms: i64,
) -> Result<(Message, String), Failure> {
    let mut id = String::from("<");
    for byte in &Sha256::digest(key.as_bytes())[..16] {
        let _ = write!(id, "{byte:02x}");
    }
    let _ = write!(id, "@{domain}>");
    let since_epoch = Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
    let mut builder = Message::builder()
        .from(mailbox(from)?)
        .subject(mail.subject.as_str())
        .date(UNIX_EPOCH + since_epoch)
        .message_id(Some(id.clone()));
    for address in &mail.reply_to {
        builder = builder.reply_to(mailbox(address)?);
    }
    for (kind, address) in mail.recipients() {
        let one = mailbox(address)?;
        builder = match kind {
            "to" => builder.to(one),
            "cc" => builder.cc(one),
            // lettre takes it into the envelope and out of the head.
            _ => builder.bcc(one),
        };
    }
    let built = match (mail.text.clone(), mail.html.clone()) {
        (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
        (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default())),
    };
    let message = built.map_err(|_| refused("these parts make no mail"))?;
    Ok((message, id))
}

fn mailbox(address: &str) -> Result<Mailbox, Failure> {
    let parsed: Address = address.parse().map_err(|_| refused("an address cannot be written in a mail"))?;
    Ok(Mailbox::new(None, parsed))
}

fn refused(word: &str) -> Failure {
    Failure::Refused { provider: NAME, word: Some(word.to_owned()) }
}
