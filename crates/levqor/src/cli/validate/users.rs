//! The checks of the routes for people: one person is made, looked at, changed and erased again.

use serde_json::json;

use super::super::client::{Answer, Call};
use super::super::exit::Failure;
use super::Report;
use super::checks::{expect, invalid};
use super::visit::Visit;

const MEMBERS: [&str; 8] = ["created_at", "currency", "email", "id", "locale", "meta", "name", "updated_at"];

/// Makes five writes. Fails only when the server cannot be reached.
pub async fn life_of_a_user(api: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    let refused = api.send(upsert(&json!({"email": "not an email"}))).await?;
    report.check("an upsert of a bad e-mail address is 400", invalid(&refused, Some("Invalid user payload")));

    let missing = api.send(Call::get("/api/v1/users")).await?;
    report.check("a lookup without an address is 400", invalid(&missing, Some("email query param required")));

    let email = &api.email;
    let body = json!({"email": email, "name": "levqor validate", "currency": "EUR", "meta": {"a": 1}});
    let created = api.send(upsert(&body)).await?;
    let id = created.json()["user"]["id"].as_str().unwrap_or_default().to_owned();
    let good = created.json()["created"] == json!(true) && is_user(&created, "/user") && !id.is_empty();
    report.check("POST /api/v1/users/upsert is 201 with a new user", expect(&created, 201, good));
    if id.is_empty() {
        return Ok(());
    }
    let checked = look_and_change(api, report, email, &id).await;

    let deleted = api.send(Call::delete(format!("/api/v1/users/{id}"))).await?;
    let gone = api.send(Call::get(format!("/api/v1/users/{id}"))).await?;
    let good = gone.json() == json!({"error": "not_found", "user_id": id});
    let both = expect(&deleted, 200, true).and_then(|()| expect(&gone, 404, good));
    report.check("DELETE /api/v1/users/<id> erases the user", both);
    checked
}

async fn look_and_change(api: &Visit<'_>, report: &mut Report, email: &str, id: &str) -> Result<(), Failure> {
    let found = api.send(Call::get("/api/v1/users").query("email", email.to_uppercase())).await?;
    let good = found.json()["id"] == json!(id) && is_user(&found, "");
    report.check("GET /api/v1/users?email= finds the user", expect(&found, 200, good));

    let got = api.send(Call::get(format!("/api/v1/users/{id}"))).await?;
    report.check(
        "GET /api/v1/users/<id> shows the same",
        expect(&got, 200, is_user(&got, "") && got.json() == found.json()),
    );

    let patch = json!({"meta": {"b": null}}).to_string();
    let patched = api.send(Call::method("PATCH", format!("/api/v1/users/{id}")).json(patch)).await?;
    let user = &patched.json()["user"];
    let good = user["meta"] == json!({"a": 1, "b": null}) && user["name"] == json!("levqor validate");
    report.check("PATCH /api/v1/users/<id> merges meta and keeps the rest", expect(&patched, 200, good));

    let replaced = api.send(upsert(&json!({"email": email}))).await?;
    let user = &replaced.json()["user"];
    let good = user["id"] == json!(id) && user["name"].is_null() && user["meta"] == json!({});
    report.check("a second upsert replaces the user", expect(&replaced, 200, good));
    Ok(())
}

fn upsert(body: &serde_json::Value) -> Call<'static> {
    Call::post("/api/v1/users/upsert").json(body.to_string())
}

/// Whether exactly the eight members stand at this place.
fn is_user(answer: &Answer, at: &str) -> bool {
    let body = answer.json();
    let members = body.pointer(at).and_then(|user| user.as_object());
    members.is_some_and(|members| members.keys().map(String::as_str).eq(MEMBERS))
}
