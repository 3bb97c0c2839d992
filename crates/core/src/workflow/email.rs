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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::scope::StepOutputs;
    use crate::workflow::{Definition, StepKind};

    fn problems(email: &str) -> Vec<String> {
        let source = format!("steps: [{{id: tell, email: {email}}}]");
        match Definition::parse(&source, Some("w")) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect()
            }
        }
    }

    fn rendered(email: &str, payload: &str) -> Result<Mail, JobError> {
        let source = format!("steps: [{{id: tell, email: {email}}}]");
        let definition = Definition::parse(&source, Some("w")).unwrap();
        let StepKind::Email(step) = &definition.steps[0].kind else { panic!("another kind") };
        let (steps, secrets) = (StepOutputs::new(), BTreeMap::new());
        let scope =
            Scope { payload, job: "{}", tags: "{}", steps: &steps, secrets: &secrets, monotonic_us: || 0 };
        step.render(&scope)
    }

    #[test]
    fn what_is_fixed_is_checked_when_the_definition_is_put() {
        for (email, path) in [
            ("7", "/steps/0/email"),
            ("text", "/steps/0/email"),
            ("{subject: s, text: t}", "/steps/0/email"),
            ("{to: null, subject: s, text: t}", "/steps/0/email"),
            ("{to: a@example.org}", "/steps/0/email"),
            ("{to: a@example.org, subject: s}", "/steps/0/email"),
            ("{to: nobody, subject: s, text: t}", "/steps/0/email/to"),
            ("{to: [a@example.org, nobody], subject: s, text: t}", "/steps/0/email/to/1"),
            ("{to: a@example.org, from: root, subject: s, text: t}", "/steps/0/email/from"),
            ("{to: a@example.org, subject: \"a\\nBcc: b\", text: t}", "/steps/0/email/subject"),
            ("{to: a@example.org, template: nope}", "/steps/0/email/template"),
            ("{to: a@example.org, template: test, values: {a: []}}", "/steps/0/email/values/a"),
            ("{to: a@example.org, subject: s, text: t, attachments: []}", "/steps/0/email/attachments"),
            ("{to: a@example.org, subject: s, text: '{{ secrets.X }}'}", "/steps/0/email/text"),
            ("{to: a@example.org, subject: s, text: '{{ steps.tell.output }}'}", "/steps/0/email/text"),
        ] {
            let found = problems(email);
            assert_eq!(found.len(), 1, "{email}: {found:#?}");
            assert!(found[0].starts_with(&format!("{path} ")), "{email}: {found:#?}");
        }
    }

    #[test]
    fn what_is_filled_in_is_checked_when_it_is_known() {
        assert_eq!(problems("'{{ payload }}'"), Vec::<String>::new());
        let email =
            "{to: '{{ payload.to }}', cc: '{{ payload?.cc }}', subject: 'Hi {{ payload.name }}', text: t}";

        let mail = rendered(email, r#"{"to":"a@example.org","name":"Ada"}"#).unwrap();
        let error = rendered(email, r#"{"to":["a@example.org","b"],"name":"x\r\ny"}"#).unwrap_err();
        let missing = rendered(email, r#"{"name":"Ada"}"#).unwrap_err();

        assert_eq!((mail.subject.as_str(), mail.cc.len()), ("Hi Ada", 0));
        assert_eq!(error.code, "invalid_email");
        assert_eq!(error.fields.unwrap().into_keys().collect::<Vec<_>>(), ["/subject", "/to/1"]);
        assert_eq!(missing.code, "template_failed");
    }
}
