//! The one expression engine, its limits and one evaluation.
//!
//! Limits, chosen so that the worst expression found stays near 50 ms and 32 MB: 100,000 operations, 50 ms (after the first
//! 32 operations), 256 KB of text and 20,000 elements and members in one value, 24 levels of nesting, 5 arguments, and
//! 16 MB of values fetched. Functions that could outgrow these before the library looks are replaced in
//! `functions`.
//!
//! Left out of the library: everything with a clock or a side effect (`sleep`, `timestamp`, `exit`), `eval` and blobs.

use std::cell::RefCell;
use std::sync::OnceLock;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicMapPackage, BasicMathPackage, BasicStringPackage,
    LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, Dynamic, Engine, EvalAltResult, OptimizationLevel, ParseErrorType};

use super::ExpressionError;
use super::scan::FETCH;
use super::{convert, functions};
use crate::scope::{Path, ROOTS, Root, Scope};
use crate::workflow::shorten;

const MAX_OPERATIONS: u64 = 100_000;
const MAX_TIME_US: u64 = 50_000;
/// Short expressions are never stopped by the clock, so that a busy machine cannot fail them.
const FREE_OPERATIONS: u64 = 32;
/// Reading the clock costs as much as an operation.
const CLOCK_EVERY: u64 = 4;
pub(super) const MAX_STRING_BYTES: usize = 256 * 1024;
pub(super) const MAX_ELEMENTS: usize = 20_000;
const MAX_NESTING: usize = 24;
/// Of about 16 bytes each.
const MAX_FETCHED_UNITS: usize = 1_000_000;
const MAX_SCANNED_BYTES: usize = 64 * 1024 * 1024;

const TOO_MUCH_WORK: &str = "the expression takes too much work (the limit is 100,000 operations or 50 ms)";

pub(super) type Failure = Box<EvalAltResult>;

/// What one rendering may still spend; shared by all expressions of a template.
#[derive(Debug, Default)]
pub struct Meter {
    operations: u64,
    time_us: u64,
    scanned_bytes: usize,
}

impl Meter {
    /// A path lookup went through so many bytes.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), ExpressionError> {
        self.scanned_bytes = self.scanned_bytes.saturating_add(bytes);
        if self.scanned_bytes > MAX_SCANNED_BYTES {
            return Err(ExpressionError(format!(
                "the templates of one step read more than {MAX_SCANNED_BYTES} bytes"
            )));
        }
        Ok(())
    }
}

/// A value that the running expression may ask for.
enum Slot {
    Raw(String),
    Ready(Dynamic),
    Missing(String),
}

struct Running {
    slots: Vec<Slot>,
    units: usize,
    /// Operations before this expression, in the same rendering.
    operations_before: u64,
    operations: u64,
    monotonic_us: fn() -> u64,
    stop_at_us: u64,
    /// Our own words for what went wrong, better than the library's.
    failure: Option<String>,
}

thread_local! {
    /// Evaluation is synchronous and never nested, so the engine's callbacks find their expression here. Owned values:
    /// the engine's functions must not borrow.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Takes the evaluation off the thread, also when the engine panics.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| *running = None);
    }
}

pub(super) fn compile(code: &str) -> Result<AST, ExpressionError> {
    engine().compile_expression(code).map_err(|error| {
        if let ParseErrorType::VariableUndefined(name) = error.err_type() {
            return ExpressionError(unknown_name(name));
        }
        let text = error.err_type().to_string();
        // The calls that stand for paths are ours, not the author's.
        let text = if text.contains(FETCH) { "the expression is not complete".to_owned() } else { text };
        ExpressionError(format!("not an expression: {}", shorten(&text, 200)))
    })
}

pub(super) fn evaluate(
    code: &AST,
    paths: &[Path],
    scope: &Scope<'_>,
    meter: &mut Meter,
) -> Result<String, ExpressionError> {
    let mut slots = Vec::with_capacity(paths.len());
    for path in paths {
        meter.read(super::scope_size(path, scope))?;
        slots.push(match path.lookup(scope) {
            Ok(raw) => Slot::Raw(raw.into_owned()),
            Err(missing) => Slot::Missing(missing.0),
        });
    }
    let started_us = (scope.monotonic_us)();
    let running = Running {
        slots,
        units: MAX_FETCHED_UNITS,
        operations_before: meter.operations,
        operations: 0,
        monotonic_us: scope.monotonic_us,
        stop_at_us: started_us.saturating_add(MAX_TIME_US.saturating_sub(meter.time_us)),
        failure: None,
    };
    RUNNING.with_borrow_mut(|current| *current = Some(running));
    let guard = Guard;
    let result = engine().eval_ast::<Dynamic>(code);
    let (operations, failure) = RUNNING.with_borrow_mut(|current| match current {
        Some(running) => (running.operations, running.failure.take()),
        None => (0, None),
    });
    drop(guard);
    meter.operations += operations;
    meter.time_us += (scope.monotonic_us)().saturating_sub(started_us);

    let hides = paths.iter().any(|path| path.root == Root::Secrets);
    match result {
        Ok(value) => convert::to_json(&value.flatten()).map_err(ExpressionError),
        Err(error) => Err(ExpressionError(failure.unwrap_or_else(|| words(&error, hides)))),
    }
}

fn unknown_name(name: &str) -> String {
    format!("there is no `{}`; there are {}", shorten(name, 40), ROOTS.join(", "))
}

/// The engine's error in a line. `hides`: a secret was in reach, so nothing that may quote a value is shown.
fn words(error: &EvalAltResult, hides: bool) -> String {
    match error.unwrap_inner() {
        EvalAltResult::ErrorTooManyOperations(_) | EvalAltResult::ErrorTerminated(..) => {
            TOO_MUCH_WORK.to_owned()
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            format!("a value is too large for an expression ({what})")
        }
        EvalAltResult::ErrorDataRace(..) => {
            "a closure uses the value that its own method is called on; name that value by its full path"
                .to_owned()
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_name(name),
        EvalAltResult::ErrorStackOverflow(_) => "the expression calls too deep".to_owned(),
        _ if hides => "the expression failed; no details are shown because it uses secrets".to_owned(),
        inner => {
            let text = inner.to_string();
            let text = text.split(" (line ").next().unwrap_or_default();
            shorten(text, 200)
        }
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(build)
}

fn build() -> Engine {
    let mut engine = Engine::new_raw();
    for module in [
        ArithmeticPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
    ] {
        engine.register_global_module(module);
    }
    engine
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        // Nothing is computed while a definition is read.
        .set_optimization_level(OptimizationLevel::None)
        .set_max_operations(MAX_OPERATIONS)
        .set_max_string_size(MAX_STRING_BYTES)
        .set_max_array_size(MAX_ELEMENTS)
        .set_max_map_size(MAX_ELEMENTS)
        .set_max_expr_depths(MAX_NESTING, MAX_NESTING)
        .set_max_call_levels(16)
        .set_max_strings_interned(0)
        .disable_symbol("eval");
    engine.on_progress(progress);
    engine.register_fn(FETCH, fetch);
    functions::register(&mut engine);
    engine
}

/// Called by the engine at each operation. Its own count is not used: closures called from native functions count on a
/// copy.
fn progress(_own_count: u64) -> Option<Dynamic> {
    RUNNING.with_borrow_mut(|running| {
        let running = running.as_mut()?;
        running.operations += 1;
        let total = running.operations_before + running.operations;
        let late = total > FREE_OPERATIONS
            && total.is_multiple_of(CLOCK_EVERY)
            && (running.monotonic_us)() > running.stop_at_us;
        (late || total > MAX_OPERATIONS).then_some(Dynamic::UNIT)
    })
}

/// The value of path number `index`.
fn fetch(index: i64) -> Result<Dynamic, Failure> {
    RUNNING.with_borrow_mut(|running| {
        let Some(running) = running.as_mut() else { return Err("no expression runs".into()) };
        let Running { slots, units, failure, .. } = running;
        let Some(slot) = usize::try_from(index).ok().and_then(|index| slots.get_mut(index)) else {
            return Err("no such path".into());
        };
        let found = match slot {
            Slot::Ready(value) => {
                let weight = convert::weigh(value);
                match units.checked_sub(weight) {
                    Some(left) => {
                        *units = left;
                        Ok(value.clone())
                    }
                    None => Err("the expression fetches large values too often".to_owned()),
                }
            }
            Slot::Raw(raw) => {
                convert::from_json(raw, units).inspect(|value| *slot = Slot::Ready(value.clone()))
            }
            Slot::Missing(message) => Err(message.clone()),
        };
        found.map_err(|message| {
            *failure = Some(message);
            "a value is not there".into()
        })
    })
}
