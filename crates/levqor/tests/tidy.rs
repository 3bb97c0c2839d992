//! What the compiler cannot hold: that the map names files that exist, that files stay small, that nothing is left
//! unfinished, and that the documents link to each other.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file owns one thing; beyond this it probably owns two.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Source files that are not tests.
fn sources() -> Vec<PathBuf> {
    let is_test = |path: &Path| {
        let text = path.to_string_lossy();
        text.contains("/tests/") || text.ends_with("tests.rs")
    };
    files_below(&root().join("crates"), ".rs").into_iter().filter(|path| !is_test(path)).collect()
}

#[test]
fn the_map_names_files_that_exist() {
    let map = read(&root().join("ARCHITECTURE.md"));

    let named: Vec<&str> =
        map.split('`').filter(|word| word.starts_with("crates/") && !word.contains(' ')).collect();
    assert!(named.len() > 20, "the walk is gone from ARCHITECTURE.md");
    let missing: Vec<&&str> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn source_files_stay_small_and_say_what_they_own() {
    for path in sources() {
        let text = read(&path);
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines, {MAX_LINES} are allowed: split it",
            path.display()
        );
        assert!(text.starts_with("//!"), "{} does not say what it owns: begin it with //!", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished_or_silenced() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO", "FIX"].map(|half| half.to_owned() + if half == "TO" { "DO" } else { "ME" });
    let silenced = ["#[ignore", "allow(dead_code", "should_panic"];
    for path in files_below(&root().join("crates"), ".rs") {
        if path.ends_with("tidy.rs") {
            continue;
        }
        let text = read(&path);
        for mark in marks.iter().map(String::as_str).chain(silenced) {
            assert!(!text.contains(mark), "{} holds `{mark}`", path.display());
        }
    }
}

#[test]
fn permits_are_made_in_one_place() {
    let maker = ["Permit::of_committed", "_hold("].concat();
    let is_user = |path: &PathBuf| read(path).contains(&maker) && !path.ends_with("core/src/money/permit.rs");
    let users: Vec<PathBuf> = sources().into_iter().filter(is_user).collect();
    assert_eq!(users.len(), 1, "who makes permits sends what nobody holds money for: {users:?}");
    assert!(users[0].ends_with("store/src/money/permits.rs"), "{users:?}");
    assert_eq!(read(&users[0]).matches(&maker).count(), 1);
}

/// The names stand for data, the key that connections are sealed with, and what a restore set aside.
#[test]
fn what_a_server_leaves_in_its_folder_gets_into_no_commit_and_no_image() {
    for (file, folder) in [(".gitignore", "/backups"), (".dockerignore", "backups")] {
        let text = read(&root().join(file));
        for pattern in ["*.db", "*.db-*", "*.db.*", ".env", folder] {
            assert!(text.lines().any(|line| line == pattern), "{file} lets {pattern} through");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = Vec::new();
    for folder in ["docs", "blog", "legal", "faq"] {
        documents.extend(files_below(&root().join(folder), ".md"));
    }
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        documents.push(root().join(name));
    }
    for document in documents {
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let at = document.parent().expect("a folder").join(file);
            assert!(at.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_code_and_shares_its_lints() {
    for manifest in files_below(&root().join("crates"), "Cargo.toml") {
        assert!(read(&manifest).contains("[lints]\nworkspace = true"), "{}", manifest.display());
    }
    assert!(read(&root().join("Cargo.toml")).contains("unsafe_code = \"forbid\""));
}
