//! What parts of a body add to its bound: images, documents, sounds, tools, searches, caches.

use super::Refused;
use super::fields::{Fields, refused};
use crate::money::{Shape, WHOLE_WINDOW_TOKENS, image_tokens};

/// What is read as one image, and held as one.
pub(super) const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// More messages than a conversation has.
const MAX_MESSAGES: u64 = 20_000;

#[derive(Debug, Default)]
pub(super) struct Measure {
    /// Bytes of the body that are data of attachments: counted as such, not as text.
    encoded_bytes: u64,
    attachment_tokens: u64,
    frames: u64,
    pub has_images: bool,
    pub has_audio: bool,
    pub asks_audio: bool,
    pub structured: bool,
    pub searches: u64,
    pub long_cache: bool,
    pub choices: u64,
}

impl Measure {
    /// A message, a tool: something that a provider puts a frame around.
    pub fn frame(&mut self, at: &str) -> Result<(), Refused> {
        self.frames += 1;
        if self.frames > MAX_MESSAGES {
            return Err(refused(at, format!("{at}: there may be {MAX_MESSAGES} messages and tools at most")));
        }
        Ok(())
    }

    /// An image, whose data (if it stands in the body) has so many bytes there.
    pub fn image(&mut self, model: &str, detail: Option<&str>, encoded_bytes: usize) {
        self.has_images = true;
        self.encoded_bytes += encoded_bytes as u64;
        self.add(image_tokens(model, detail));
    }

    /// A document whose text nobody here can see: a small file may hold any amount of it.
    pub fn opaque(&mut self, encoded_bytes: usize) {
        self.encoded_bytes += encoded_bytes as u64;
        self.add(WHOLE_WINDOW_TOKENS);
        // Pages are read as images too.
        self.has_images = true;
    }

    /// Sound, whose length is what its header says.
    pub fn sound(&mut self, encoded_bytes: usize) {
        self.encoded_bytes += encoded_bytes as u64;
        self.add(WHOLE_WINDOW_TOKENS);
        self.has_audio = true;
    }

    /// Words of the provider's own.
    pub fn add(&mut self, tokens: u64) {
        self.attachment_tokens = self.attachment_tokens.saturating_add(tokens);
    }

    /// `cache_control` of Anthropic's kind, if it is there.
    pub fn cache_control(&mut self, fields: &Fields<'_>) -> Result<(), Refused> {
        let Some(control) = fields.object("cache_control")? else { return Ok(()) };
        control.only(&["type", "ttl"])?;
        control.word("type", &["ephemeral"])?;
        self.long_cache |= control.word("ttl", &["5m", "1h"])?.is_some_and(|ttl| ttl == "1h");
        Ok(())
    }

    pub fn shape(&self, body_bytes: usize) -> Shape {
        Shape {
            text_bytes: (body_bytes as u64).saturating_sub(self.encoded_bytes),
            messages: self.frames,
            attachment_tokens: self.attachment_tokens,
            has_images: self.has_images,
            has_audio: self.has_audio,
            structured: self.structured,
            choices: self.choices.max(1),
            searches: self.searches,
            asks_audio: self.asks_audio,
        }
    }
}

/// The bytes that the data of a `data:` address takes in the body; 0 for an address elsewhere. Only images, only over HTTP.
pub(super) fn image_address(fields: &Fields<'_>, name: &str) -> Result<usize, Refused> {
    let url = fields.required(name)?;
    let lower: String = url.chars().take(32).collect::<String>().to_ascii_lowercase();
    if IMAGES.iter().any(|image| lower.starts_with(&format!("data:{image};base64,"))) {
        return Ok(fields.raw(name).map_or(0, str::len));
    }
    if lower.starts_with("https://") || lower.starts_with("http://") {
        return Ok(0);
    }
    Err(fields.wrong(
        name,
        "an address that begins with https:// or http://, or data:image/png;base64, (also jpeg, gif, webp)",
    ))
}
