#![allow(clippy::unwrap_used)]

use super::*;
use crate::workflow::{Definition, Problem, StepKind};

fn problems(ai: &str) -> Vec<String> {
    let source = format!("steps:\n  - id: a\n    ai: {{{ai}}}\n");
    match Definition::parse(&source, Some("w")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

fn step(ai: &str) -> std::sync::Arc<AiStep> {
    let source = format!("steps:\n  - id: a\n    ai: {{{ai}}}\n");
    let definition =
        Definition::parse(&source, Some("w")).unwrap_or_else(|problems| panic!("{ai}: {problems:?}"));
    assert_eq!(definition.steps[0].timeout_ms, DEFAULT_TIMEOUT_MS);
    match &definition.steps[0].kind {
        StepKind::Ai(step) => step.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_as_documented() {
    let step = step("model: openrouter/meta/llama-4, prompt: hi");

    assert_eq!((step.model.provider.as_str(), step.model.model.as_str()), ("openrouter", "meta/llama-4"));
    assert_eq!((step.repairs, step.max_turns, step.on_invalid), (2, 8, OnInvalid::Repair));
    assert_eq!(step.when_short, [WhenShort::Fail]);
    assert_eq!((step.max_tokens, step.cache_ms, step.max_input_bytes), (None, None, 256 * 1024));
    assert!(step.redact.is_none() && step.deny.is_empty() && step.tools.is_empty());
}

#[test]
fn conditions_of_fallbacks_and_policies_are_read() {
    let step = step(
        "model: p/m, prompt: hi, fallback: [{model: q/a}, {model: q/b, when: budget_short, max_tokens: 7}, \
         {model: q/c, when: [refused, {budget: team, below: 20%}, {budget: team, below: 1.5}, {input_over: 5000}, {priority: low}]}], redact: [emails, cards]",
    );

    assert_eq!(step.fallback[0].when, When::ALWAYS);
    assert_eq!(step.when_short, [WhenShort::Cheaper], "it is named, so it is meant");
    assert_eq!(step.candidate(2).unwrap().max_tokens, Some(7));
    let below = |left| Below { budget: "team".to_owned(), left };
    let share = below(Left::Share(200_000));
    let conditions = [
        Instead::Below(share.clone()),
        Instead::Below(below(Left::Amount(Nano::parse("1.5").unwrap()))),
        Instead::InputOver(5_000),
        Instead::Priority(Priority::Low),
    ];
    assert_eq!(step.fallback[2].when.instead, conditions);
    assert!(share.holds(Nano::new(100), Nano::new(19)) && !share.holds(Nano::new(100), Nano::new(20)));
    assert_eq!(step.next_candidate(0, |when| when.refused), Some(1));
    assert_eq!(step.next_candidate(1, |when| when.refused), Some(3));
    assert_eq!(step.next_candidate(3, |_| true), None);
}

#[test]
fn a_connection_is_meant_for_all_models_of_its_provider_unless_another_is_named() {
    let step = step(
        "model: openai/a, connection: team, prompt: hi, fallback: [{model: openai-responses/b}, \
         {model: openai/c, connection: other}, {model: groq/d}, {model: groq/e, connection: fast}]",
    );

    let named: Vec<_> = (0..5).map(|place| step.candidate(place).unwrap().connection).collect();
    assert_eq!(named, [Some("team"), Some("team"), Some("other"), None, Some("fast")]);
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_is_allowed() {
    let base = "model: p/m, prompt: hi";
    for name in ["\"{{ payload.key }}\"", "\"a b\"", "7"] {
        let told = problems(&format!("{base}, connection: {name}"));
        assert!(told[0].contains("/steps/0/ai/connection"), "{told:?}");
    }
    for (ai, words) in [
        ("prompt: hi".to_owned(), "`model` is missing"),
        ("model: gpt, prompt: hi".to_owned(), "such as openai/gpt-6-sol"),
        ("model: \"p/{{ payload.m }}\", prompt: hi".to_owned(), "must not choose what money is spent on"),
        ("model: p/m".to_owned(), "`prompt` is missing"),
        (format!("{base}, messages: [{{role: user, content: x}}]"), "only one of `prompt` and `messages`"),
        ("model: p/m, prompt: \"  \"".to_owned(), "must not be empty"),
        ("model: p/m, messages: []".to_owned(), "a list of {role, content}"),
        ("model: p/m, messages: [{role: system, content: x}]".to_owned(), "must be user or assistant"),
        ("model: p/m, messages: [{role: user}]".to_owned(), "`content` is missing"),
        ("model: p/m, messages: [{role: user, content: x, name: y}]".to_owned(), "a message has no `name`"),
        (format!("{base}, fallback: [{{model: q/a, when: {{input_over: 0}}}}]"), "a whole number from 1"),
        (format!("{base}, fallback: [{{model: q/a, when: {{priority: urgent}}}}]"), "low"),
        (
            format!("{base}, fallback: [{{model: q/a, when: {{priority: low, input_over: 9}}}}]"),
            "says one thing",
        ),
        (format!("{base}, top_p: 1"), "ai has no `top_p`; it has model, connection, prompt"),
        (format!("{base}, output: {{type: strin}}"), "not a JSON Schema"),
        (format!("{base}, output: {{$ref: \"http://x/y\"}}"), "not a JSON Schema"),
        (format!("{base}, max_tokens: 0"), "a whole number from 1 to 1000000"),
        (format!("{base}, max_tokens: \"{{{{ payload.n }}}}\""), "a whole number from 1 to 1000000"),
        (format!("{base}, temperature: 3"), "a number from 0 to 2"),
        (format!("{base}, on_invalid: repair"), "needs an `output`"),
        (format!("{base}, output: true, on_invalid: mend"), "one of fail, repair, retry, fallback, accept"),
        (
            format!("{base}, output: true, on_invalid: fallback"),
            "no `fallback` that may be asked for invalid_output",
        ),
        (
            format!("{base}, output: true, on_invalid: fail, repairs: 1"),
            "counts for `on_invalid` repair and retry only",
        ),
        (format!("{base}, output: true, repairs: 11"), "from 0 to 10"),
        (format!("{base}, fallback: []"), "a list of 1 to 8"),
        (format!("{base}, fallback: [{{when: refused}}]"), "`model` is missing"),
        (format!("{base}, fallback: [{{model: q/n, when: slow}}]"), "provider_error, budget_short"),
        (
            format!("{base}, fallback: [{{model: q/n, when: {{budget: team}}}}]"),
            "`below` must be a share such as 20%",
        ),
        (
            format!("{base}, fallback: [{{model: q/n, when: {{budget: team, below: 120%}}}}]"),
            "a share such as 20%",
        ),
        (
            format!("{base}, fallback: [{{model: q/n, when: {{budget: A B, below: 1%}}}}]"),
            "the id of a budget",
        ),
        (format!("{base}, when_short: later"), "wait, cheaper, smaller, fail"),
        (format!("{base}, when_short: [wait, wait]"), "twice"),
        (format!("{base}, when_short: cheaper"), "no `fallback` that may be asked for budget_short"),
        (
            format!("{base}, when_short: wait, fallback: [{{model: q/n, when: budget_short}}]"),
            "must hold cheaper",
        ),
        (format!("{base}, cache: 31d"), "must be 30d at most"),
        (format!("{base}, cache: 1h, tools: [{{workflow: x}}]"), "cannot be answered from a cache"),
        (format!("{base}, max_turns: 3"), "`max_turns` counts for `tools` only"),
        (format!("{base}, tools: [{{}}]"), "one of `connect` and `workflow`"),
        (format!("{base}, tools: [{{workflow: x, with: {{}}}}]"), "a tool has no `with`"),
        (format!("{base}, tools: [{{workflow: \"{{{{ payload.w }}}}\"}}]"), "it holds no template"),
        (format!("{base}, tools: [{{connect: slack.post_message}}]"), "`connection` is missing"),
        (format!("{base}, tools: [{{workflow: x}}, {{workflow: y, name: x}}]"), "another tool `x`"),
        (format!("{base}, tools: [{{workflow: x, name: a b}}]"), "characters of a-z"),
        (format!("{base}, redact: [names]"), "emails, phones, ibans, cards, secrets"),
        (format!("{base}, deny: []"), "a list of 1 to 200 texts"),
        (format!("{base}, max_input_bytes: 0"), "from 1 to 33554432"),
        (format!("{base}, system: \"{{{{ secrets.KEY }}}}\""), "secrets can be used in `http` only"),
        (format!("{base}, images: \"{{{{ steps.a.output }}}}\""), "cannot read its own output"),
        (format!("{base}, system: \"{{{{ payload. }}}}\""), "/steps/0/ai/system"),
    ] {
        let found = problems(&ai);
        assert!(found.iter().any(|problem| problem.contains(words)), "{ai}: {found:#?}");
        assert!(found.iter().all(|problem| problem.starts_with("line 3 column ")), "{ai}: {found:#?}");
    }
}

#[test]
fn every_definition_of_the_page_is_right() {
    let page = include_str!("../../../../../docs/ai-steps.md");
    let blocks: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();

    assert!(blocks.len() >= 4);
    for block in blocks {
        let result = Definition::parse(block, None);
        assert!(result.is_ok(), "{block}: {result:?}");
    }
}
