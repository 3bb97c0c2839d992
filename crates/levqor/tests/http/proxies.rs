//! Who counts as the client behind which proxies, as the log shows it and the limiter counts it.

use std::net::SocketAddr;

use crate::client::Connection;
use crate::server::TestServer;

/// What a server that trusts `trusted` and listens on `host` takes for the client of each request: from `peer`, with these
/// header lines.
async fn clients(trusted: &str, host: &str, requests: &[(&str, &[&str])]) -> Vec<String> {
    let vars = [("API_KEYS", "k"), ("HOST", host), ("TRUSTED_PROXIES", trusted), ("LOG_FORMAT", "json")];
    let server = TestServer::start(&vars).await;
    for (peer, lines) in requests {
        let to: SocketAddr = match (host, peer.contains(':')) {
            ("::", false) => SocketAddr::new("127.0.0.1".parse().unwrap(), server.address.port()),
            ("::", true) => SocketAddr::new("::1".parse().unwrap(), server.address.port()),
            _ => server.address,
        };
        let mut connection = Connection::open_from(peer.parse().unwrap(), to).await;
        let lines: String = lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        let request = format!("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
        connection.write(request.as_bytes()).await;
        assert_eq!(connection.reply().await.status, 200, "{lines:?}");
    }
    server.log.close();
    let text = server.logged.text();
    text.lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["ip"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn only_the_listed_peers_speak_for_others() {
    let requests: &[(&str, &[&str])] = &[
        ("127.0.0.1", &["1.2.3.4"]),
        ("127.0.0.2", &["1.2.3.4"]),
        ("127.0.0.3", &["1.2.3.4"]),
        ("127.0.0.3", &["127.0.0.1"]),
        ("127.0.0.1", &[]),
    ];

    let listed = clients("127.0.0.1, 127.0.0.2/32", "127.0.0.1", requests).await;
    assert_eq!(listed, ["1.2.3.4", "1.2.3.4", "127.0.0.3", "127.0.0.3", "127.0.0.1"]);
    let nobody = clients("", "127.0.0.1", requests).await;
    assert_eq!(nobody, ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.1"]);
    let others = clients("10.0.0.0/8,fd00::/8", "127.0.0.1", requests).await;
    assert_eq!(others, nobody);
}

#[tokio::test]
async fn a_chain_is_read_from_the_right_to_the_first_who_is_not_trusted() {
    let seen = clients(
        "127.0.0.0/8,10.0.0.0/8,2001:db8:1::/48",
        "127.0.0.1",
        &[
            ("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]),
            ("127.0.0.1", &["6.6.6.6", "1.2.3.4 , 10.0.0.2,10.9.9.9"]),
            ("127.0.0.1", &["1.2.3.4, 2001:db8:1::9"]),
            ("127.0.0.1", &["10.0.0.3,10.0.0.2"]),
            ("127.0.0.1", &["9.9.9.9, ::ffff:10.0.0.2"]),
            ("127.0.0.1", &["::ffff:9.9.9.9"]),
            ("127.0.0.1", &["9.9.9.9:4711"]),
            ("127.0.0.1", &["[2001:db8:2::1]:443"]),
            ("127.0.0.1", &["[2001:db8:2::1]"]),
        ],
    )
    .await;
    let last = ["9.9.9.9", "9.9.9.9", "9.9.9.9", "2001:db8:2::1", "2001:db8:2::1"];
    assert_eq!(seen[..4], ["1.2.3.4", "1.2.3.4", "1.2.3.4", "10.0.0.3"]);
    assert_eq!(seen[4..], last);
}

#[tokio::test]
async fn garbage_in_a_chain_counts_for_nobody_but_the_proxy_that_passed_it_on() {
    let long = "1,".repeat(2_000);
    let garbage = [
        "unknown",
        "",
        " ",
        ",",
        ",,,",
        "1.2.3.4,",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x7f.1",
        "1.2.3.4 5.6.7.8",
        "\"1.2.3.4\"",
        "for=1.2.3.4",
        "fe80::1%eth0",
        "::g",
        "1.2.3.4:99999",
        "1.2.3.4/32",
        "\u{e9}",
        &long,
    ];
    let lines: Vec<[&str; 1]> = garbage.iter().map(|line| [*line]).collect();
    let mut requests: Vec<(&str, &[&str])> = lines.iter().map(|line| ("127.0.0.1", &line[..])).collect();
    requests.push(("127.0.0.1", &["1.2.3.4, nonsense, 10.0.0.2"]));

    let seen = clients("127.0.0.1,10.0.0.0/8", "127.0.0.1", &requests).await;

    for (garbage, seen) in garbage.iter().zip(&seen) {
        assert_eq!(seen, "127.0.0.1", "{garbage:?}");
    }
    assert_eq!(seen[garbage.len()], "10.0.0.2", "the last hop that is believed");
}

#[tokio::test]
async fn ipv4_in_ipv6_is_the_same_peer_and_the_same_network() {
    let requests: &[(&str, &[&str])] = &[("127.0.0.1", &["1.2.3.4"]), ("::1", &["1.2.3.4"])];
    for (trusted, expected) in [
        // The socket listens for both, so that peers of IPv4 come as ::ffff:127.0.0.1.
        ("127.0.0.1", ["1.2.3.4", "::1"]),
        ("::ffff:127.0.0.1", ["1.2.3.4", "::1"]),
        ("::ffff:127.0.0.0/104", ["1.2.3.4", "::1"]),
        ("::ffff:0:0/96", ["1.2.3.4", "::1"]),
        ("::1", ["127.0.0.1", "1.2.3.4"]),
        ("::/0", ["127.0.0.1", "1.2.3.4"]),
        ("0.0.0.0/0,::/0", ["1.2.3.4", "1.2.3.4"]),
    ] {
        assert_eq!(clients(trusted, "::", requests).await, expected, "{trusted}");
    }
}

#[tokio::test]
async fn an_untrusted_peer_gains_no_second_window_and_takes_nobody_elses() {
    let vars = [("RATE_BURST", "2"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let server = TestServer::start(&vars).await;
    let post = async |peer: &str, forwarded: &str| {
        let mut connection = Connection::open_from(peer.parse().unwrap(), server.address).await;
        let body = r#"{"workflow":"w","payload":{}}"#;
        let head = format!(
            "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-Forwarded-For: {forwarded}\r\n\r\n{body}",
            body.len()
        );
        connection.write(head.as_bytes()).await;
        connection.reply().await.status
    };

    let mut spoofed = Vec::new();
    for n in 0..5 {
        spoofed.push(post("127.0.0.9", &format!("5.5.5.{n}")).await);
    }
    assert_eq!(spoofed, [202, 202, 429, 429, 429]);
    // The addresses that it pretended to be have their windows whole.
    assert_eq!([post("127.0.0.1", "5.5.5.0").await, post("127.0.0.1", "5.5.5.0").await], [202, 202]);
    assert_eq!(post("127.0.0.1", "5.5.5.0").await, 429);
    // What a client puts before the proxy's own entry is no other client.
    assert_eq!(post("127.0.0.1", "7.7.7.7, 5.5.5.0").await, 429);
}
