//! One model's price: components by unit, lane and length of the input. A value; changing a price makes another one.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::amount::Rate;
use super::unit::{Tier, Unit, words};

words! {
    /// What the model is called for.
    Mode {
        Chat = "chat",
        /// Reached by the Responses API alone.
        Responses = "responses",
        Embedding = "embedding",
    }
}

words! {
    /// Whether it may be called.
    Status {
        Priced = "priced",
        /// Costs nothing because somebody said so, not because a number is missing.
        Free = "free",
        /// Known, but not what it costs: refused.
        Unpriced = "unpriced",
    }
}

/// What one unit costs where the input is larger than `above_input_tokens` (0: from the first token on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub unit: Unit,
    pub tier: Tier,
    pub above_input_tokens: u64,
    pub rate: Rate,
}

/// All that is known about what a model costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub provider: String,
    pub model: String,
    pub mode: Mode,
    pub status: Status,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    /// How many tokens one byte of text can become, in millionths. A million is true of byte-level encodings; one that
    /// rewrites text before it cuts it needs more.
    pub tokens_per_byte_ppm: u64,
    /// On token rates, in millionths, for requests pinned to a region.
    pub region_ppm: Option<u64>,
    /// The same for the fast mode.
    pub fast_ppm: Option<u64>,
    /// Invariant: at most one for each unit, lane and step.
    pub components: Vec<Component>,
    pub notes: String,
    /// The page that it was read from.
    pub source: String,
    /// The day it was read, as written in the list.
    pub retrieved: String,
}

impl Price {
    /// A name for exactly this content: rows that say the same have the same id, in every list and on every node.
    pub fn id(&self) -> String {
        let text = serde_json::to_vec(self).expect("a price is strings and integers");
        Sha256::digest(&text)[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `provider/model`, as workflows write it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    pub fn is_free(&self) -> bool {
        self.status == Status::Free
    }

    pub fn has_tier(&self, tier: Tier) -> bool {
        self.is_free() || self.components.iter().any(|it| it.tier == tier && it.unit == Unit::Input)
    }

    /// What one costs in a call with so much input: of the steps that it passed, the last.
    pub fn rate(&self, unit: Unit, tier: Tier, input_tokens: u64) -> Option<Rate> {
        self.reached(unit, tier, input_tokens).max_by_key(|it| it.above_input_tokens).map(|it| it.rate)
    }

    /// The most that one can cost in a call with up to so much input: of the steps in reach, the dearest.
    pub fn dearest(&self, unit: Unit, tier: Tier, input_tokens: u64) -> Option<Rate> {
        self.reached(unit, tier, input_tokens).map(|it| it.rate).max()
    }

    fn reached(&self, unit: Unit, tier: Tier, input_tokens: u64) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(move |it| {
            let has_step = it.above_input_tokens == 0 || input_tokens > it.above_input_tokens;
            it.unit == unit && it.tier == tier && has_step
        })
    }
}
