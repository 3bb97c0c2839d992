//! Which model a name means: `provider/name`, or the bare name where only one provider has it.

/// How many candidates an error names.
const MAX_NAMED: usize = 8;
const MAX_SHOWN_CHARS: usize = 120;

/// A provider and its own name for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub provider: String,
    pub model: String,
}

/// A name that means none, or several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownModel {
    #[error("model {0:?} is not known; write provider/name, GET /v1/models lists what there is")]
    None(String),
    #[error("model {name:?} is had by several providers; write one of {}", among.join(", "))]
    Several { name: String, among: Vec<String> },
}

/// Looks up what a caller wrote. `providers` are those that can be called, `models` what they have. A name with such a provider
/// in front is taken at its word: whether it has a price is asked later, and answered by name.
pub fn find_model<'a>(
    providers: &[&str],
    models: impl Iterator<Item = (&'a str, &'a str)>,
    name: &str,
) -> Result<Found, UnknownModel> {
    if let Some(found) = with_provider(providers, name) {
        return Ok(found);
    }
    let found = models.filter(|(_, model)| *model == name);
    let mut among: Vec<String> = found.map(|(provider, _)| provider.to_owned()).collect();
    match among.len() {
        1 => Ok(Found { provider: among.remove(0), model: name.to_owned() }),
        0 => Err(UnknownModel::None(name.chars().take(MAX_SHOWN_CHARS).collect())),
        _ => {
            among.truncate(MAX_NAMED);
            among.iter_mut().for_each(|provider| *provider = format!("{provider}/{name}"));
            Err(UnknownModel::Several { name: name.to_owned(), among })
        }
    }
}

/// `provider/name`, of a provider that can be called.
pub fn with_provider(providers: &[&str], name: &str) -> Option<Found> {
    let (provider, model) = name.split_once('/')?;
    let is_known = providers.contains(&provider) && !model.is_empty();
    is_known.then(|| Found { provider: provider.to_owned(), model: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [(&str, &str); 4] =
        [("openai", "gpt-6-sol"), ("groq", "openai/gpt-oss-20b"), ("groq", "llama"), ("own", "llama")];

    fn find(providers: &[&str], name: &str) -> Result<(String, String), String> {
        let models = MODELS.into_iter().filter(|(provider, _)| providers.contains(provider));
        let found = find_model(providers, models, name).map_err(|problem| problem.to_string())?;
        Ok((found.provider, found.model))
    }

    #[test]
    fn a_name_with_its_provider_is_taken_at_its_word_and_a_bare_one_is_looked_up() {
        let found = |provider: &str, model: &str| Ok((provider.to_owned(), model.to_owned()));

        assert_eq!(find(&["openai"], "openai/gpt-6-sol"), found("openai", "gpt-6-sol"));
        assert_eq!(find(&["openai"], "openai/not-listed"), found("openai", "not-listed"));
        assert_eq!(find(&["openai", "groq"], "gpt-6-sol"), found("openai", "gpt-6-sol"));
        assert_eq!(find(&["groq"], "groq/openai/gpt-oss-20b"), found("groq", "openai/gpt-oss-20b"));
        // The first part is no provider that can be called: the whole is a name.
        assert_eq!(find(&["groq"], "openai/gpt-oss-20b"), found("groq", "openai/gpt-oss-20b"));
        for name in ["gpt-6-sol", "", "openai/", "/", "anthropic/claude-sonnet-5"] {
            assert!(find(&["groq"], name).is_err_and(|text| text.contains("is not known")), "{name}");
        }
    }

    #[test]
    fn a_name_that_several_have_is_refused_with_their_names() {
        let problem = "model \"llama\" is had by several providers; write one of groq/llama, own/llama";

        assert_eq!(find(&["groq", "own"], "llama"), Err(problem.to_owned()));
        assert!(find(&["own"], "llama").is_ok(), "the other cannot be called");
    }
}
