//! One call in our own words.

use levqor_mock_ai::Script;

use super::*;

const PATH: &str = "/api/v1/ai/complete";

fn ask(changes: Value) -> String {
    let mut body = json!({"model": "openai/gpt-6-sol", "prompt": "Hello there"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test]
async fn an_answer_comes_with_its_cost_and_the_budgets_that_it_counts_in() {
    let world = World::start(&[]).await;

    let reply = world
        .client()
        .post(PATH, &ask(json!({"system": "Be brief", "temperature": 0.2, "tags": {"team": "a"}})))
        .await;

    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body["text"], "This is what a mock model says to: Hello there");
    assert_eq!(
        (&body["finish"], &body["charge"], &body["model"]),
        (&json!("stop"), &json!("settled"), &json!("openai/gpt-6-sol"))
    );
    assert_eq!(body["cost_usd"], world.billed().to_string());
    assert!(
        body["usage"]["input_tokens"].as_u64().unwrap() > 0
            && body["usage"]["output_tokens"].as_u64().unwrap() > 0
    );
    let budgets: Vec<&str> =
        body["budgets"].as_array().unwrap().iter().map(|it| it["budget"].as_str().unwrap()).collect();
    assert_eq!(budgets, ["max-cost-per-job", "max-cost-per-day"]);
    assert_eq!(body["budgets"][1]["spent_usd"], world.billed().to_string());
    assert_eq!(body["budgets"][1]["held_usd"], "0.00");
    world.agrees().await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_its_schema_is_no_answer_but_is_paid_for() {
    let world = World::start(&[]).await;
    let strict = json!({"type": "object", "additionalProperties": false, "required": ["label"], "properties": {"label": {"type": "string"}}});
    let loose = json!({"type": "object", "properties": {"label": {"type": "string", "minLength": 3}}, "required": ["label"]});

    for (schema, said, status) in [
        (&strict, r#"{"label":"bug"}"#, 200),
        (&loose, r#" {"label": "bug"} "#, 200),
        (&loose, r#"{"label":"b"}"#, 502),
        (&strict, "I would say: bug", 502),
        (&strict, "", 502),
    ] {
        world.mock.queue_replies([Script { text: Some(said.to_owned()), ..Script::default() }]);
        let reply = world.client().post(PATH, &ask(json!({"output": schema}))).await;
        assert_eq!(reply.status, status, "{said}: {reply:?}");
        let body = reply.json();
        if status == 200 {
            assert_eq!(body["output"], json!({"label": "bug"}));
        } else {
            assert_eq!((&body["error"], &body["text"]), (&json!("invalid_output"), &json!(said)));
            assert!(body["fields"].is_object() && body["cost_usd"].is_string(), "{body}");
            assert_eq!(reply.header("x-should-retry"), Some("false"));
        }
    }
    assert_eq!(world.mock.bill().calls, 5);
    world.agrees().await;
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_cost_and_calls_nobody() {
    let world = World::start(&[("MAX_COST_PER_JOB", "0.05")]).await;
    let estimate = |changes: Value| {
        let client = world.client();
        let mut body = json!({"dry_run": true});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        async move { client.post(PATH, &ask(body)).await.json()["estimate"].clone() }
    };

    let small = estimate(json!({"max_tokens": 100})).await;
    assert_eq!(
        (&small["would_start"], &small["would_be_shortened"], &small["max_tokens"]),
        (&json!(true), &json!(false), &json!(100))
    );
    assert_eq!((&small["room_usd"], &small["tightest_budget"]), (&json!("0.05"), &json!("max-cost-per-job")));
    let large = estimate(json!({"max_tokens": 100_000})).await;
    assert_eq!((&large["would_start"], &large["would_be_shortened"]), (&json!(true), &json!(true)));
    let rigid = estimate(json!({"max_tokens": 100_000, "fit": false})).await;
    assert_eq!(rigid["would_start"], json!(false));
    assert_eq!(world.mock.bill().calls, 0);
    assert_eq!(world.day().await, (Nano::ZERO, Nano::ZERO));

    let refused = world.client().post(PATH, &ask(json!({"max_tokens": 100_000, "fit": false}))).await;
    assert_eq!((refused.status, refused.error().as_str()), (402, "budget_exceeded"));
    let fitted = world.client().post(PATH, &ask(json!({"max_tokens": 100_000}))).await;
    assert_eq!(fitted.status, 200);
    let limit: u64 = fitted.header("x-levqor-max-tokens").unwrap().parse().unwrap();
    assert!((256..5_000).contains(&limit), "{limit}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let world = World::start(&[]).await;
    for (body, status, code) in [
        ("{".to_owned(), 400, "invalid_request"),
        (ask(json!({"n": 2})), 400, "invalid_request"),
        (ask(json!({"output": {"type": "objekt"}})), 400, "invalid_request"),
        (ask(json!({"output": {"$ref": "http://127.0.0.1/x"}})), 400, "invalid_request"),
        (ask(json!({"model": "gpt-7"})), 404, "model_not_found"),
        (ask(json!({"model": "openai/gpt-7"})), 422, "price_unknown"),
        (ask(json!({"model": "openai/text-embedding-3-small"})), 400, "model_not_served"),
    ] {
        let reply = world.client().post(PATH, &body).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, code), "{body}: {reply:?}");
        assert!(reply.json()["message"].is_string());
    }
    assert_eq!(world.mock.bill().calls, 0);
}
