//! Functions of ours: some that the library lacks, and replacements for those of its own that change a value in place
//! (which expressions cannot use) or let it outgrow the limits before they are checked.

use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, Map, NativeCallContext};

use super::convert;
use super::run::{Failure, MAX_ELEMENTS, MAX_STRING_BYTES};

pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("url_encode", |text: &str| {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
    });
    engine.register_fn("trim", |text: &str| text.trim().to_owned());
    engine.register_fn("replace", |text: &str, find: &str, with: &str| replace(text, find, with));
    engine
        .register_fn("replace", |text: &str, find: char, with: &str| replace(text, &find.to_string(), with));
    engine
        .register_fn("replace", |text: &str, find: &str, with: char| replace(text, find, &with.to_string()));
    engine.register_fn("replace", |text: &str, find: char, with: char| {
        replace(text, &find.to_string(), &with.to_string())
    });
    engine.register_fn("reverse", |mut array: Array| {
        array.reverse();
        array
    });
    engine.register_fn("join", join);
    engine.register_fn("map", map_array);
    engine.register_fn("map", map_members);
    engine.register_fn("zip", zip_arrays);
}

fn too_large(what: &str) -> Failure {
    EvalAltResult::ErrorDataTooLarge(what.to_owned(), rhai::Position::NONE).into()
}

fn replace(text: &str, find: &str, with: &str) -> Result<String, Failure> {
    let growth = with.len().saturating_sub(find.len()).saturating_mul(text.matches(find).count());
    if text.len().saturating_add(growth) > MAX_STRING_BYTES {
        return Err(too_large("Length of string"));
    }
    Ok(text.replace(find, with))
}

/// The elements as text, texts without quotes.
fn join(array: Array, separator: &str) -> Result<String, Failure> {
    let mut joined = String::new();
    for (index, item) in array.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        match item.as_immutable_string_ref() {
            Ok(text) => joined.push_str(&text),
            Err(_) => joined.push_str(&convert::to_json(item)?),
        }
        if joined.len() > MAX_STRING_BYTES {
            return Err(too_large("Length of string"));
        }
    }
    Ok(joined)
}

/// Gathers the results of a closure, checking their size as they come.
struct Gathered<'c, 'a> {
    context: &'c NativeCallContext<'a>,
    strings: usize,
    units: usize,
}

impl<'c, 'a> Gathered<'c, 'a> {
    fn new(context: &'c NativeCallContext<'a>) -> Self {
        Gathered { context, strings: 0, units: 0 }
    }

    fn call<const N: usize>(
        &mut self,
        function: &FnPtr,
        arguments: [Dynamic; N],
    ) -> Result<Dynamic, Failure> {
        let value = function.call_raw(self.context, None, arguments)?;
        self.strings += text_bytes(&value);
        self.units += convert::weigh(&value);
        if self.strings > MAX_STRING_BYTES || self.units > MAX_ELEMENTS * 5 {
            return Err(too_large("Results of a closure"));
        }
        Ok(value)
    }
}

fn text_bytes(value: &Dynamic) -> usize {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text.len();
    }
    if let Ok(array) = value.as_array_ref() {
        return array.iter().map(text_bytes).sum();
    }
    if let Ok(map) = value.as_map_ref() {
        return map.values().map(text_bytes).sum();
    }
    0
}

fn map_array(context: NativeCallContext<'_>, array: Array, function: FnPtr) -> Result<Array, Failure> {
    let mut gathered = Gathered::new(&context);
    array.into_iter().map(|item| gathered.call(&function, [item])).collect()
}

fn map_members(context: NativeCallContext<'_>, map: Map, function: FnPtr) -> Result<Map, Failure> {
    let mut gathered = Gathered::new(&context);
    map.into_iter()
        .map(|(key, value)| {
            let name = Dynamic::from(key.to_string());
            Ok((key, gathered.call(&function, [name, value])?))
        })
        .collect()
}

fn zip_arrays(
    context: NativeCallContext<'_>,
    left: Array,
    right: Array,
    function: FnPtr,
) -> Result<Array, Failure> {
    let mut gathered = Gathered::new(&context);
    left.into_iter().zip(right).map(|(a, b)| gathered.call(&function, [a, b])).collect()
}
