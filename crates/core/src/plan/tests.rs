#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use super::*;

fn definition(yaml: &str) -> Definition {
    Definition::parse(yaml, Some("w")).unwrap_or_else(|problems| panic!("{yaml}: {problems:?}"))
}

fn row(step: &str, attempt: i64, status: StepStatus) -> StepRow {
    let output = (status == StepStatus::Succeeded).then(|| format!("\"{step}\""));
    let error = (status == StepStatus::Failed).then(|| JobError::new("http_status", "503").at_step(step));
    StepRow {
        step: step.to_owned(),
        attempt,
        status,
        started_at_ms: 0,
        finished_at_ms: None,
        until_ms: None,
        output,
        error,
    }
}

fn until(mut row: StepRow, until_ms: i64) -> StepRow {
    row.until_ms = Some(until_ms);
    row
}

fn perform(step: usize, attempt: i64, attempt_in_budget: i64) -> Task {
    Task { step, attempt, attempt_in_budget, action: Action::Perform }
}

const LINE: &str = "steps:\n- {id: a, transform: 1}\n- {id: b, http: {url: \"http://x.y\"}, rerun: never}\n- {id: c, wait: 1s}\n";

fn plan_line(rows: &[StepRow], now_ms: i64) -> Plan {
    plan(&definition(LINE), rows, &HashSet::new(), now_ms)
}

#[test]
fn steps_follow_each_other_and_then_the_job_is_done() {
    use StepStatus::{Skipped, Succeeded, Waiting};
    assert_eq!(plan_line(&[], 0), Plan::Run(vec![perform(0, 1, 1)]));
    assert_eq!(plan_line(&[row("a", 1, Succeeded)], 0), Plan::Run(vec![perform(1, 1, 1)]));
    let two = [row("a", 1, Skipped), row("b", 1, Succeeded)];
    assert_eq!(plan_line(&two, 0), Plan::Run(vec![perform(2, 1, 1)]), "a skipped step counts as done");
    let waiting = [two[0].clone(), two[1].clone(), until(row("c", 1, Waiting), 50)];
    assert_eq!(plan_line(&waiting, 49), Plan::Wait { until_ms: Some(50) });
    let end = Task { step: 2, attempt: 1, attempt_in_budget: 1, action: Action::EndWait };
    assert_eq!(plan_line(&waiting, 50), Plan::Run(vec![end]));
    let all = [two[0].clone(), two[1].clone(), row("c", 1, Succeeded)];
    assert_eq!(plan_line(&all, 0), Plan::Done);
}

#[test]
fn a_failed_attempt_is_repeated_at_its_time_and_a_final_one_fails_the_job() {
    use StepStatus::{Failed, Retried, Succeeded};
    let retry = [until(row("a", 1, Failed), 100)];
    assert_eq!(plan_line(&retry, 99), Plan::Wait { until_ms: Some(100) });
    assert_eq!(plan_line(&retry, 100), Plan::Run(vec![perform(0, 2, 2)]));

    let failed = [retry[0].clone(), row("a", 2, Failed)];
    let Plan::Failed { step, error } = plan_line(&failed, 500) else { panic!() };
    assert_eq!((step.as_str(), error.code.as_str()), ("a", "http_status"));

    let retried = [retry[0].clone(), row("a", 2, Retried)];
    assert_eq!(
        plan_line(&retried, 500),
        Plan::Run(vec![perform(0, 3, 1)]),
        "numbers go on, the budget begins again"
    );
    let after = [retried[0].clone(), retried[1].clone(), until(row("a", 3, Failed), 600)];
    assert_eq!(plan_line(&after, 600), Plan::Run(vec![perform(0, 4, 2)]));
    let mut shuffled = after.to_vec();
    shuffled.reverse();
    assert_eq!(plan_line(&shuffled, 600), plan_line(&after, 600), "the order of rows does not matter");
    let good = [after[0].clone(), after[1].clone(), row("a", 3, Succeeded)];
    assert_eq!(plan_line(&good, 600), Plan::Run(vec![perform(1, 1, 1)]));
}

#[test]
fn a_step_that_must_not_run_twice_is_lost_when_its_process_died() {
    let rows = [row("a", 1, StepStatus::Succeeded), row("b", 1, StepStatus::Started)];

    let Plan::Failed { step, error } = plan_line(&rows, 0) else { panic!() };
    assert_eq!((step.as_str(), error.code.as_str(), error.step.as_deref()), ("b", LOST, Some("b")));
    assert!(error.message.contains("may or may not have happened"), "{error:?}");

    let here = plan(&definition(LINE), &rows, &HashSet::from(["b"]), 0);
    assert_eq!(here, Plan::Wait { until_ms: None }, "in this process it is not lost");
    let started = [row("a", 1, StepStatus::Started)];
    assert_eq!(plan_line(&started, 0), Plan::Run(vec![perform(0, 2, 2)]), "others run again");
    let retried = [rows[0].clone(), row("b", 1, StepStatus::Retried)];
    assert_eq!(plan_line(&retried, 0), Plan::Run(vec![perform(1, 2, 1)]));
}

#[test]
fn what_may_run_side_by_side_does_and_rests_wait_for_the_earliest() {
    let fan = definition(
        "steps:\n- {id: a, transform: 1, needs: []}\n- {id: b, transform: 1, needs: []}\n- {id: c, transform: 1, needs: [a, b]}\n",
    );
    let none = HashSet::new();
    assert_eq!(plan(&fan, &[], &none, 0), Plan::Run(vec![perform(0, 1, 1), perform(1, 1, 1)]));
    assert_eq!(plan(&fan, &[], &HashSet::from(["a"]), 0), Plan::Run(vec![perform(1, 1, 1)]));
    assert_eq!(plan(&fan, &[], &HashSet::from(["a", "b"]), 0), Plan::Wait { until_ms: None });
    let resting = [until(row("a", 1, StepStatus::Failed), 70), until(row("b", 1, StepStatus::Failed), 60)];
    assert_eq!(plan(&fan, &resting, &none, 0), Plan::Wait { until_ms: Some(60) });
    let rest_of_one = [row("a", 1, StepStatus::Succeeded), resting[1].clone()];
    assert_eq!(plan(&fan, &rest_of_one, &none, 0), Plan::Wait { until_ms: Some(60) });
}

#[test]
fn the_api_sees_how_every_step_stands() {
    let rows = [row("a", 1, StepStatus::Succeeded), until(row("b", 1, StepStatus::Failed), 9)];
    let view = |rows: &[StepRow]| -> Vec<(&'static str, usize, Option<i64>)> {
        let definition = definition(LINE);
        describe(&definition, rows)
            .iter()
            .map(|view| (view.progress.as_str(), view.attempts, view.until_ms))
            .collect()
    };

    assert_eq!(view(&[]), [("ready", 0, None), ("pending", 0, None), ("pending", 0, None)]);
    assert_eq!(view(&rows), [("succeeded", 1, None), ("waiting", 1, Some(9)), ("pending", 0, None)]);
    let more = [row("a", 1, StepStatus::Skipped), row("b", 1, StepStatus::Started)];
    assert_eq!(view(&more), [("skipped", 1, None), ("running", 1, None), ("pending", 0, None)]);
    let failed = [row("a", 1, StepStatus::Retried), row("a", 2, StepStatus::Failed)];
    assert_eq!(view(&failed), [("failed", 2, None), ("pending", 0, None), ("pending", 0, None)]);
    let definition = definition(LINE);
    assert_eq!(describe(&definition, &[])[1].kind, "http");
}

#[test]
fn outputs_hold_finished_steps_and_null_for_skipped_ones() {
    let rows = [
        row("a", 1, StepStatus::Failed),
        row("a", 2, StepStatus::Succeeded),
        row("b", 1, StepStatus::Skipped),
        row("c", 1, StepStatus::Waiting),
    ];

    assert_eq!(outputs(&rows), StepOutputs::from([("a", Some("\"a\"")), ("b", None)]));
}

/// A small generator with a seed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

/// A random graph whose needs point to any step that cannot need them back.
fn random_definition(dice: &mut Dice) -> Definition {
    let count = 1 + dice.roll(12);
    let mut order: Vec<usize> = (0..count).collect();
    for index in (1..count).rev() {
        order.swap(index, dice.roll(index + 1));
    }
    let mut yaml = String::from("steps:\n");
    for index in 0..count {
        let rank = order.iter().position(|other| *other == index).unwrap();
        let count = if rank > 0 { dice.roll(4) } else { 0 };
        let needs: BTreeSet<usize> = (0..count).map(|_| order[dice.roll(rank)]).collect();
        let needs: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        let kind = if dice.roll(4) == 0 { "wait: 1s" } else { "transform: 1" };
        let rerun = if dice.roll(5) == 0 { ", rerun: never" } else { "" };
        yaml.push_str(&format!("- {{id: s{index}, {kind}, needs: [{}]{rerun}}}\n", needs.join(", ")));
    }
    definition(&yaml)
}

/// Runs a job by its plans with random endings, forgetting what runs at random moments (a crash), and checks every move.
fn run_randomly(seed: u64) {
    let mut dice = Dice(seed);
    let definition = random_definition(&mut dice);
    let mut rows: Vec<StepRow> = Vec::new();
    let mut running: Vec<Task> = Vec::new();
    let mut now_ms = 0;
    for turn in 0.. {
        assert!(turn < 5000, "seed {seed}: the job does not end");
        let ids: HashSet<&str> = running.iter().map(|task| definition.steps[task.step].id.as_str()).collect();
        let finished: HashSet<String> =
            rows.iter().filter(|row| is_finished_row(row)).map(|row| row.step.clone()).collect();
        match plan(&definition, &rows, &ids, now_ms) {
            Plan::Done => {
                assert_eq!(finished.len(), definition.steps.len(), "seed {seed}: done too early");
                assert!(running.is_empty());
                return;
            }
            Plan::Failed { step, .. } => {
                let failed = rows.iter().any(|row| {
                    row.step == step
                        && row.until_ms.is_none()
                        && matches!(row.status, StepStatus::Failed | StepStatus::Started)
                });
                assert!(failed, "seed {seed}: failed without a cause");
                if dice.roll(2) == 0 {
                    return;
                }
                // A person retries.
                running.clear();
                for row in rows.iter_mut().filter(|row| row.step == step && !is_finished_row(row)) {
                    row.status = StepStatus::Retried;
                }
                continue;
            }
            Plan::Run(tasks) => {
                assert!(!tasks.is_empty());
                for task in tasks {
                    let step = &definition.steps[task.step];
                    assert!(!finished.contains(&step.id), "seed {seed}: {} runs again", step.id);
                    assert!(!ids.contains(step.id.as_str()), "seed {seed}: {} runs twice at once", step.id);
                    for need in &step.needs {
                        assert!(
                            finished.contains(&definition.steps[*need].id),
                            "seed {seed}: {} runs too early",
                            step.id
                        );
                    }
                    let same = rows.iter().find(|row| row.step == step.id && row.attempt == task.attempt);
                    match task.action {
                        Action::Perform => assert!(same.is_none(), "seed {seed}: an attempt is used twice"),
                        Action::EndWait => assert_eq!(same.map(|row| row.status), Some(StepStatus::Waiting)),
                    }
                    if step.rerun == Rerun::Never {
                        rows.retain(|row| {
                            (row.step.as_str(), row.attempt) != (step.id.as_str(), task.attempt)
                        });
                        rows.push(row(&step.id, task.attempt, StepStatus::Started));
                    }
                    running.push(task);
                }
            }
            Plan::Wait { until_ms } => {
                if running.is_empty() {
                    let until_ms = until_ms.unwrap_or_else(|| panic!("seed {seed}: waits for nothing"));
                    assert!(until_ms > now_ms);
                    now_ms = until_ms;
                    continue;
                }
            }
        }
        if dice.roll(8) == 0 {
            // The process dies; only rows are left.
            running.clear();
        } else if !running.is_empty() {
            let task = running.swap_remove(dice.roll(running.len()));
            finish(&mut rows, &definition.steps[task.step], &task, now_ms, dice.roll(10));
        }
    }
}

fn finish(rows: &mut Vec<StepRow>, step: &Step, task: &Task, now_ms: i64, ending: usize) {
    rows.retain(|row| (row.step.as_str(), row.attempt) != (step.id.as_str(), task.attempt));
    let status = match ending {
        _ if task.action == Action::EndWait => StepStatus::Succeeded,
        0 => StepStatus::Failed,
        1 | 2 if task.attempt_in_budget < 20 => {
            rows.push(until(row(&step.id, task.attempt, StepStatus::Failed), now_ms + 10));
            return;
        }
        3 | 4 => {
            rows.push(until(row(&step.id, task.attempt, StepStatus::Waiting), now_ms + 10));
            return;
        }
        5 => StepStatus::Skipped,
        _ => StepStatus::Succeeded,
    };
    rows.push(row(&step.id, task.attempt, status));
}

#[test]
fn random_graphs_run_in_order_once_and_to_an_end_whatever_happens() {
    for seed in 0..1500 {
        run_randomly(seed);
    }
}
