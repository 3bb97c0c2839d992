//! What is counted, and in which lane of a provider it was served. The words are those of price lists and of the tables.

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == text)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// One kind of thing that a provider charges for. The token classes are disjoint.
    Unit {
        Input = "input",
        CachedRead = "cached_read",
        CacheWriteShort = "cache_write_short",
        CacheWriteLong = "cache_write_long",
        Output = "output",
        /// Output tokens that were thought, not said.
        Reasoning = "reasoning",
        AudioIn = "audio_in",
        AudioOut = "audio_out",
        ImageIn = "image_in",
        WebSearch = "web_search",
        /// Each physical request.
        Request = "request",
    }
}

impl Unit {
    /// Multipliers for regions and speed are on tokens; what is charged for each use is not multiplied.
    pub fn is_token(self) -> bool {
        !matches!(self, Unit::WebSearch | Unit::Request)
    }
}

words! {
    /// A provider's lane. Requests pin it, so that nobody but us chooses it.
    Tier {
        Standard = "standard",
        Batch = "batch",
        Flex = "flex",
        Priority = "priority",
    }
}
