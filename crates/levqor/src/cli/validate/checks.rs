//! The checks, in the order in which a client would meet the server. Each states what holds, so that its name reads well
//! with `ok` and with `FAIL`.

use serde_json::{Value, json};

use super::super::client::{Answer, Call};
use super::super::exit::{Exit, Failure};
use super::visit::Visit;
use super::{Report, Verdict, pages, users, vendors};

const HEADERS: [(&str, &str); 11] = [
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("content-security-policy", "default-src 'none'; connect-src https://levqor.ai https://api.levqor.ai"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("permissions-policy", "geolocation=(), microphone=()"),
    ("access-control-allow-origin", "https://levqor.ai"),
    ("access-control-allow-methods", "GET,POST,OPTIONS,PATCH"),
    ("access-control-allow-headers", "Content-Type, Authorization, X-Api-Key"),
];

/// Whether writes can be made, as far as the server lets on.
struct Access {
    /// The server wants a key.
    closed: bool,
    /// What we send is accepted.
    allowed: bool,
}

/// Runs every check. Fails only when the server cannot be reached.
pub async fn all(api: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    public(api, report).await?;
    pages::all(api, report).await?;
    let document = description(api, report).await?;
    let access = access(api, report).await?;
    refusals(api, report, &access).await?;
    if access.allowed {
        vendors::connectors(api, report).await?;
    }
    vendors::billing(api, report, &document, access.closed).await?;
    if access.allowed {
        life_of_a_job(api, report).await?;
        users::life_of_a_user(api, report).await?;
    } else {
        for name in
            ["connectors refuse what they must", "a job goes in and comes out", "a user comes and goes"]
        {
            report.add(name, Verdict::Skipped("it needs a key: give --key or API_KEY".to_owned()));
        }
    }
    Ok(())
}

async fn public(api: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    let root = api.send(Call::get("/")).await?;
    let body = root.json();
    let good = body["ok"] == json!(true)
        && body["service"] == json!("levqor-backend")
        && body["version"] == json!("1.0.0")
        && body["build"].is_string();
    report.check("GET / names service, version and build", expect(&root, 200, good));
    report.check("security and CORS headers stand on an answer", headers(&root));

    let health = api.send(Call::get("/health")).await?;
    let body = health.json();
    let good = body["ok"] == json!(true) && body["ts"].is_i64();
    report.check("GET /health is ok and tells the time", expect(&health, 200, good));

    let metrics = api.send(Call::get("/public/metrics")).await?;
    let body = metrics.json();
    let good = ["uptime_rolling_7d", "audit_coverage"].iter().all(|name| body[*name].is_number())
        && ["jobs_today", "last_updated"].iter().all(|name| body[*name].is_i64());
    report.check("GET /public/metrics has its four figures", expect(&metrics, 200, good));

    let unknown = api.send(Call::get("/api/v1/no-such-path")).await?;
    let good = unknown.json() == json!({"error": "not_found"});
    report.check("an unknown path is 404 not_found", expect(&unknown, 404, good));
    report.check("security and CORS headers stand on a refusal", headers(&unknown));

    let method = api.send(Call::method("DELETE", "/health")).await?;
    let good = method.header("allow").contains("GET");
    report.check("a wrong method is 405 and says what is allowed", expect(&method, 405, good));

    let options = api.send(Call::method("OPTIONS", "/api/v1/intake").without_key()).await?;
    let good = options.header("allow").contains("POST");
    report.check("OPTIONS needs no key and says what is allowed", expect(&options, 200, good));

    let id = "00000000000000000000000000000000";
    let status = api.send(Call::get(format!("/api/v1/status/{id}")).without_key()).await?;
    let good = status.json() == json!({"error": "not_found", "job_id": id});
    report.check("the status of an unknown job is 404 and echoes its id", expect(&status, 404, good));
    Ok(())
}

async fn access(api: &Visit<'_>, report: &mut Report) -> Result<Access, Failure> {
    let bare = api.send(Call::get("/api/v1/ops/health").without_key()).await?;
    let closed = bare.status == 403;
    if !closed {
        let why = "the server is in development mode and lets everybody in";
        report.check("GET /api/v1/ops/health answers", expect(&bare, 200, is_health(&bare)));
        report.add("requests without a key are refused", Verdict::Skipped(why.to_owned()));
        return Ok(Access { closed, allowed: true });
    }
    report.check("GET /api/v1/ops/health without a key is refused", forbidden(&bare));
    if !api.has_key() {
        return Ok(Access { closed, allowed: false });
    }
    let health = api.send(Call::get("/api/v1/ops/health")).await?;
    if health.status == 403 {
        return Err(Failure::new(Exit::Refused, "the server does not accept this key; see --key or API_KEY"));
    }
    report.check("GET /api/v1/ops/health with the key answers", expect(&health, 200, is_health(&health)));
    let bare = api.send(Call::get("/metrics").without_key()).await?;
    let metrics = api.send(Call::get("/metrics")).await?;
    let good = metrics.text.contains("# TYPE levqor_");
    report.check("GET /metrics is for holders of a key", forbidden(&bare).and(expect(&metrics, 200, good)));
    Ok(Access { closed, allowed: true })
}

fn is_health(answer: &Answer) -> bool {
    let body = answer.json();
    body["ok"] == json!(true) && body["ts"].is_i64()
}

async fn refusals(api: &Visit<'_>, report: &mut Report, access: &Access) -> Result<(), Failure> {
    let intake = || Call::post("/api/v1/intake");
    let good = json!({"workflow": api.workflow, "payload": {}}).to_string();
    if access.closed {
        let bare = api.send(intake().json(good.as_str()).without_key()).await?;
        report.check("intake without a key is refused", forbidden(&bare));
    }
    if !access.allowed {
        return Ok(());
    }
    let incomplete = api.send(intake().json("{}")).await?;
    report.check(
        "an intake without workflow and payload is 400",
        invalid(&incomplete, Some("Invalid request body")),
    );

    let unparsable = api.send(intake().json("{\"workflow\":")).await?;
    report.check("an intake that is no JSON is 400", invalid(&unparsable, Some("Invalid request body")));

    let unknown = json!({"workflow": api.workflow, "payload": {}, "surprise": 1}).to_string();
    let unknown = api.send(intake().json(unknown)).await?;
    report.check("an unknown member of an intake is 400", invalid(&unknown, Some("Invalid request body")));

    let kind = api.send(intake().header("content-type", "text/plain").body(good)).await?;
    report
        .check("another Content-Type is 400", invalid(&kind, Some("Content-Type must be application/json")));

    let large = json!({"workflow": api.workflow, "payload": {"text": "x".repeat(204_800)}}).to_string();
    let large = api.send(intake().json(large)).await?;
    report.check("a payload over 200 KB is refused", invalid(&large, Some("payload too large")));

    let inside =
        json!({"workflow": api.workflow, "payload": {}, "callback_url": "http://169.254.169.254/latest"})
            .to_string();
    let inside = api.send(intake().json(inside)).await?;
    report.check("a callback to an address inside the network is refused", invalid(&inside, None));
    Ok(())
}

async fn life_of_a_job(api: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    let body = json!({"workflow": api.workflow, "payload": {"from": "levqor validate"}, "priority": "low"})
        .to_string();
    let taken = api.send(Call::post("/api/v1/intake").json(body)).await?;
    let id = taken.text_at("job_id");
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let good = is_id && taken.json()["status"] == json!("queued");
    report.check("POST /api/v1/intake is 202 with an id", expect(&taken, 202, good));
    let is_number = |name: &str| taken.header(name).parse::<u64>().is_ok();
    let limits = is_number("x-ratelimit-limit") && is_number("x-ratelimit-remaining");
    report.check("a counted write tells what is left of the rate limit", expect(&taken, 202, limits));
    if !good {
        return Ok(());
    }

    let status = api.send(Call::get(format!("/api/v1/status/{id}")).without_key()).await?;
    report.check(
        "GET /api/v1/status tells the job's five facts",
        expect(&status, 200, five_facts(&status.json(), &id)),
    );

    let result = json!({"validated": true});
    let complete =
        Call::post(format!("/api/v1/_dev/complete/{id}")).json(json!({"result": result}).to_string());
    let completed = api.send(complete).await?;
    if completed.status == 404 {
        let why = "_dev routes are off in production";
        report.add("POST /api/v1/_dev/complete ends the job", Verdict::Skipped(why.to_owned()));
        let cancelled = api.send(Call::post(format!("/api/v1/jobs/{id}/cancel")).json("{}")).await?;
        report.check("POST /api/v1/jobs/<id>/cancel ends the job", expect(&cancelled, 200, true));
        return delete_job(api, report, &id).await;
    }
    let good = completed.json() == json!({"ok": true});
    report.check("POST /api/v1/_dev/complete ends the job", expect(&completed, 200, good));

    let status = api.send(Call::get(format!("/api/v1/status/{id}")).without_key()).await?;
    let body = status.json();
    let good = body["status"] == json!("succeeded") && body["result"] == result && body["error"].is_null();
    report.check("the status shows the result", expect(&status, 200, good));
    delete_job(api, report, &id).await
}

async fn delete_job(api: &Visit<'_>, report: &mut Report, id: &str) -> Result<(), Failure> {
    let deleted = api.send(Call::delete(format!("/api/v1/jobs/{id}"))).await?;
    let gone = api.send(Call::get(format!("/api/v1/status/{id}")).without_key()).await?;
    let both = expect(&deleted, 200, true).and_then(|()| expect(&gone, 404, true));
    report.check("DELETE /api/v1/jobs/<id> forgets the job", both);
    Ok(())
}

async fn description(api: &Visit<'_>, report: &mut Report) -> Result<Value, Failure> {
    let answer = api.send(Call::get("/public/openapi.json").without_key()).await?;
    let body = answer.json();
    let paths = [
        "/",
        "/health",
        "/public/metrics",
        "/api/v1/intake",
        "/api/v1/status/{job_id}",
        "/api/v1/ops/health",
        "/api/v1/users",
        "/api/v1/users/upsert",
        "/api/v1/users/{user_id}",
        "/api/v1/connect/{name}",
    ];
    let missing: Vec<&str> = paths.into_iter().filter(|path| !has_path(&body, path)).collect();
    let version = body["openapi"].as_str().unwrap_or_default();
    let verdict = expect(&answer, 200, version.starts_with("3.0")).and_then(|()| match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("it does not describe {}", missing.join(", "))),
    });
    report.check("GET /public/openapi.json describes the API in OpenAPI 3.0", verdict);
    Ok(body)
}

/// Whether the document has this path, whatever its parameters are called.
pub(super) fn has_path(document: &Value, path: &str) -> bool {
    let shape = |path: &str| {
        let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
        segments.collect::<Vec<_>>().join("/")
    };
    document["paths"].as_object().is_some_and(|paths| paths.keys().any(|known| shape(known) == shape(path)))
}

fn five_facts(body: &Value, id: &str) -> bool {
    let Some(members) = body.as_object() else { return false };
    members.len() == 5
        && body["job_id"] == json!(id)
        && matches!(body["status"].as_str(), Some("queued" | "running" | "succeeded" | "failed"))
        && body["created_at"].is_number()
        && members.contains_key("result")
        && members.contains_key("error")
}

fn headers(answer: &Answer) -> Result<(), String> {
    for (name, value) in HEADERS {
        let found = answer.header(name);
        let good = if name == "content-security-policy" { found.starts_with(value) } else { found == value };
        if !good {
            return Err(format!("{name} is {found:?}, expected {value:?}"));
        }
    }
    Ok(())
}

pub(super) fn forbidden(answer: &Answer) -> Result<(), String> {
    expect(answer, 403, answer.json() == json!({"error": "forbidden"}))
}

/// 400 with exactly `error` and `details`.
pub(super) fn invalid(answer: &Answer, error: Option<&str>) -> Result<(), String> {
    let body = answer.json();
    let exact = body.as_object().is_some_and(|members| members.len() == 2 && members.contains_key("details"));
    let named = error.is_none_or(|error| body["error"] == json!(error));
    expect(answer, 400, exact && named)
}

pub(super) fn expect(answer: &Answer, status: u16, good: bool) -> Result<(), String> {
    if answer.status == 429 {
        let secs = answer.header("retry-after");
        return Err(format!("the rate limit is used up; try again in {secs} s"));
    }
    if answer.status == status && good {
        return Ok(());
    }
    let body: String = answer.text.trim_end().chars().take(200).collect();
    Err(format!("got {} {body}, expected status {status}", answer.status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_whatever_its_parameter_is_called() {
        let document = json!({"paths": {"/api/v1/status/{id}": {}}});

        assert!(has_path(&document, "/api/v1/status/{job_id}"));
        assert!(!has_path(&document, "/api/v1/status"));
    }

    #[test]
    fn a_status_with_a_sixth_member_is_not_the_first_versions() {
        let mut body =
            json!({"job_id": "a", "status": "queued", "created_at": 1.5, "result": null, "error": null});
        assert!(five_facts(&body, "a"));

        body["state"] = json!("queued");
        assert!(!five_facts(&body, "a"));
    }
}
