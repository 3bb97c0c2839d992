//! Answers that do not fit, providers that fail, and what each policy makes of them.

use levqor_core::state::State;
use levqor_mock_ai::{Fault, Script};
use serde_json::json;

use super::world::*;
use crate::support::*;

each_engine!(
    an_answer_that_fits_is_the_output_with_what_it_took,
    what_takes_no_guess_is_mended_for_free,
    an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong,
    each_policy_ends_as_it_says,
    what_was_cut_or_refused_is_not_paid_for_again,
    what_the_steps_own_limit_cut_is_asked_for_with_a_larger_one,
    a_long_input_or_a_priority_moves_the_step_to_another_model,
    a_provider_that_fails_hands_over_to_the_next_model,
    a_provider_that_recovers_is_asked_again_by_the_retry_of_the_step,
    a_retry_by_a_person_is_another_conversation,
    the_same_request_is_answered_from_the_store_for_nothing,
);

async fn an_answer_that_fits_is_the_output_with_what_it_took(database: Database) {
    let mock = mock().await;
    mock.queue_replies([says(GOOD)]);
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let row = run(&node, &formed("")).await;

    let output = output(&row);
    assert_eq!(output["answer"], json!({"label": "bug"}));
    let bill = mock.bill();
    let cost = levqor_core::money::Nano::new(i64::try_from(bill.total_nano).unwrap());
    assert_eq!(output["cost"], json!(cost.to_string()));
    assert_eq!(output["usage"]["input_tokens"], json!(bill.entries[0].tokens.input));
    assert_eq!(output["model"], "openai/gpt-6-sol");
    for (member, wanted) in [
        ("attempts", json!(1)),
        ("repaired", json!(false)),
        ("cached", json!(false)),
        ("valid", json!(true)),
        ("finish", json!("stop")),
    ] {
        assert_eq!(output[member], wanted, "{member}");
    }
    assert_eq!(kinds(&row), ["said openai/gpt-6-sol"]);
    bill_is_ledger(&mock, &database).await;
    let places = "select count(*) from ai_calls where step = 'a' and logical_call = 1 and attempt = 1 and workflow = 'w'";
    assert_eq!(database.number(places).await, 1);
}

async fn what_takes_no_guess_is_mended_for_free(database: Database) {
    let mock = mock().await;
    mock.queue_replies([says("Sure:\n```json\n{'label': 'bug',}\n```")]);
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let row = run(&node, &formed(", on_invalid: fail")).await;

    let output = output(&row);
    assert_eq!((&output["answer"], &output["repaired"]), (&json!({"label": "bug"}), &json!(true)));
    assert_eq!(mock.bill().calls, 1);
    bill_is_ledger(&mock, &database).await;
}

async fn an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong(database: Database) {
    let mock = mock().await;
    mock.queue_replies([says(r#"{"label":"other","x":1}"#), says(BAD), says(GOOD)]);
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let row = run(&node, &formed(", repairs: 3")).await;

    let output = output(&row);
    assert_eq!((&output["repaired"], &output["attempts"]), (&json!(true), &json!(3)));
    assert_eq!(kinds(&row), ["said openai/gpt-6-sol"; 3]);
    let first = row.steps.iter().find(|step| step.step == "a/1").unwrap();
    let evidence: serde_json::Value = serde_json::from_str(first.output.as_deref().unwrap()).unwrap();
    assert_eq!(evidence["text"], r#"{"label":"other","x":1}"#);
    assert!(evidence["problems"].as_array().unwrap().len() >= 2, "{evidence}");
    bill_is_ledger(&mock, &database).await;
}

async fn each_policy_ends_as_it_says(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let other = ", fallback: [{model: anthropic/mock-large, when: invalid_output}]";
    let own = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
        anthropic,mock-large,priced,3,15,4096\n";
    let book = node.store().import_prices(levqor_store::BookKind::Own, "t", own, by(), 1).await.unwrap();
    node.store().activate_prices(&book.id, by(), 2).await.unwrap();

    for (policy, replies, calls, ends) in [
        (", on_invalid: fail".to_owned(), vec![BAD], 1, "ai_output_invalid"),
        (", on_invalid: repair, repairs: 1".to_owned(), vec![BAD, GOOD], 2, ""),
        (", on_invalid: repair, repairs: 5".to_owned(), vec![BAD, BAD, GOOD], 2, "ai_output_invalid"),
        (", on_invalid: retry, repairs: 2".to_owned(), vec![BAD, BAD, GOOD], 3, ""),
        (", on_invalid: retry, repairs: 1".to_owned(), vec![BAD, BAD], 2, "ai_output_invalid"),
        (format!(", on_invalid: fallback{other}"), vec![BAD, GOOD], 2, ""),
        (", on_invalid: accept".to_owned(), vec![BAD], 1, ""),
        (", on_invalid: accept".to_owned(), vec!["no JSON at all"], 1, ""),
    ] {
        let before = mock.bill().calls;
        mock.queue_replies(replies.iter().map(|text| says(text)));
        let row = run(&node, &formed(&policy)).await;
        assert_eq!((code(&row), mock.bill().calls - before), (ends, calls), "{policy}: {row:?}");
        if policy.contains("accept") {
            let output = output(&row);
            assert_eq!(output["valid"], json!(false));
            assert!(!output["problems"].as_object().unwrap().is_empty());
        }
        if ends == "ai_output_invalid" {
            assert!(row.error.unwrap().fields.unwrap().contains_key("/label"));
        }
        while mock.bill().calls - before < replies.len() as u64 {
            // What was laid ready and not asked for must not answer the next.
            let left = replies.len() as u64 - (mock.bill().calls - before);
            for _ in 0..left {
                run(&node, &one("")).await;
            }
        }
    }
    bill_is_ledger(&mock, &database).await;
}

async fn what_was_cut_or_refused_is_not_paid_for_again(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let cut = Script { output_tokens: Some(100_000), ..says("{\"label\": \"bu") };
    let refusal = Script { finish: Some("content_filter".to_owned()), ..says("I cannot") };
    for (reply, expected, more) in
        [(cut, "ai_answer_cut", ", on_invalid: fail"), (refusal, "ai_refused", ", repairs: 5")]
    {
        let before = mock.bill().calls;
        mock.queue_replies([reply]);
        let row = run(&node, &formed(more)).await;

        assert_eq!((code(&row), mock.bill().calls - before), (expected, 1), "{row:?}");
    }
    let text = Script { output_tokens: Some(100_000), ..says("and so on and so on") };
    mock.queue_replies([text]);
    let output = output(&run(&node, &one("")).await);
    assert_eq!(output["finish"], "length", "a text may be cut, and says so");
    bill_is_ledger(&mock, &database).await;
}

async fn what_the_steps_own_limit_cut_is_asked_for_with_a_larger_one(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let cut = || Script { output_tokens: Some(100_000), ..says("{\"label\": \"bu") };
    mock.queue_replies([cut(), Script { output_tokens: Some(300), ..says(GOOD) }]);

    let output = output(&run(&node, &formed("")).await);

    assert_eq!((&output["answer"]["label"], &output["attempts"]), (&json!("bug"), &json!(2)));
    let said: Vec<u64> = mock.bill().entries.iter().map(|entry| entry.tokens.output).collect();
    assert_eq!(said, [200, 300], "the second had room for 400");

    mock.queue_replies([cut(), cut(), cut()]);
    let row = run(&node, &formed("")).await;
    assert_eq!(code(&row), "ai_answer_cut");
    let said: Vec<u64> = mock.bill().entries[2..].iter().map(|entry| entry.tokens.output).collect();
    assert_eq!(said, [200, 400, 800], "twice, as `repairs` says");
    bill_is_ledger(&mock, &database).await;
}

async fn a_long_input_or_a_priority_moves_the_step_to_another_model(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let other = ", fallback: [{model: openai/gpt-6.1-terra, when: [{input_over: 20}, {priority: high}]}]";
    node.put("w", &one(other)).await;

    let mut models = Vec::new();
    for (text, priority) in [("x".repeat(20), "normal"), ("x".repeat(21), "normal"), ("x".to_owned(), "high")]
    {
        let payload = json!({ "text": text }).to_string();
        let priority = levqor_core::job::Priority::parse(priority).unwrap();
        let request = levqor_core::intake::IntakeRequest { payload, priority, ..ask("w") };
        let id = node.submit(request).await;
        models.push(output(&node.ended(id).await)["model"].clone());
    }

    assert_eq!(models, ["openai/gpt-6-sol", "openai/gpt-6.1-terra", "openai/gpt-6.1-terra"]);
}

async fn a_provider_that_fails_hands_over_to_the_next_model(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let fallback =
        ", fallback: [{model: openai/gpt-6-luna, when: [provider_error]}, {model: openai/gpt-6.1-sol}]";
    let fallback = fallback.replace("openai/gpt-6-luna", "openai/gpt-6.1-terra");

    for (faults, models) in [
        (
            vec![Some(Fault::Status(400)), Some(Fault::Status(404))],
            vec!["failed openai/gpt-6-sol", "failed openai/gpt-6.1-terra", "said openai/gpt-6.1-sol"],
        ),
        // Last, for a model that says so is left alone for a while afterwards.
        (vec![Some(Fault::Status(429))], vec!["failed openai/gpt-6-sol", "said openai/gpt-6.1-terra"]),
    ] {
        mock.queue_faults(faults);
        let row = run(&node, &one(&fallback)).await;
        assert_eq!(kinds(&row), models, "{row:?}");
        assert_eq!(output(&row)["attempts"], json!(models.len()));
    }
    bill_is_ledger(&mock, &database).await;
}

async fn a_provider_that_recovers_is_asked_again_by_the_retry_of_the_step(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    mock.queue_faults([Some(Fault::Status(429)), Some(Fault::ResetBefore)]);
    let source = one("").replace("id: a,", "id: a, retry: {attempts: 3, first: 1ms},");

    let row = run(&node, &source).await;

    assert_eq!(attempts(&row, "a"), [("failed", 1), ("failed", 2), ("succeeded", 3)]);
    assert_eq!(kinds(&row).len(), 3);
    let refused = one("");
    mock.queue_faults([Some(Fault::Status(401))]);
    let row = run(&node, &refused.replace("id: a,", "id: a, retry: {attempts: 3, first: 1ms},")).await;
    assert_eq!((code(&row), attempts(&row, "a")), ("ai_request_refused", vec![("failed", 1)]));
}

async fn a_retry_by_a_person_is_another_conversation(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    mock.queue_replies([says(BAD), says(GOOD)]);
    let failed = run(&node, &formed(", on_invalid: fail")).await;

    node.retry_job(failed.line.id, by()).await.unwrap();
    let row = node.ended(failed.line.id).await;

    assert_eq!((code(&failed), row.line.state), ("ai_output_invalid", State::Succeeded));
    assert_eq!(mock.bill().calls, 2);
    let questions = database.number("select max(logical_call) from ai_calls").await;
    assert_eq!(questions, 2);
    bill_is_ledger(&mock, &database).await;
}

async fn the_same_request_is_answered_from_the_store_for_nothing(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    mock.queue_replies([says("first")]);
    let source = one(", cache: 1h");

    let paid = output(&run(&node, &source).await);
    let hit = run(&node, &source).await;
    let other = node.submit(levqor_core::intake::IntakeRequest {
        payload: r#"{"text":"another"}"#.to_owned(),
        ..ask("w")
    });
    let other = output(&node.ended(other.await).await);
    let free = output(&hit);
    clock.advance(3_600_000);
    let late = output(&run(&node, &source).await);

    assert_eq!((&paid["answer"], &paid["cached"]), (&json!("first"), &json!(false)));
    assert_eq!(
        (&free["answer"], &free["cached"], &free["cost"]),
        (&json!("first"), &json!(true), &json!("0.00"))
    );
    assert_eq!(free["attempts"], json!(0));
    assert_eq!((&other["cached"], &late["cached"]), (&json!(false), &json!(false)));
    assert_eq!(mock.bill().calls, 3);
    assert_eq!(
        database
            .number("select count(*) from cost_ledger where kind = 'cache_hit' and amount_nano = 0")
            .await,
        1
    );
    let calls = node.store().list_calls(hit.line.id).await.unwrap();
    assert_eq!((calls.len(), calls[0].finish_reason.as_deref()), (1, Some("cache_hit")));
    bill_is_ledger(&mock, &database).await;
}
