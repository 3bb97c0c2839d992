//! Prices over HTTP: what is in force, a list as a draft, its difference, and putting it in force.

use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::server::TestServer;

const HEADER: &str = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens";

async fn import_csv(client: &Client, query: &str, csv: &str) -> Reply {
    let path = format!("/api/v1/prices/import{query}");
    client.send("POST", &path, &[("Content-Type", "text/csv; charset=utf-8")], csv).await
}

async fn activate(client: &Client, id: &str, body: &str) -> Reply {
    client.post(&format!("/api/v1/prices/{id}/activate"), body).await
}

fn id(reply: &Reply) -> String {
    reply.json()["book"]["id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

async fn status(client: &Client, provider: &str, model: &str) -> Option<String> {
    let found = client.get(&format!("/api/v1/prices?provider={provider}&model={model}")).await.json();
    found["prices"][0]["status"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn prices_in_force_are_shown_by_name_and_page_by_page() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    let all = anon.get("/api/v1/prices?limit=1000").await.json();
    let sol = anon.get("/api/v1/prices?provider=openai&model=gpt-6-sol").await.json();

    assert_eq!(
        (all["prices"].as_array().unwrap().len(), &all["list"], &all["own"]),
        (74, &Value::Null, &Value::Null)
    );
    let sol = &sol["prices"][0];
    let input = sol["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["unit"] == "input" && it["tier"] == "standard")
        .unwrap();
    assert_eq!(
        (input["rate"].as_str(), sol["book"].as_str(), sol["status"].as_str()),
        (Some("2.00"), None, Some("priced"))
    );
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = anon.get(&format!("/api/v1/prices?limit=30{cursor}")).await.json();
        names.extend(page["prices"].as_array().unwrap().iter().map(|it| it["price_id"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    let whole: Vec<Value> =
        all["prices"].as_array().unwrap().iter().map(|it| it["price_id"].clone()).collect();
    assert_eq!(names, whole);
    for query in ["limit=0", "limit=1001", "cursor=x", "provider=", "name=x"] {
        assert_eq!(anon.get(&format!("/api/v1/prices?{query}")).await.error(), "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn own_prices_are_a_draft_first_and_stand_in_front_once_they_are_put_in_force() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let body = json!({"kind": "own", "source": "contract 17", "prices": [
        {"provider": "local", "model": "llama", "status": "free"},
        {"provider": "openai", "model": "gpt-6-sol", "input_usd_per_mtok": "1.5", "cached_input_usd_per_mtok": 0.2,
            "output_usd_per_mtok": 8, "max_output_tokens": 128000}]});

    let draft = anon.post("/api/v1/prices/import", &body.to_string()).await;
    let again = anon.post("/api/v1/prices/import", &body.to_string()).await;

    assert_eq!(draft.status, 201, "{draft:?}");
    let own = id(&draft);
    assert_eq!((own.starts_with("own-"), id(&again) == own), (true, true), "the same list is the same book");
    let difference = &draft.json()["difference"];
    assert_eq!((&difference["added"][0]["model"], &difference["removed"]), (&json!("llama"), &json!([])));
    let rates = difference["changed"][0]["rates"].as_array().unwrap();
    assert!(
        rates.iter().any(|it| it["unit"] == "input" && it["old"] == "2.00" && it["new"] == "1.50"),
        "{rates:?}"
    );
    assert_eq!(status(&anon, "local", "llama").await, None, "a draft is not in force");

    let active = activate(&anon, &own, "{}").await;
    assert_eq!((active.status, &active.json()["status"]), (200, &json!("active")), "{active:?}");
    assert_eq!(status(&anon, "local", "llama").await.as_deref(), Some("free"));
    let shown = anon.get("/api/v1/prices?model=gpt-6-sol").await.json();
    assert_eq!((&shown["own"], &shown["prices"][0]["book"]), (&json!(own), &json!(own)));
    let nothing = anon.get(&format!("/api/v1/prices/{own}")).await.json();
    assert_eq!(nothing["difference"], json!({"added": [], "changed": [], "removed": [], "warnings": []}));
    let none = id(&anon.post("/api/v1/prices/import", r#"{"kind":"own","prices":[]}"#).await);
    assert_eq!(anon.send("POST", &format!("/api/v1/prices/{none}/activate"), &[], "").await.status, 200);
    assert_eq!(status(&anon, "local", "llama").await, None, "an empty list takes own prices away");
    let log = anon.get("/api/v1/audit?action=prices.activate").await.json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_looks_like_a_slip_is_put_in_force_by_name_alone() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let list = |input: &str| format!("{HEADER}\np,m,priced,{input},10,100\np,n,priced,2.5,10,100\n");
    let first = id(&import_csv(&anon, "?source=by%20hand", &list("2.5")).await);
    assert_eq!(activate(&anon, &first, "{}").await.status, 200);

    let slip = import_csv(&anon, "", &list("25")).await;

    let book = id(&slip);
    let warnings = slip.json()["difference"]["warnings"].clone();
    assert!(
        warnings.as_array().unwrap().iter().all(|it| it["model"] == "p/m") && warnings[0]["text"].is_string(),
        "{warnings}"
    );
    for body in ["{}", r#"{"accept":[]}"#, r#"{"accept":["p/n","p"]}"#] {
        let refused = activate(&anon, &book, body).await;
        assert_eq!((refused.status, refused.error().as_str()), (409, "conflict"), "{body}");
        assert!(refused.json()["fields"]["p/m"].is_string(), "{refused:?}");
    }
    assert_eq!(activate(&anon, &book, r#"{"accept":["p/m"]}"#).await.status, 200);
    assert_eq!(anon.get(&format!("/api/v1/prices/{first}")).await.json()["book"]["status"], "retired");
    assert_eq!(activate(&anon, &first, r#"{"accept":["*"]}"#).await.status, 200, "and back");
}

#[tokio::test]
async fn two_lists_at_once_leave_one_in_force() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let mut books = Vec::new();
    for model in ["a", "b", "c", "d"] {
        books.push(id(&import_csv(&anon, "", &format!("{HEADER}\np,{model},priced,2.5,10,100\n")).await));
    }

    let anon = &anon;
    let tries = books
        .iter()
        .map(|book| async move { (book, activate(anon, book, r#"{"accept":["*"]}"#).await.status) });
    let outcomes = futures_util::future::join_all(tries).await;

    assert!(outcomes.iter().all(|(_, status)| matches!(status, 200 | 409)), "{outcomes:?}");
    let shown = anon.get("/api/v1/prices").await.json();
    let active: Vec<&Value> =
        shown["books"].as_array().unwrap().iter().filter(|it| it["status"] == "active").collect();
    assert_eq!((active.len(), shown["prices"].as_array().unwrap().len()), (1, 1), "{shown}");
    assert!(outcomes.iter().any(|(book, status)| *status == 200 && shown["list"] == **book));
}

#[tokio::test]
async fn what_is_no_price_list_is_refused_by_line_or_pointer() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    for (csv, at) in [
        ("", "line 1"),
        ("model\nx\n", "line 2"),
        (&format!("{HEADER}\np,a,priced,0,2,100\n"), "line 2"),
        (&format!("{HEADER}\np,a,priced,1,2,100\np,a,priced,1,2,100\n"), "line 3"),
        (&format!("{HEADER}\np,a,priced,-1,2,100\n"), "line 2"),
        (&format!("{HEADER}\np,a,priced,1e3,2,100\n"), "line 2"),
        (&format!("{HEADER}\n\"p,a,priced,1,2,100\n"), "line 2"),
        ("provider,provider\n", "line 1"),
    ] {
        let reply = import_csv(&anon, "", csv).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_prices"), "{csv:?}: {reply:?}");
        assert!(reply.json()["fields"][at].is_string(), "{csv:?}: {reply:?}");
    }
    for (body, at) in [
        (json!({}), "/prices"),
        (json!({"prices": [{"provider": "p", "model": "m"}]}), "/prices/0"),
        (
            json!({"prices": [{"provider": "p\nq,r,free", "model": "m", "status": "free"}]}),
            "/prices/0/provider",
        ),
        (json!({"prices": [{"provider": "p", "model": {"a": 1}}]}), "/prices/0/model"),
        (json!({"kind": "mine", "prices": []}), "/kind"),
    ] {
        let reply = anon.post("/api/v1/prices/import", &body.to_string()).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_prices"), "{body}");
        assert!(reply.json()["fields"][at].is_string(), "{body}: {reply:?}");
    }
    assert_eq!(import_csv(&anon, "?kind=mine", HEADER).await.error(), "invalid_query");
    assert_eq!(import_csv(&anon, "?source=a%0Ab", HEADER).await.error(), "invalid_query");
    let nul = anon
        .send_bytes(
            "POST",
            "/api/v1/prices/import",
            &[("Content-Type", "text/csv")],
            b"provider,model,status,notes\np,m,free,\0\n",
        )
        .await;
    assert_eq!(nul.error(), "invalid_prices");
    let bytes =
        anon.send_bytes("POST", "/api/v1/prices/import", &[("Content-Type", "text/csv")], b"\xff\xfe").await;
    assert_eq!(bytes.error(), "invalid_prices");
    let form = anon.send("POST", "/api/v1/prices/import", &[("Content-Type", "text/plain")], HEADER).await;
    assert_eq!(form.error(), "wrong_content_type");
    for id in ["x", "%00", "list-0000000000000000", "own-..", &"l".repeat(4_000)] {
        assert_eq!(anon.get(&format!("/api/v1/prices/{id}")).await.error(), "not_found", "{id}");
        assert_eq!(activate(&anon, id, "{}").await.error(), "not_found", "{id}");
    }
    assert_eq!(
        activate(&anon, "list-0000000000000000", r#"{"accept":"*"}"#).await.error(),
        "invalid_request"
    );
    assert_eq!(anon.get("/api/v1/prices").await.json()["books"], json!([]));
}
