//! Every secret that a test configures is a marked text, and no mark may stand in anything that comes out: answers of every test,
//! the log and the files of every server (database, backups), at the end of each.

pub use levqor_testkit::marks::{CALLBACK, check, check_folder};
use levqor_testkit::marks::{CALLBACK_WRITTEN, MARK, SEALING};

/// No name that a test gives a key of the environment is longer.
const NAME_MAX_CHARS: usize = 16;

/// A key of the environment as the server knows it, for the name that a test gives it. Keys that were made, and what was made
/// of those, are long and left alone.
pub fn key(name: &str) -> String {
    let is_name = (1..=NAME_MAX_CHARS).contains(&name.len());
    if is_name { format!("{MARK}-key-{name}") } else { name.to_owned() }
}

/// The value of a variable as the server gets it.
pub fn marked(name: &str, value: &str) -> String {
    match name {
        "API_KEYS" | "API_KEYS_NEXT" => {
            value.split(',').map(|one| key(one.trim())).collect::<Vec<_>>().join(",")
        }
        "STRIPE_SECRET_KEY" | "STRIPE_WEBHOOK_SECRET" | "RESEND_API_KEY" => {
            let is_marked = value.split(',').all(|one| one.is_empty() || one.contains(MARK));
            assert!(is_marked, "{name} is not marked in this test: put `canary` into it");
            value.to_owned()
        }
        "SECRET_KEY" | "SECRET_KEY_OLD" => {
            let is_marked = value.contains(&SEALING[8..]);
            assert!(is_marked, "{name} is not marked in this test: it begins as SEALING does");
            value.to_owned()
        }
        _ => value.to_owned(),
    }
}

#[test]
fn a_mark_is_noticed_wherever_it_stands() {
    let folder = levqor_testkit::TempDir::new();
    std::fs::create_dir(folder.join("backups")).unwrap();
    check("nothing", b"can ary");
    check_folder(folder.path());
    for secret in [key("k").as_bytes(), CALLBACK_WRITTEN.as_bytes(), SEALING.as_bytes()] {
        std::fs::write(folder.join("backups/a.db"), [b"\0\xff", secret, b"\0"].concat()).unwrap();
        let noticed = std::panic::catch_unwind(|| check_folder(folder.path()));
        assert!(noticed.is_err(), "{}", String::from_utf8_lossy(secret));
    }
    let written = levqor_core::signature::Secret::from_random(*CALLBACK).expose();
    assert!(written.contains(CALLBACK_WRITTEN), "{written}");
}
