#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn none() -> OutboundPolicy {
    OutboundPolicy::default()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_edges_of_every_special_network_are_judged_right() {
    let refused = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "3fff:fff:ffff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "ff02::1",
    ];
    for text in refused {
        assert!(!is_public(ip(text)), "{text}");
        assert!(!none().permits_ip(ip(text)), "{text}");
    }
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.0.3.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "3fff:1000::1",
    ];
    for text in public {
        assert!(is_public(ip(text)), "{text}");
    }
}

#[test]
fn hostile_urls_are_refused_and_the_answer_names_the_address_and_the_way_out() {
    let cases = [
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1:8080/a?b#c", "127.0.0.1"),
        ("https://127.1/", "127.0.0.1"),
        ("http://127.0.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://017700000001/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://0x7f.0.0.0x1/", "127.0.0.1"),
        ("http://0177.0.0.01/", "127.0.0.1"),
        ("http://0/", "0.0.0.0"),
        ("http://0.0.0.0:5000/", "0.0.0.0"),
        ("http://127.0.0.1./", "127.0.0.1"),
        ("http://%31%32%37.0.0.1/", "127.0.0.1"),
        ("http://①②⑦.⓪.⓪.①/", "127.0.0.1"),
        ("http://127。0。0。1/", "127.0.0.1"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://2852039166/", "169.254.169.254"),
        ("http://0xa9fea9fe/", "169.254.169.254"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://192.168.1.1/", "192.168.1.1"),
        ("http://172.16.0.1/", "172.16.0.1"),
        ("http://100.100.100.200/", "100.100.100.200"),
        ("http://255.255.255.255/", "255.255.255.255"),
        ("http://[::1]/", "::1"),
        ("http://[0:0:0:0:0:0:0:1]:80/", "::1"),
        ("http://[::]/", "::"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
        ("http://[::ffff:7f00:1]/", "::ffff:127.0.0.1"),
        ("http://[::7f00:1]/", "::7f00:1"),
        ("http://[64:ff9b::169.254.169.254]/", "64:ff9b::a9fe:a9fe"),
        ("http://[2002:7f00:1::]/", "2002:7f00:1::"),
        ("http://[fe80::1]/", "fe80::1"),
        ("http://[fd00:ec2::254]/", "fd00:ec2::254"),
        ("http://localhost/", "localhost"),
        ("http://localhost:5000/", "localhost"),
        ("http://LOCALHOST/", "localhost"),
        ("http://localhost./", "localhost."),
        ("http://ⓛocalhost/", "localhost"),
        ("http://loc%61lhost/", "localhost"),
        ("http://a.localhost/", "a.localhost"),
        ("http://localhost.localdomain/", "localhost.localdomain"),
        ("http://printer.local/", "printer.local"),
        ("http://metadata.google.internal/computeMetadata/v1/", "metadata.google.internal"),
        ("http://metadata.google.internal./", "metadata.google.internal."),
        ("http://nas.home.arpa/", "nas.home.arpa"),
        ("http://metadata/", "metadata"),
        ("http://ip6-localhost/", "ip6-localhost"),
        ("http://redis:6379/", "redis"),
    ];
    for (url, host) in cases {
        let problem = judge_url(url, &none()).unwrap_err();
        let text = problem.to_string();
        assert!(
            matches!(&problem, UrlProblem::Refused { host: named, .. } if named == host),
            "{url}: {text}"
        );
        assert!(text.contains("OUTBOUND_ALLOW"), "{url}: {text}");
    }
}

#[test]
fn what_is_no_http_url_is_refused() {
    for url in [
        "",
        "example.com",
        "ftp://example.com/",
        "HTTP://example.com",
        "Https://example.com",
        "file:///etc/passwd",
        "http:/example.com",
        "http:example.com",
        "//example.com",
        " http://example.com",
        "javascript:alert(1)",
        "gopher://x.com",
    ] {
        assert_eq!(judge_url(url, &none()), Err(UrlProblem::Scheme), "{url:?}");
    }
    let malformed = [
        "http://",
        "https://",
        "http:///example.com",
        "https:///x",
        "http:////example.com",
        "http://:80/",
        "http://?x",
        "http://#x",
        "http://example.com /",
        "http://exa mple.com/",
        "http://example.com/a b",
        "http://example.com/\r\nHost: x",
        "http://example.com/\n",
        "http://example.com/\t",
        "http://exam\tple.com/",
        "http://example.com/\u{0}",
        "http://example.com\u{a0}/",
        "http://example.com/\u{2028}",
        "http://example.com/\u{7f}",
        "http://example.com\\@127.0.0.1/",
        "http:\\\\example.com",
        "http://user@example.com/",
        "http://user:pass@example.com/",
        "http://@example.com/",
        "http://:@example.com/",
        "http://127.0.0.1@example.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:80x/",
        "http://example.com:-1/",
        "http://[::1/",
        "http://::1/",
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.x]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://127.0.0.1../",
        "http://.example.com/",
        "http://a..example.com/",
        "http://./",
        "http://../",
        "http://example.com../",
        "http://exa%00mple.com/",
        "http://exa%20mple.com/",
        "http://a<b.com/",
        "http://a|b.com/",
        "http://%/",
        "http://xn--/",
    ];
    for url in malformed {
        let problem = judge_url(url, &none()).unwrap_err();
        assert!(matches!(problem, UrlProblem::Malformed(_) | UrlProblem::Scheme), "{url:?}: {problem:?}");
    }
    let long_label = format!("http://{}.com/", "a".repeat(64));
    assert!(matches!(judge_url(&long_label, &none()), Err(UrlProblem::Malformed(_))));
    let long_name = format!("http://{}com/", "abcdefgh.".repeat(30));
    assert!(matches!(judge_url(&long_name, &none()), Err(UrlProblem::Malformed(_))));
}

#[test]
fn public_urls_pass_and_name_their_receiver() {
    let cases = [
        ("http://example.com", "example.com:80"),
        ("https://example.com/hook?x=1#y", "example.com:443"),
        ("https://EXAMPLE.com:8443/", "example.com:8443"),
        ("https://example.com./", "example.com:443"),
        ("http://example.com:/", "example.com:80"),
        ("https://bücher.example/", "xn--bcher-kva.example:443"),
        ("https://my_host.example.com/a/@/b", "my_host.example.com:443"),
        ("http://8.8.8.8:65535/", "8.8.8.8:65535"),
        ("http://134744072/", "8.8.8.8:80"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
        ("http://[2606:4700:0:0::1111]:81/", "[2606:4700::1111]:81"),
        ("https://internal.example.com/", "internal.example.com:443"),
        ("https://notlocalhost.com/", "notlocalhost.com:443"),
        ("https://localhost.run/", "localhost.run:443"),
    ];
    for (url, receiver) in cases {
        let target = judge_url(url, &none()).unwrap_or_else(|problem| panic!("{url}: {problem}"));
        assert_eq!(target.host_port, receiver, "{url}");
        assert_eq!(host_port(url).as_deref(), Some(receiver), "{url}");
    }
}

#[test]
fn the_list_opens_its_networks_and_no_others() {
    let loopback = OutboundPolicy::parse("127.0.0.0/8").unwrap();
    for url in [
        "http://127.0.0.1:9000/",
        "http://2130706433/",
        "http://localhost:9000/",
        "http://[::ffff:127.0.0.1]/",
        "http://receiver:80/",
        "http://a.internal/",
    ] {
        assert!(judge_url(url, &loopback).is_ok(), "{url}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://0.0.0.0/"] {
        assert!(judge_url(url, &loopback).is_err(), "{url}");
    }

    let private = OutboundPolicy::parse(" 10.0.0.0/8 , fd00::/8,").unwrap();
    assert!(
        judge_url("http://10.9.9.9/", &private).is_ok() && judge_url("http://[fd12::1]/", &private).is_ok()
    );
    assert!(judge_url("http://localhost/", &private).is_err(), "loopback is not on the list");
    assert!(judge_url("http://redis/", &private).is_ok(), "its address decides later");

    assert!(OutboundPolicy::parse("::1").unwrap().permits_ip(ip("::1")));
    assert!(OutboundPolicy::parse("127.0.0.1").unwrap().permits_ip(ip("127.0.0.1")));
    assert!(!OutboundPolicy::parse("127.0.0.1").unwrap().permits_ip(ip("127.0.0.2")));
    assert!(OutboundPolicy::parse("::ffff:10.0.0.0/104").unwrap().permits_ip(ip("10.1.1.1")));
    assert_eq!(OutboundPolicy::parse("").unwrap(), none());
}

#[test]
fn an_entry_that_is_no_network_is_named() {
    for entry in ["10.0.0.0/33", "localhost", "10.0.0", "fd00::/129", "10.0.0.0/8 10.0.0.1", "*"] {
        let error = OutboundPolicy::parse(&format!("127.0.0.1,{entry}")).unwrap_err();
        assert_eq!(error.entry, entry);
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_judge_panic(text: String, host in "[0-9a-fx:.%\\[\\]@]{0,20}") {
        let _ = judge_url(&text, &none());
        let _ = judge_url(&format!("http://{host}/"), &none());
        let _ = OutboundPolicy::parse(&text);
    }

    #[test]
    fn every_spelling_of_an_ipv4_address_is_judged_alike(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = v4.octets();
        let verdict = is_public(v4.into());
        for url in [
            format!("http://{bits}/"),
            format!("http://0x{bits:x}/"),
            format!("http://0{bits:o}/"),
            format!("http://{a}.{}/", bits & 0xff_ffff),
            format!("http://0{a:o}.0x{b:x}.{c}.{d}./"),
            format!("http://[::ffff:{v4}]/"),
        ] {
            prop_assert_eq!(judge_url(&url, &none()).is_ok(), verdict, "{}", url);
        }
    }
}
