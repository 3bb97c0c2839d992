//! The `email` step: a mail whose every part may hold expressions. What a mail must look like is `mail`'s to say.

use crate::job::JobError;
use crate::mail::{self, Mail};
use crate::scope::Scope;
use crate::template::Template;

/// The `email` of a step: an object, or one expression that gives one.
#[derive(Clone, Debug)]
pub struct EmailStep(pub Template);

impl EmailStep {
    /// The mail to send, or every mistake in it.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Mail, JobError> {
        let rendered = self.0.render(scope)?;
        mail::read(&rendered).map_err(|problems| {
            let first =
                problems.iter().next().map_or_else(String::new, |(at, what)| format!(": {at} {what}"));
            let mut error =
                JobError::new("invalid_email", format!("this is no mail that can be sent{first}"));
            error.fields = Some(problems);
            error
        })
    }
}
