//! What is wrong with a definition is told by its place, soon, and whatever somebody sends.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn every_mistake_is_told_with_its_place_and_what_is_allowed() {
    for (yaml, expected) in [
        (
            "steps:\n  - {id: a, transform: 1}\nstepz: 1\n",
            "line 3 column 1: /stepz: a definition has no `stepz`; it has name, description, input, timeout, retry, steps, output",
        ),
        (
            &step("transforn: 1"),
            "line 3 column 5: /steps/0/transforn: `transforn` is no kind of step; there are connect, http, email, ai, transform, wait",
        ),
        (
            &step("transform: 1\n    iff: x"),
            "line 4 column 5: /steps/0/iff: a step has no `iff`; it has one of connect, http, email, ai, transform, wait, and id, if, needs, retry, timeout, rerun",
        ),
        (
            &step("timeout: 1s"),
            "line 2 column 5: /steps/0: the step does nothing; it needs one of connect, http, email, ai, transform, wait",
        ),
        (
            &step("transform: 1\n    wait: 1s"),
            "line 4 column 5: /steps/0/wait: a step does one thing: only one of connect, http, email, ai, transform, wait",
        ),
        (
            &step("http: {url: \"https://x.y\", verb: GET}"),
            "line 3 column 32: /steps/0/http/verb: http has no `verb`; it has method, url, headers, query, json, body, ok",
        ),
        (
            &step("http: {method: get, url: \"https://x.y\"}"),
            "line 3 column 20: /steps/0/http/method: must be a method in upper case, such as GET or POST",
        ),
        (
            &step("http: {url: \"x.y\"}"),
            "line 3 column 17: /steps/0/http/url: must begin with http:// or https://",
        ),
        (&step("http: {url: \"https://\"}"), "line 3 column 17: /steps/0/http/url: is not a URL"),
        (&step("http: {}"), "line 3 column 11: /steps/0/http: `url` is missing"),
        (
            &step("http: {url: \"https://x.y\", json: 1, body: x}"),
            "line 3 column 41: /steps/0/http/body: only one of `json` and `body` can be sent",
        ),
        (
            &step("http: {url: \"https://x.y\", ok: [200, 99]}"),
            "line 3 column 36: /steps/0/http/ok: must be a list of statuses from 100 to 599, such as [200, 404]",
        ),
        (
            &step("http: {url: \"https://x.y\", headers: {Host: x}}"),
            "line 3 column 42: /steps/0/http/headers/Host: is set by the connection and cannot be given",
        ),
        (
            &step("http: {url: \"https://x.y\", headers: {\"A B\": x}}"),
            "line 3 column 42: /steps/0/http/headers/A B: is not the name of a header",
        ),
        (
            &step("http: {url: \"https://x.y\", headers: {A: \"x\\ny\"}}"),
            "line 3 column 45: /steps/0/http/headers/A: holds a line break or another control character",
        ),
        (
            &step("http: {url: \"https://x.y\", query: {a: [1]}}"),
            "line 3 column 43: /steps/0/http/query/a: must be a text, a number or a boolean, not a list",
        ),
        (
            &step("transform: \"{{ payload. }}\""),
            "line 3 column 16: /steps/0/transform: not an expression: Expecting name of a property",
        ),
        (
            &step("transform: {x: [\"{{ steps.b.output }}\"]}"),
            "line 3 column 21: /steps/0/transform/x/0: there is no step `b`; there are a",
        ),
        (
            &step("transform: \"{{ steps.a.output }}\""),
            "line 3 column 16: /steps/0/transform: step `a` cannot read its own output",
        ),
        (
            &step("transform: \"{{ secrets.KEY }}\""),
            "line 3 column 16: /steps/0/transform: secrets can be used in `http` only, since everything else is stored and shown",
        ),
        (
            &step("if: \"{{ secrets.KEY == 1 }}\"\n    transform: 1"),
            "line 3 column 9: /steps/0/if: secrets can be used in `http` only, since everything else is stored and shown",
        ),
        (
            &step("if: payload.x\n    transform: 1"),
            "line 3 column 9: /steps/0/if: must be one expression, such as \"{{ payload.urgent }}\", or true or false",
        ),
        (
            &step("if: \"{{ payload.x }} \"\n    transform: 1"),
            "line 3 column 9: /steps/0/if: must be exactly one {{ expression }}, with nothing around it",
        ),
        (
            &step("wait: 5"),
            "line 3 column 11: /steps/0/wait: must be a duration such as 5m, {for: <duration>} or {until: <time>}",
        ),
        (
            &step("wait: 5 minutes"),
            "line 3 column 11: /steps/0/wait: must be a whole number with one unit (ms, s, m, h or d), such as 30s",
        ),
        (&step("wait: 400d"), "line 3 column 11: /steps/0/wait: must be 366d at most"),
        (
            &step("wait: 2d"),
            "line 3 column 11: /steps/0/wait: waits longer than the job may take; its `timeout` is 1d",
        ),
        (
            &step("wait: {until: tomorrow}"),
            "line 3 column 19: /steps/0/wait/until: must be an RFC 3339 time with an offset, such as 2030-01-31T09:00:00Z, or a number of seconds since 1970",
        ),
        (
            &step("wait: {}"),
            "line 3 column 11: /steps/0/wait: must be a duration such as 5m, {for: <duration>} or {until: <time>}",
        ),
        (&step("transform: 1\n    timeout: 0s"), "line 4 column 14: /steps/0/timeout: must be longer than 0"),
        (&step("transform: 1\n    timeout: 2d"), "line 4 column 14: /steps/0/timeout: must be 1d at most"),
        (
            &step("transform: 1\n    timeout: 30"),
            "line 4 column 14: /steps/0/timeout: must be a duration such as 500ms, 30s, 5m, 2h or 7d, not a number",
        ),
        (
            &step("transform: 1\n    retry: {attempts: 21}"),
            "line 4 column 23: /steps/0/retry/attempts: must be a whole number from 1 to 20",
        ),
        (
            &step("transform: 1\n    retry: {backoff: linear}"),
            "line 4 column 22: /steps/0/retry/backoff: must be one of fixed, exponential",
        ),
        (
            &step("transform: 1\n    retry: {first: 1m, max: 1s}"),
            "line 4 column 29: /steps/0/retry/max: must not be shorter than `first`",
        ),
        (
            &step("transform: 1\n    rerun: maybe"),
            "line 4 column 12: /steps/0/rerun: must be one of always, never",
        ),
        (
            &step("transform: 1\n    needs: [b]"),
            "line 4 column 13: /steps/0/needs/0: there is no step `b`; there are a",
        ),
        (
            &step("transform: 1\n    needs: a"),
            "line 4 column 12: /steps/0/needs: must be a list of step ids, not a text; [] starts the step at once",
        ),
        (
            &step("transform: 1\n    needs: [a]"),
            "line 4 column 12: /steps/0/needs: the steps wait for each other: a needs a",
        ),
        (
            "steps:\n  - transform: 1\n",
            "line 2 column 5: /steps/0: `id` is missing: each step has one, of a-z, 0-9, _ and -",
        ),
        (
            "steps:\n  - {id: A, transform: 1}\n",
            "line 2 column 10: /steps/0/id: must have 1 to 64 characters of a-z, 0-9, _ and -",
        ),
        (
            "steps:\n  - {id: a, transform: 1}\n  - {id: a, transform: 1}\n",
            "line 3 column 10: /steps/1/id: `a` is the id of step 1 too; ids must differ",
        ),
        (
            "steps:\n  - {id: a, transform: 1}\n  - {id: b, transform: 1}\n  - {id: c, needs: [a, a], transform: 1}\n",
            "line 4 column 24: /steps/2/needs/1: `a` stands here twice",
        ),
        (
            "steps:\n  - {id: a, transform: 1}\n  - {id: b, needs: [], transform: \"{{ steps.a.output }}\"}\n",
            "line 3 column 35: /steps/1/transform: step `a` need not have run by then; name it in `needs`",
        ),
        (
            "steps:\n  - {id: a, needs: [c], transform: 1}\n  - {id: b, transform: 1}\n  - {id: c, transform: 1}\n",
            "line 2 column 20: /steps/0/needs: the steps wait for each other: a needs c needs b needs a",
        ),
        ("steps: []\n", "line 1 column 8: /steps: must hold 1 to 200 steps, not 0"),
        ("steps: 1\n", "line 1 column 8: /steps: must be a list of 1 to 200 steps"),
        ("name: w\n", "line 1 column 1: `steps` is missing: a list of 1 to 200 steps"),
        ("steps: [5]\n", "line 1 column 9: /steps/0: a step must be an object, not a number"),
        ("[]\n", "line 1 column 1: a definition must be an object, not a list"),
        ("\n", "line 2 column 1: a definition must be an object, not null"),
        (
            &format!("timeout: 400d\n{}", step("transform: 1")),
            "line 1 column 10: /timeout: must be 366d at most",
        ),
        (
            &format!("input: {{type: strong}}\n{}", step("transform: 1")),
            "line 1 column 15: /input/type: not a JSON Schema: \"strong\" is no type; there are array, boolean, integer, null, number, object, string, and lists of different ones",
        ),
        (
            &format!("name: other\n{}", step("transform: 1")),
            "line 1 column 7: /name: is `other`, but the definition is stored as `w`",
        ),
        (
            &format!("name: 5\n{}", step("transform: 1")),
            "line 1 column 7: /name: must be a text, not a number",
        ),
        (
            &format!("output: \"{{{{ steps.z.output }}}}\"\n{}", step("transform: 1")),
            "line 1 column 9: /output: there is no step `z`; there are a",
        ),
        (
            &format!("output: \"{{{{ nope + 1 }}}}\"\n{}", step("transform: 1")),
            "line 1 column 9: /output: there is no `nope`; there are payload, steps, job, secrets, tags",
        ),
        (
            &format!("output: \"{{{{ 1 + }}}}\"\n{}", step("transform: 1")),
            "line 1 column 9: /output: not an expression: Script is incomplete",
        ),
    ] {
        assert_eq!(one_problem(yaml), expected, "{yaml}");
    }
    let nameless = Definition::parse(&step("transform: 1"), None).unwrap_err();
    assert_eq!(nameless[0].message, "`name` is missing");
}

#[test]
fn a_name_keeps_one_rule_wherever_it_stands() {
    let long = "ü".repeat(128);
    for name in ["w", "two words", &long] {
        let quoted = crate::json::quote(name);
        assert!(Definition::parse(&step("transform: 1"), Some(name)).is_ok(), "{name}");
        let named = format!("name: {quoted}\n{}", step("transform: 1"));
        assert_eq!(Definition::parse(&named, None).unwrap().name, name);
    }
    for name in ["", "a\0b", &format!("{long}x")] {
        let stored = Definition::parse(&step("transform: 1"), Some(name)).unwrap_err();
        assert!(stored[0].message.contains("cannot be stored as"), "{name}: {stored:?}");
        assert!(stored[0].message.contains("1 to 128 characters without NUL"), "{name}: {stored:?}");
        let named = format!("name: {}\n{}", crate::json::quote(name), step("transform: 1"));
        let said = Definition::parse(&named, None).unwrap_err();
        assert_eq!(
            (said[0].path.as_str(), said[0].message.as_str()),
            ("/name", "must have 1 to 128 characters without NUL")
        );
    }
}

#[test]
fn all_problems_are_told_at_once_up_to_a_limit() {
    let found = problems(
        "steps:\n  - {id: a, http: {url: 5, verb: x}, timeout: 9}\n  - {id: b, transform: \"{{ 1 + }}\"}\n  - {id: c, transform: \"{{ steps.nope.output }}\"}\nzz: 1\n",
    );
    let places: Vec<&str> = found.iter().filter_map(|text| text.split(": ").nth(1)).collect();
    assert_eq!(
        places,
        [
            "/zz",
            "/steps/0/http/verb",
            "/steps/0/http/url",
            "/steps/0/timeout",
            "/steps/1/transform",
            "/steps/2/transform"
        ],
        "{found:#?}"
    );

    let many: String = (0..100).map(|index| format!("x{index}: 1\n")).collect();
    assert_eq!(problems(&many).len(), MAX_PROBLEMS);
}

#[test]
fn hostile_definitions_are_refused_soon() {
    let many_steps: String = (0..201).map(|index| format!("- {{id: s{index}, transform: 1}}\n")).collect();
    let long_id = step("transform: 1").replace("id: a", &format!("id: {}", "a".repeat(65)));
    let cycle: String = (0..200)
        .map(|index| format!("- {{id: s{index}, transform: 1, needs: [s{}]}}\n", (index + 1) % 200))
        .collect();
    let expressions = step(&format!("transform: [{}]", "\"{{ 1 + 1 }}\", ".repeat(12_000)));
    let braces = step(&format!("transform: \"{}\"", "{{".repeat(100_000)));
    let schema = format!("input: {}{{}}{}\n{}", "{not: ".repeat(44), "}".repeat(44), step("transform: 1"));
    for (hostile, may_pass) in [
        (format!("steps:\n{many_steps}"), false),
        (long_id, false),
        (format!("steps:\n{cycle}"), false),
        (expressions, false),
        (braces, false),
        (schema, true),
        (step(&format!("transform: \"{}\"", "x".repeat(10 << 20))), false),
        (step("transform: \"{{ (0..1000000000) }}\""), true),
        (
            "input: {pattern: \"(((a{1000}){1000}){1000})\"}\nsteps:\n- {id: a, transform: 1}\n".to_owned(),
            false,
        ),
    ] {
        let started = Instant::now();
        let result = Definition::parse(&hostile, Some("w"));
        assert!(started.elapsed() < Duration::from_secs(3), "{hostile:.80}: {:?}", started.elapsed());
        assert!(may_pass || result.is_err(), "{hostile:.80}");
    }
}

#[test]
fn two_hundred_steps_that_need_each_other_widely_are_checked_soon() {
    let mut yaml = String::from("steps:\n");
    for index in 0..200 {
        let needs: Vec<String> = (index.max(60) - 60..index).map(|need| format!("s{need}")).collect();
        yaml.push_str(&format!("- {{id: s{index}, transform: 1, needs: [{}]}}\n", needs.join(",")));
    }

    let started = Instant::now();
    let definition = Definition::parse(&yaml, Some("w")).unwrap();

    assert_eq!(definition.steps.len(), 200);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn random_mutations_of_a_definition_never_panic() {
    let mut state = 11u64;
    let mut roll = |sides: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % sides
    };
    let letters: Vec<char> = FULL.chars().collect();
    for _ in 0..400 {
        let mut text = letters.clone();
        for _ in 0..1 + roll(6) {
            let at = roll(text.len());
            match roll(3) {
                0 => text[at] = ['{', '}', '"', ':', '\n', '-', '*', '&', 'é', '\0'][roll(10)],
                1 => {
                    text.remove(at);
                }
                _ => {
                    let end = (at + roll(40)).min(text.len());
                    text.drain(at..end);
                }
            }
        }
        let text: String = text.into_iter().collect();
        let _ = Definition::parse(&text, Some("orders"));
    }
}
