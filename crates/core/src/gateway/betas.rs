//! Anthropic's experiments, switched on by the header `anthropic-beta`. Only those that leave the bound what it is: one that
//! widens the window, or lets thoughts go beyond the limit on the answer, does not.

use super::Refused;
use super::fields::refused;

/// Without their dates.
pub const ALLOWED_BETAS: [&str; 9] = [
    "computer-use",
    "effort",
    "extended-cache-ttl",
    "fine-grained-tool-streaming",
    "output-128k",
    "pdfs",
    "prompt-caching",
    "structured-outputs",
    "token-efficient-tools",
];

/// Checks the header's value: names with commas between.
pub fn vet_betas(value: &str) -> Result<(), Refused> {
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let known = name.rsplitn(4, '-').last().unwrap_or(name);
        let is_dated = name.len() == known.len() + "-2025-01-01".len();
        if !is_dated || !ALLOWED_BETAS.contains(&known) {
            let shown: String = name.chars().take(60).collect();
            let allowed = ALLOWED_BETAS.join(", ");
            let message = format!(
                "anthropic-beta: {shown:?} may change what a call costs at most; allowed, with their dates: {allowed}"
            );
            return Err(refused("anthropic-beta", message));
        }
    }
    Ok(())
}
