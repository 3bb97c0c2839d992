//! Whether a JSON Schema is of the kind that providers hold an answer to by themselves.

use serde_json::Value;

/// What the strict modes take in common. Others, such as lengths and ranges, are refused by one vendor or another.
const KNOWN: [&str; 11] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "description",
    "title",
    "anyOf",
    "$schema",
];

/// Deeper or larger ones are refused by the vendors.
const MAX_DEPTH: usize = 5;
const MAX_PROPERTIES: usize = 100;

/// Whether the strict structured output of every vendor takes `schema` as it is: an object at the top, each object closed
/// and each of its properties required, and no keyword outside the common subset.
pub fn fits_natively(schema: &Value) -> bool {
    let mut properties = 0;
    is_object(schema) && fits(schema, 1, &mut properties)
}

fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
}

fn fits(schema: &Value, depth: usize, properties: &mut usize) -> bool {
    let Some(members) = schema.as_object() else { return false };
    if depth > MAX_DEPTH || members.keys().any(|name| !KNOWN.contains(&name.as_str())) {
        return false;
    }
    if let Some(options) = members.get("anyOf") {
        let all = |options: &Vec<Value>| options.iter().all(|it| fits(it, depth + 1, properties));
        if !options.as_array().is_some_and(all) {
            return false;
        }
    }
    if let Some(items) = members.get("items")
        && !fits(items, depth + 1, properties)
    {
        return false;
    }
    if !is_object(schema) {
        return !members.contains_key("properties");
    }
    let Some(inner) = members.get("properties").and_then(Value::as_object) else { return false };
    *properties += inner.len();
    let required: Vec<&str> = members
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    members.get("additionalProperties") == Some(&Value::Bool(false))
        && *properties <= MAX_PROPERTIES
        && inner.keys().all(|name| required.contains(&name.as_str()))
        && inner.values().all(|it| fits(it, depth + 1, properties))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn closed_objects_whose_properties_are_all_required_fit() {
        let label = json!({"type": "string", "enum": ["a", "b"]});
        let fine = json!({"type": "object", "additionalProperties": false, "required": ["label", "parts"],
            "properties": {"label": label, "parts": {"type": "array", "items": {"type": "integer"}}}});

        assert!(fits_natively(&fine));
    }

    #[test]
    fn what_a_vendor_would_refuse_does_not_fit() {
        let inner = json!({"type": "object", "properties": {}});
        for schema in [
            json!({"type": "string"}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
            json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "additionalProperties": false, "required": ["a"],
                "properties": {"a": {"type": "string", "minLength": 2}}}),
            json!({"type": "object", "additionalProperties": false, "required": ["a"],
                "properties": {"a": {"$ref": "#"}}}),
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": inner}}),
            json!(true),
        ] {
            assert!(!fits_natively(&schema), "{schema}");
        }
    }
}
