//! How many tokens an image can be. Its size is not known here: an address leads to it, or it is packed.

/// The smallest pictures of all vendors (`detail: low`): the largest is one of OpenAI's small models, with 2,833.
const LOW: u64 = 3_000;
/// Whatever a vendor scales an image to: 12 megapixels at OpenAI's newest models are 14,364, at Anthropic's 4,800.
const USUAL: u64 = 16_384;
/// A small model of OpenAI's counts 33 times as much as its large sisters (48,169), and `detail: original` scales nothing
/// down.
const MOST: u64 = 49_152;

/// A bound on the tokens of one image.
pub fn image_tokens(model: &str, detail: Option<&str>) -> u64 {
    match detail {
        Some("low") => LOW,
        Some("original") => MOST,
        _ if model.contains("4o-mini") => MOST,
        _ => USUAL,
    }
}
