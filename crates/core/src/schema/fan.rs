//! How work grows with the depth of a value under a schema that refers back to itself.
//!
//! A recursive schema that is reached twice from one level to the next doubles the work with every level: a payload of a
//! few hundred bytes would keep a validator busy for hours. The library has no limit of its own, so the growth is counted
//! here when a schema is compiled, and a value is measured against it before the library sees it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{IN_PLACE_LISTS, IN_PLACE_SCHEMAS, Names, names_inside, resolve};

/// Schemas applied to one payload at most, as far as recursion multiplies them. Measured: some 0.1 s.
const MAX_WORK: u64 = 200_000;

/// In how many ways a recursive schema is reached from one level of a value to the next; 1 for all others.
pub(super) fn fan(root: &Value) -> u64 {
    let mut walk = Walk { root, recursive: HashMap::new(), descents: HashMap::new() };
    walk.most(root, Names::Keywords).max(1)
}

/// The deepest nesting that can be checked, where `raw` is too deep for a schema of this fan.
pub(super) fn too_deep(raw: &str, fan: u64) -> Option<u32> {
    if fan <= 1 {
        return None;
    }
    let (mut work, mut weight, mut depth) = (1u64, 1u64, 0u32);
    let (mut in_text, mut escaped) = (false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                weight = fan.saturating_pow(depth);
                work = work.saturating_add(weight);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                weight = fan.saturating_pow(depth);
            }
            b',' => work = work.saturating_add(weight),
            _ => {}
        }
    }
    (work > MAX_WORK).then(|| MAX_WORK.ilog(fan))
}

struct Walk<'a> {
    root: &'a Value,
    /// By address of a schema: whether it leads into a circle; `None` while that is being found out.
    recursive: HashMap<*const Value, Option<bool>>,
    descents: HashMap<*const Value, u64>,
}

impl<'a> Walk<'a> {
    /// The largest number of descents of any schema in here.
    fn most(&mut self, schema: &'a Value, names: Names) -> u64 {
        match schema {
            Value::Object(members) => {
                let own = if names == Names::Keywords { self.descents(schema) } else { 0 };
                let inside = members.iter().filter_map(|(name, member)| {
                    names_inside(names, name).map(|inside| self.most(member, inside))
                });
                inside.fold(own, u64::max)
            }
            Value::Array(items) => items.iter().fold(0, |most, item| most.max(self.most(item, names))),
            _ => 0,
        }
    }

    /// In how many ways one value's child meets a recursive schema, all schemas that apply to the value taken together.
    fn descents(&mut self, schema: &'a Value) -> u64 {
        let Value::Object(members) = schema else { return 0 };
        if let Some(known) = self.descents.get(&std::ptr::from_ref(schema)) {
            return *known;
        }
        // Circles without going into the value were refused before; this only ends a search that met one all the same.
        self.descents.insert(schema, 0);
        let mut total = self.own_descents(members);
        for applied in in_place(self.root, members) {
            total = total.saturating_add(self.descents(applied));
        }
        self.descents.insert(schema, total);
        total
    }

    fn own_descents(&mut self, members: &'a Map<String, Value>) -> u64 {
        let one = |walk: &mut Self, name: &str| {
            u64::from(members.get(name).is_some_and(|schema| walk.is_recursive(schema)))
        };
        let of_each = |walk: &mut Self, name: &str| {
            let schemas = members.get(name).and_then(Value::as_object).into_iter().flat_map(Map::values);
            schemas.filter(|schema| walk.is_recursive(schema)).count() as u64
        };
        let mut in_list = members.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        let of_places = u64::from(in_list.any(|schema| self.is_recursive(schema)));
        let of_object = of_each(self, "properties").min(1)
            + of_each(self, "patternProperties")
            + one(self, "additionalProperties")
            + one(self, "unevaluatedProperties");
        let of_array = of_places + one(self, "items") + one(self, "contains") + one(self, "unevaluatedItems");
        of_object.max(of_array)
    }

    fn is_recursive(&mut self, schema: &'a Value) -> bool {
        let Value::Object(members) = schema else { return false };
        match self.recursive.get(&std::ptr::from_ref(schema)) {
            Some(Some(known)) => return *known,
            Some(None) => return true,
            None => {}
        }
        self.recursive.insert(schema, None);
        let mut found = in_place(self.root, members).into_iter().any(|applied| self.is_recursive(applied));
        for name in ["properties", "patternProperties"] {
            for child in members.get(name).and_then(Value::as_object).into_iter().flat_map(Map::values) {
                found |= self.is_recursive(child);
            }
        }
        for name in ["additionalProperties", "unevaluatedProperties", "items", "contains", "unevaluatedItems"]
        {
            found |= members.get(name).is_some_and(|child| self.is_recursive(child));
        }
        for child in members.get("prefixItems").and_then(Value::as_array).into_iter().flatten() {
            found |= self.is_recursive(child);
        }
        self.recursive.insert(schema, Some(found));
        found
    }
}

/// The schemas that apply to the same value as the one with these members.
fn in_place<'a>(root: &'a Value, members: &'a Map<String, Value>) -> Vec<&'a Value> {
    let mut applied = Vec::new();
    for (name, member) in members {
        match (name.as_str(), member) {
            ("$ref", Value::String(target)) => applied.extend(resolve(root, target)),
            (name, Value::Array(items)) if IN_PLACE_LISTS.contains(&name) => applied.extend(items),
            (name, _) if IN_PLACE_SCHEMAS.contains(&name) => applied.push(member),
            ("dependentSchemas", Value::Object(schemas)) => applied.extend(schemas.values()),
            _ => {}
        }
    }
    applied
}
