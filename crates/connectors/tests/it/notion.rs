//! What Notion is sent, compared with its documentation, and what comes of its answers.

use levqor_connectors::catalogue::Vendor;
use levqor_testkit::{Answer, Received, Receiver};
use serde_json::{Value, json};

use crate::connect::{TOKEN, run};

async fn play(path: &str, answer: Value, action: &str, params: Value) -> (Received, Value) {
    let server = Receiver::start().await;
    server.script(path, [Answer::json(&answer)]);
    let result = run(&server.url(""), Vendor::Notion, action, params).await.unwrap();
    let sent = server.received_at(path).remove(0);
    assert_eq!(sent.header("notion-version"), "2022-06-28");
    assert_eq!(sent.header("authorization"), format!("Bearer {TOKEN}"));
    (sent, result)
}

#[tokio::test]
async fn pages_are_found_and_queried() {
    let list = json!({"object": "list", "results": [{"id": "p"}], "has_more": true, "next_cursor": "c"});
    let (sent, result) = play("/v1/search", list.clone(), "search", json!({"query": "plan"})).await;
    assert_eq!(sent.json(), json!({"query": "plan"}));
    assert_eq!(result, json!({"count": 1, "pages": [{"id": "p"}], "next_cursor": "c"}));

    let params = json!({"database_id": "d", "filter": {"property": "A"}, "sorts": [{"property": "B"}]});
    let (sent, result) = play("/v1/databases/d/query", list, "query_database", params).await;
    let expected = json!({"filter": {"property": "A"}, "sorts": [{"property": "B"}], "page_size": 10});
    assert_eq!((sent.method.as_str(), sent.json()), ("POST", expected));
    assert_eq!(result, json!({"count": 1, "has_more": true, "results": [{"id": "p"}], "next_cursor": "c"}));
}

#[tokio::test]
async fn pages_are_made_read_and_changed() {
    let page = json!({"object": "page", "id": "p"});
    let params = json!({"database_id": "d", "properties": {"Name": {}}});
    let (sent, result) = play("/v1/pages", page.clone(), "create_page", params).await;
    assert_eq!(sent.json(), json!({"parent": {"database_id": "d"}, "properties": {"Name": {}}}));
    assert_eq!(result, json!({"page_id": "p", "status": "created"}));

    let (sent, result) = play("/v1/pages/p", page.clone(), "get_page", json!({"page_id": "p"})).await;
    assert_eq!((sent.method.as_str(), sent.body.len()), ("GET", 0));
    assert_eq!(result, json!({"page_id": "p", "page": page}));

    let params = json!({"page_id": "p", "archived": true});
    let (sent, result) = play("/v1/pages/p", page, "update_page", params).await;
    assert_eq!((sent.method.as_str(), sent.json()), ("PATCH", json!({"archived": true})));
    assert_eq!(result, json!({"page_id": "p", "status": "updated"}));

    let children = json!([{"object": "block", "type": "divider", "divider": {}}]);
    let params = json!({"block_id": "b", "children": children});
    let answer = json!({"object": "list", "results": [{"id": "x"}]});
    let (sent, result) = play("/v1/blocks/b/children", answer, "append_blocks", params).await;
    assert_eq!((sent.method.as_str(), sent.json()), ("PATCH", json!({"children": children})));
    assert_eq!(result, json!({"block_id": "b", "count": 1, "status": "appended"}));
}

#[tokio::test]
async fn an_id_cannot_leave_its_place_in_the_path() {
    let list = json!({"results": []});
    let hostile = "../../users?a=b#c%2f\u{e4}";
    let path = "/v1/databases/..%2F..%2Fusers%3Fa%3Db%23c%252f%C3%A4/query";
    let (sent, _) = play(path, list, "query_database", json!({"database_id": hostile})).await;
    assert_eq!(sent.query, "");

    for dots in [".", ".."] {
        let server = Receiver::start().await;
        let error =
            run(&server.url(""), Vendor::Notion, "get_page", json!({"page_id": dots})).await.unwrap_err();
        assert!(format!("{error:?}").contains("/params/page_id"), "{error:?}");
        assert!(server.received().is_empty());
    }
}
