//! As much of JSON Schema as the journal's uses.

use serde_json::Value;

/// Why a value is not what the schema says.
pub(super) fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().expect("a schema") {
        let is_met = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => true,
            "$ref" => {
                let name = rule.as_str().and_then(|it| it.strip_prefix("#/$defs/"));
                let definition = &root["$defs"][name.expect("a definition of ours")];
                check(root, definition, value)?;
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|it| is_of_type(it, value)),
                one => is_of_type(one, value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().expect("values").contains(value),
            "required" => {
                let names = rule.as_array().expect("names").iter();
                names
                    .filter_map(Value::as_str)
                    .all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("members") {
                    if let Some(member) = value.get(name) {
                        check(root, rule, member).map_err(|fault| format!("{name}: {fault}"))?;
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(root, rule, item)?;
                }
                true
            }
            "oneOf" => {
                let rules = rule.as_array().expect("schemas").iter();
                rules
                    .filter(|rule| check(root, rule, value).is_ok())
                    .count()
                    == 1
            }
            "minimum" => value.as_i64().is_none_or(|n| Some(n) >= rule.as_i64()),
            "minLength" => {
                let least = rule.as_u64().expect("a length") as usize;
                value.as_str().is_none_or(|it| it.chars().count() >= least)
            }
            "pattern" => is_match(rule.as_str().expect("a pattern"), value),
            other => panic!("a keyword that this check does not know: {other}"),
        };
        if !is_met {
            return Err(format!("{keyword} {rule} is not met by {value}"));
        }
    }
    Ok(())
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("a type that this check does not know: {other}"),
    }
}

/// The patterns of the schema, each by hand.
fn is_match(pattern: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return true;
    };
    let all = |text: &str, signs: &str| !text.is_empty() && text.chars().all(|c| signs.contains(c));
    const DIGITS: &str = "0123456789";
    const HEX: &str = "0123456789abcdef";
    const WORD: &str = "abcdefghijklmnopqrstuvwxyz_";
    match pattern {
        "^[0-9]{16}$" => text.len() == 16 && all(text, DIGITS),
        "^[0-9a-f]{16}$" => text.len() == 16 && all(text, HEX),
        "^[0-9a-f]{16}-[1-9][0-9]*$" => text.split_once('-').is_some_and(|(key, seq)| {
            key.len() == 16 && all(key, HEX) && all(seq, DIGITS) && !seq.starts_with('0')
        }),
        r"^[a-z_]+\.[a-z_]+$" => text
            .split_once('.')
            .is_some_and(|(a, b)| all(a, WORD) && all(b, WORD)),
        other => panic!("a pattern that this check does not know: {other}"),
    }
}
