//! Budgets, prices and the switch of AI calls from the command line.

use serde_json::Value;

use crate::program::Running;

#[test]
fn a_budget_is_set_listed_shown_and_deleted() {
    let server = Running::start(&[], |_| {});
    let set = |more: &[&str]| {
        let base = ["budgets", "set", "blue", "--scope", "tag", "--id", "team=blue", "--window", "day"];
        server.levqor(&[&base[..], more].concat())
    };

    let made = set(&[
        "--limit",
        "5",
        "--thresholds",
        "50,99.5",
        "--email",
        "ops@example.com",
        "--slack",
        "team/#ops",
    ]);
    assert_eq!(
        (made.code, made.out.as_str()),
        (Some(0), "blue: set, $5.00 for tag team=blue, window day, hard\n"),
        "{}",
        made.err
    );
    assert!(
        set(&[
            "--limit",
            "5",
            "--thresholds",
            "50,99.5",
            "--email",
            "ops@example.com",
            "--slack",
            "team/#ops"
        ])
        .out
        .contains("as it was")
    );
    assert!(set(&["--limit", "0.35", "--mode", "soft", "--disabled"]).out.contains("changed, $0.35"));

    let listed = server.levqor(&["budgets", "list"]);
    let row =
        listed.out.lines().find(|line| line.starts_with("blue ")).unwrap_or_else(|| panic!("{}", listed.out));
    for cell in ["tag team=blue", "day", "0.35", "0.00", "off"] {
        assert!(row.contains(cell), "{cell}: {row}");
    }
    let shown = server.levqor(&["budgets", "show", "blue"]);
    assert!(
        shown.out.contains("spent $0.00, held $0.00, left $0.35") && shown.out.contains("resets "),
        "{}",
        shown.out
    );
    let json: Value =
        serde_json::from_str(&server.levqor(&["budgets", "show", "blue", "--json"]).out).unwrap();
    assert_eq!((json["limit"].as_str(), json["enabled"].as_bool()), (Some("0.35"), Some(false)));

    assert_eq!(server.levqor(&["budgets", "delete", "blue"]).out, "blue: deleted\n");
    for (arguments, code, words) in [
        (&["budgets", "show", "blue"][..], 5, "no such budget"),
        (&["budgets", "delete", "blue"], 5, "no such budget"),
        (
            &["budgets", "set", "x", "--scope", "team", "--window", "day", "--limit", "5"],
            4,
            "must be one of job",
        ),
        (&["budgets", "set", "x", "--scope", "global", "--window", "day", "--limit", "five"], 4, "\"five\""),
        (
            &[
                "budgets", "set", "x", "--scope", "global", "--window", "day", "--limit", "5", "--slack",
                "ops",
            ],
            2,
            "connection/channel",
        ),
        (&["budgets", "set", "x", "--scope", "global"], 2, "--window"),
    ] {
        let outcome = server.levqor(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(code), ""), "{arguments:?}: {}", outcome.err);
        assert!(outcome.err.contains(words), "{arguments:?}: {}", outcome.err);
    }
}

#[test]
fn prices_are_imported_compared_and_put_in_force() {
    let server = Running::start(&[], |_| {});
    let header = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens";
    let file = server.dir.join("own.csv");
    std::fs::write(&file, format!("{header}\nlocal,llama,free,,,\nopenai,gpt-6-sol,priced,0.2,10,100\n"))
        .unwrap();
    let file = file.to_str().unwrap();
    assert!(server.levqor(&["prices", "books"]).out.contains("comes with the program"));

    let draft = server.levqor(&["prices", "import", file, "--kind", "own", "--source", "contract 17"]);

    assert_eq!(draft.code, Some(0), "{}", draft.err);
    for line in [
        "  + local/llama",
        "  ~ openai/gpt-6-sol",
        "      input (standard): 2.00 → 0.20",
        "  ! openai/gpt-6-sol: ",
        "1 added, 1 changed, 0 removed",
    ] {
        assert!(draft.out.contains(line), "{line}: {}", draft.out);
    }
    let id = draft.out.split(' ').next().unwrap();
    assert_eq!(server.levqor(&["prices", "diff", id]).out, draft.out);
    let refused = server.levqor(&["prices", "activate", id]);
    assert_eq!(refused.code, Some(4));
    assert!(
        refused.err.contains("openai/gpt-6-sol") && refused.err.contains("more than a factor of 4"),
        "{}",
        refused.err
    );
    let active = server.levqor(&["prices", "activate", id, "--accept", "openai/gpt-6-sol"]);
    assert_eq!((active.code, active.out), (Some(0), format!("{id}: in force\n")), "{}", active.err);
    let listed = server.levqor(&["prices", "list", "--provider", "local"]);
    assert!(
        listed
            .out
            .lines()
            .any(|line| line.starts_with("local/llama") && line.contains("free") && line.contains(id)),
        "{}",
        listed.out
    );
    assert!(server.levqor(&["prices", "list", "--model", "gpt-6-sol"]).out.contains("0.20"));
    assert!(server.levqor(&["prices", "books"]).out.contains("contract 17"));

    std::fs::write(file, format!("{header}\np,a,priced,0,2,100\n")).unwrap();
    let broken = server.levqor(&["prices", "import", file]);
    assert_eq!(broken.code, Some(4));
    assert!(broken.err.contains("line 2: input_usd_per_mtok is 0"), "{}", broken.err);
    assert_eq!(server.levqor(&["prices", "import", "/nowhere.csv"]).code, Some(2));
    assert_eq!(server.levqor(&["prices", "diff", "list-0000000000000000"]).code, Some(5));
}

#[test]
fn all_calls_are_stopped_and_started_by_one_command() {
    let server = Running::start(&[], |_| {});

    assert_eq!(server.levqor(&["ai", "stop"]).out, "AI calls are stopped.\n");
    assert_eq!(server.levqor(&["ai", "stop"]).out, "AI calls were stopped before.\n");
    assert!(server.levqor(&["budgets", "list"]).err.contains("levqor ai start"));
    assert_eq!(server.levqor(&["ai", "start"]).out, "AI calls are made again.\n");
    assert_eq!(server.levqor(&["ai", "start"]).out, "AI calls were not stopped.\n");
    assert_eq!(server.levqor(&["ai", "calls"]).out, "No such calls.\n");
    assert_eq!(server.levqor(&["ai", "quarantine"]).out, "No model is in quarantine.\n");
    assert_eq!(server.levqor(&["ai", "lift", "openai/gpt-6-sol"]).code, Some(5));
    assert_eq!(server.levqor(&["ai", "lift", "gpt"]).code, Some(4));
    let id = "0".repeat(32);
    assert_eq!(server.levqor(&["ai", "call", &id]).code, Some(5));
    assert_eq!(server.levqor(&["ai", "correct", &id, "--cost", "1", "--reason", "x"]).code, Some(5));
    assert_eq!(server.levqor(&["ai", "correct", &id, "--cost", "x", "--reason", "x"]).code, Some(4));
    assert_eq!(server.levqor(&["ai", "calls", "--state", "done"]).code, Some(4));
}
