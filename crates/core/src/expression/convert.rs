//! JSON text to the engine's values and back, both exact or refused: integers stay integers, and a number that would
//! change is an error.

use std::fmt;

use rhai::{Array, Dynamic, Map};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::json;

/// The longest JSON that an expression gives.
const MAX_RESULT_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = json::MAX_DEPTH;

/// The value of a JSON text. `units` is taken down by what it weighs: about 16 bytes of memory a unit.
pub(super) fn from_json(raw: &str, units: &mut usize) -> Result<Dynamic, String> {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    Seed { units }.deserialize(&mut deserializer).map_err(|error| {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    })
}

/// What a value weighs, in the units of [`from_json`].
pub(super) fn weigh(value: &Dynamic) -> usize {
    if let Ok(array) = value.as_array_ref() {
        return 1 + array.iter().map(weigh).sum::<usize>();
    }
    if let Ok(map) = value.as_map_ref() {
        return 1 + map.values().map(|member| MEMBER_UNITS + weigh(member)).sum::<usize>();
    }
    1
}

/// A member of an object costs a tree node, a name and a value.
const MEMBER_UNITS: usize = 4;

struct Seed<'u> {
    units: &'u mut usize,
}

impl Seed<'_> {
    fn spend<E: Error>(&mut self, units: usize) -> Result<(), E> {
        match self.units.checked_sub(units) {
            Some(left) => {
                *self.units = left;
                Ok(())
            }
            None => Err(E::custom("the value is too large for an expression")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Dynamic, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(value.into()),
            Err(_) => Err(too_large(value)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Dynamic, E> {
        // Integers outside of 64 bits arrive here, already rounded.
        let may_be_rounded = value.fract() == 0.0 && value.abs() >= i64::MAX as f64;
        if may_be_rounded { Err(too_large(value)) } else { Ok(value.into()) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        self.spend(1)?;
        while let Some(item) = list.next_element_seed(Seed { units: self.units })? {
            self.spend(1)?;
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Dynamic, A::Error> {
        let mut members = Map::new();
        self.spend(1)?;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            self.spend(MEMBER_UNITS + 1)?;
            let value = map.next_value_seed(Seed { units: self.units })?;
            members.insert(key.as_ref().into(), value);
        }
        Ok(members.into())
    }
}

fn too_large<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format_args!(
        "the number {number} does not fit 64 bits; expressions cannot use it, though a plain path hands it over as it is"
    ))
}

/// The JSON text of a value.
pub(super) fn to_json(value: &Dynamic) -> Result<String, String> {
    let mut out = String::new();
    push_json(value, &mut out, 0)?;
    Ok(out)
}

fn push_json(value: &Dynamic, out: &mut String, depth: usize) -> Result<(), String> {
    if out.len() > MAX_RESULT_BYTES {
        return Err(format!("the result is longer than {MAX_RESULT_BYTES} bytes"));
    }
    if depth > MAX_DEPTH {
        return Err(format!("the result is nested deeper than {MAX_DEPTH} levels"));
    }
    if value.is_unit() {
        out.push_str("null");
    } else if let Ok(flag) = value.as_bool() {
        out.push_str(if flag { "true" } else { "false" });
    } else if let Ok(number) = value.as_int() {
        out.push_str(&number.to_string());
    } else if let Ok(number) = value.as_float() {
        let number = serde_json::Number::from_f64(number).ok_or("the result is not a finite number")?;
        out.push_str(&number.to_string());
    } else if let Ok(text) = value.as_immutable_string_ref() {
        json::push_quoted(out, &text);
    } else if let Ok(letter) = value.as_char() {
        json::push_quoted(out, letter.encode_utf8(&mut [0; 4]));
    } else if let Ok(array) = value.as_array_ref() {
        out.push('[');
        for (index, item) in array.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_json(item, out, depth + 1)?;
        }
        out.push(']');
    } else if let Ok(map) = value.as_map_ref() {
        out.push('{');
        for (index, (key, member)) in map.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            json::push_quoted(out, key);
            out.push(':');
            push_json(member, out, depth + 1)?;
        }
        out.push('}');
    } else {
        return Err("the result is no JSON value (a function or a range)".to_owned());
    }
    Ok(())
}
