#![allow(clippy::unwrap_used)]

use super::*;

fn act(n: i64) -> Act {
    Act::new(&Actor::key("k1"), "workflow.put", format!("hello-{n}"), 1_800_000_000_000 + n)
        .detail(json!({"version": n}))
}

/// A chain of so many entries, oldest first, with its head.
fn chain(entries: i64) -> (Vec<Entry>, Head) {
    let mut head = Head::origin();
    let entries = (1..=entries).map(|n| {
        let entry = Entry::after(&head, &act(n));
        head = Head { seq: entry.seq, hash: entry.hash.clone() };
        entry
    });
    (entries.collect(), head)
}

fn verify(entries: &[Entry], head: &Head, noted: Option<&Head>) -> Result<i64, Broken> {
    let mut chain = Chain::from_head(head.clone(), noted.cloned());
    entries.iter().rev().for_each(|entry| chain.check(entry));
    chain.end()
}

#[test]
fn the_canonical_form_never_changes() {
    let entry = Entry::after(&Head::origin(), &act(1));

    // printf '%s' '["levqor-audit-1",1,1800000000001,"key:k1","workflow.put","hello-1","{\"version\":1}","000…"]' | sha256sum
    let form = format!(
        r#"["levqor-audit-1",1,1800000000001,"key:k1","workflow.put","hello-1","{{\"version\":1}}","{ORIGIN}"]"#
    );
    assert_eq!(entry.hash, hex(&Sha256::digest(form.as_bytes())));
    assert_eq!(entry.hash, "333f3465876766b13b0e7db908ec7aa983be7475f252f1eb68f4b62d6cbc5fdf");
}

#[test]
fn a_chain_as_it_was_written_holds() {
    let (entries, head) = chain(9);

    assert_eq!(verify(&entries, &head, None), Ok(9));
    assert_eq!(verify(&[], &Head::origin(), None), Ok(0));
    for entry in &entries {
        let noted = Head { seq: entry.seq, hash: entry.hash.clone() };
        assert_eq!(verify(&entries, &head, Some(&noted)), Ok(9));
    }
}

#[test]
fn a_change_of_any_column_of_any_entry_names_that_entry() {
    let (entries, head) = chain(4);
    type Change = fn(&mut Entry);
    let changes: [(&str, Change); 7] = [
        ("at_ms", |entry| entry.at_ms += 1),
        ("actor", |entry| entry.actor.push('x')),
        ("action", |entry| entry.action.push('x')),
        ("object", |entry| entry.object.push('x')),
        ("detail", |entry| entry.detail.push(' ')),
        ("prev_hash", |entry| entry.prev_hash = ORIGIN.replace("00", "0f")),
        ("hash", |entry| entry.hash = ORIGIN.replace("00", "0f")),
    ];
    for place in 0..entries.len() {
        for (column, change) in changes {
            let mut changed = entries.clone();
            change(&mut changed[place]);

            let broken = verify(&changed, &head, None).unwrap_err();
            // Another `prev_hash` accuses the entry before as well: one of both was changed.
            let seqs =
                if column == "prev_hash" { [place as i64, place as i64 + 1] } else { [place as i64 + 1; 2] };
            assert!(seqs.contains(&broken.seq), "{column} of {place}: {broken}");
        }
    }
}

#[test]
fn a_rewritten_entry_with_a_fitting_hash_is_found_by_what_follows_it() {
    let (mut entries, head) = chain(4);
    entries[1].object = "innocent".to_owned();
    entries[1].hash = entries[1].computed_hash();

    assert_eq!(verify(&entries, &head, None).unwrap_err().seq, 2);
}

#[test]
fn deleted_entries_are_found_wherever_they_were() {
    let (entries, head) = chain(5);
    for place in 0..entries.len() {
        let mut cut = entries.clone();
        cut.remove(place);
        let broken = verify(&cut, &head, None).unwrap_err();
        assert_eq!((broken.seq, broken.what), (place as i64 + 1, "it is missing"));
    }
    assert_eq!(verify(&entries[..2], &head, None).unwrap_err().seq, 3, "the tail");
    assert_eq!(verify(&entries[3..], &head, None).unwrap_err().seq, 1, "the beginning");
    assert_eq!(verify(&[], &head, None).unwrap_err().seq, 1, "everything");
}

#[test]
fn a_tail_that_was_cut_off_together_with_the_head_is_found_by_the_noted_head() {
    let (entries, head) = chain(5);
    let earlier = Head { seq: 3, hash: entries[2].hash.clone() };

    assert_eq!(verify(&entries[..3], &earlier, None), Ok(3), "the log itself cannot know");
    assert_eq!(verify(&entries[..3], &earlier, Some(&head)).unwrap_err().seq, 5);
}

#[test]
fn a_whole_new_chain_is_found_by_the_noted_head() {
    let (entries, _) = chain(5);
    let noted = Head { seq: 3, hash: entries[2].hash.clone() };
    let mut head = Head::origin();
    let forged: Vec<Entry> = (1..=5)
        .map(|n| {
            let entry = Entry::after(&head, &act(n + 100));
            head = Head { seq: entry.seq, hash: entry.hash.clone() };
            entry
        })
        .collect();

    assert_eq!(verify(&forged, &head, None), Ok(5), "the log itself cannot know");
    assert_eq!(verify(&forged, &head, Some(&noted)).unwrap_err().seq, 3);
}

#[test]
fn entries_beyond_the_head_or_twice_are_found() {
    let (entries, _) = chain(5);
    let head = Head { seq: 4, hash: entries[3].hash.clone() };
    assert_eq!(verify(&entries, &head, None).unwrap_err().seq, 5);

    let (mut doubled, head) = chain(3);
    doubled.insert(1, doubled[1].clone());
    assert!(verify(&doubled, &head, None).is_err());
}

#[test]
fn a_head_survives_being_written_down_and_nothing_else_is_taken_for_one() {
    let (_, head) = chain(2);
    assert_eq!(head.to_string().parse(), Ok(head.clone()));
    for text in [
        "",
        "2",
        ":",
        "2:",
        "2:abc",
        "-1:",
        &format!("x:{}", head.hash),
        &format!("2:{}", head.hash.to_uppercase()),
    ] {
        assert_eq!(text.parse::<Head>(), Err(BadHead), "{text}");
    }
}

#[test]
fn actors_are_told_apart_and_keys_are_not_shown() {
    let (one, other) = (Actor::environment(b"alpha"), Actor::environment(b"beta"));

    assert_ne!(one, other);
    assert!(one.as_str().starts_with("env:") && one.as_str().len() == 12, "{}", one.as_str());
    assert!(!one.as_str().contains("alpha"));
    assert_eq!(Actor::key("k").as_str(), "key:k");
}
