//! Checking arguments and results against JSON Schema.

use serde_json::Value;

use crate::BuildError;

/// How deep schemas and values are followed.
#[cfg(not(feature = "jsonschema"))]
const MAX_DEPTH: usize = 64;

#[cfg(feature = "jsonschema")]
#[derive(Debug)]
pub(crate) struct Schema(jsonschema::Validator);

#[cfg(feature = "jsonschema")]
impl Schema {
    pub(crate) fn compile(tool: &str, schema: &Value) -> Result<Self, BuildError> {
        jsonschema::validator_for(schema)
            .map(Self)
            .map_err(|error| BuildError::Schema {
                tool: tool.to_owned(),
                at: error.instance_path().to_string(),
                what: error.to_string(),
            })
    }

    /// Where and what is wrong first, in a sentence.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.0.validate(value).map_err(|error| {
            let at = error.instance_path().to_string();
            format!("at {}: {error}", if at.is_empty() { "/" } else { &at })
        })
    }
}

#[cfg(not(feature = "jsonschema"))]
pub(crate) use subset::Schema;

/// The subset that needs no further crate. A schema that says more than is checked is refused.
#[cfg(not(feature = "jsonschema"))]
mod subset {
    use super::*;
    use serde_json::Map;

    /// Say nothing about which values are valid.
    const NOTES: [&str; 14] = [
        "$schema",
        "$id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "format",
        "contentMediaType",
        "contentEncoding",
    ];
    const CHECKED: [&str; 21] = [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    const TYPES: [&str; 7] = [
        "null", "boolean", "object", "array", "number", "integer", "string",
    ];

    #[derive(Debug)]
    pub(crate) struct Schema(Value);

    impl Schema {
        pub(crate) fn compile(tool: &str, schema: &Value) -> Result<Self, BuildError> {
            understood(schema, "", 0).map_err(|(at, what)| BuildError::Schema {
                tool: tool.to_owned(),
                at,
                what,
            })?;
            Ok(Self(schema.clone()))
        }

        pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
            check(&self.0, value, &mut String::new())
        }
    }

    type Fault = (String, String);

    fn understood(schema: &Value, at: &str, depth: usize) -> Result<(), Fault> {
        let fault = |at: &str, what: &str| Err((at.to_owned(), what.to_owned()));
        if depth > MAX_DEPTH {
            return fault(at, "nested deeper than 64");
        }
        let Value::Object(map) = schema else {
            return if schema.is_boolean() {
                Ok(())
            } else {
                fault(at, "neither an object nor a boolean")
            };
        };
        for (keyword, value) in map {
            let at = format!("{at}/{keyword}");
            match keyword.as_str() {
                note if NOTES.contains(&note) => {}
                "properties" => {
                    let Value::Object(properties) = value else {
                        return fault(&at, "not an object");
                    };
                    for (name, schema) in properties {
                        understood(schema, &format!("{at}/{name}"), depth + 1)?;
                    }
                }
                "allOf" | "anyOf" | "oneOf" => {
                    let Value::Array(schemas) = value else {
                        return fault(&at, "not an array");
                    };
                    for (index, schema) in schemas.iter().enumerate() {
                        understood(schema, &format!("{at}/{index}"), depth + 1)?;
                    }
                }
                "items" | "additionalProperties" | "not" => understood(value, &at, depth + 1)?,
                "type" => {
                    let known = |v: &Value| v.as_str().is_some_and(|name| TYPES.contains(&name));
                    let fine = known(value)
                        || value
                            .as_array()
                            .is_some_and(|names| names.iter().all(known));
                    if !fine {
                        return fault(&at, "not the name of a type, nor a list of them");
                    }
                }
                "enum" | "required" if !value.is_array() => return fault(&at, "not an array"),
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
                | "maxProperties"
                    if !value.is_u64() =>
                {
                    return fault(&at, "not a whole number");
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                    if !value.is_number() =>
                {
                    return fault(&at, "not a number");
                }
                known if CHECKED.contains(&known) => {}
                _ => {
                    return fault(
                        &at,
                        "not checked by the built-in subset; turn on the feature `jsonschema`",
                    );
                }
            }
        }
        Ok(())
    }

    fn check(schema: &Value, value: &Value, at: &mut String) -> Result<(), String> {
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(map) => map,
            _ => return Err(wrong(at, "nothing is allowed here")),
        };
        check_value(schema, value, at)?;
        match value {
            Value::Object(object) => check_object(schema, object, at)?,
            Value::Array(items) => check_array(schema, items, at)?,
            Value::String(text) => {
                let length = || text.chars().count() as u64;
                check_count(schema, ["minLength", "maxLength"], length, "characters", at)?;
            }
            Value::Number(number) => check_number(schema, number.as_f64().unwrap_or(0.0), at)?,
            _ => {}
        }
        check_combined(schema, value, at)
    }

    fn check_value(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
        if let Some(kind) = schema.get("type") {
            let fits = match kind {
                Value::Array(kinds) => kinds.iter().any(|kind| is_type(kind, value)),
                kind => is_type(kind, value),
            };
            if !fits {
                return Err(wrong(
                    at,
                    &format!("{} is not of type {kind}", brief(value)),
                ));
            }
        }
        if let Some(constant) = schema.get("const")
            && !same(constant, value)
        {
            return Err(wrong(
                at,
                &format!("{} is not {}", brief(value), brief(constant)),
            ));
        }
        if let Some(Value::Array(choices)) = schema.get("enum")
            && !choices.iter().any(|choice| same(choice, value))
        {
            let choices = Value::Array(choices.clone());
            return Err(wrong(
                at,
                &format!("{} is not one of {}", brief(value), brief(&choices)),
            ));
        }
        Ok(())
    }

    fn check_object(
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
        at: &mut String,
    ) -> Result<(), String> {
        if let Some(Value::Array(required)) = schema.get("required") {
            let missing = required
                .iter()
                .filter_map(Value::as_str)
                .find(|name| !object.contains_key(*name));
            if let Some(name) = missing {
                return Err(wrong(at, &format!("{name:?} is required")));
            }
        }
        let count = || object.len() as u64;
        check_count(
            schema,
            ["minProperties", "maxProperties"],
            count,
            "properties",
            at,
        )?;
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, value) in object {
            let own = properties.and_then(|properties| properties.get(name));
            let Some(rule) = own.or_else(|| schema.get("additionalProperties")) else {
                continue;
            };
            if own.is_none() && *rule == Value::Bool(false) {
                return Err(wrong(at, &format!("{name:?} is not a known property")));
            }
            within(at, name, |at| check(rule, value, at))?;
        }
        Ok(())
    }

    fn check_array(
        schema: &Map<String, Value>,
        items: &[Value],
        at: &mut String,
    ) -> Result<(), String> {
        check_count(
            schema,
            ["minItems", "maxItems"],
            || items.len() as u64,
            "items",
            at,
        )?;
        if let Some(rule) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                within(at, &index.to_string(), |at| check(rule, item, at))?;
            }
        }
        Ok(())
    }

    fn check_number(schema: &Map<String, Value>, number: f64, at: &str) -> Result<(), String> {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let broken =
            |name: &str, bound: f64| Err(wrong(at, &format!("{number} breaks {name} {bound}")));
        match (bound("minimum"), bound("maximum")) {
            (Some(least), _) if number < least => return broken("minimum", least),
            (_, Some(most)) if number > most => return broken("maximum", most),
            _ => {}
        }
        match (bound("exclusiveMinimum"), bound("exclusiveMaximum")) {
            (Some(least), _) if number <= least => broken("exclusiveMinimum", least),
            (_, Some(most)) if number >= most => broken("exclusiveMaximum", most),
            _ => Ok(()),
        }
    }

    fn check_combined(
        schema: &Map<String, Value>,
        value: &Value,
        at: &mut String,
    ) -> Result<(), String> {
        let list = |name: &str| schema.get(name).and_then(Value::as_array);
        for rule in list("allOf").into_iter().flatten() {
            check(rule, value, at)?;
        }
        if let Some(rules) = list("anyOf")
            && !rules.iter().any(|rule| check(rule, value, at).is_ok())
        {
            return Err(wrong(
                at,
                &format!("{} fits none of the alternatives", brief(value)),
            ));
        }
        if let Some(rules) = list("oneOf") {
            let fitting = rules
                .iter()
                .filter(|rule| check(rule, value, at).is_ok())
                .count();
            if fitting != 1 {
                return Err(wrong(
                    at,
                    &format!(
                        "{} fits {fitting} alternatives instead of one",
                        brief(value)
                    ),
                ));
            }
        }
        match schema.get("not") {
            Some(rule) if check(rule, value, at).is_ok() => Err(wrong(
                at,
                &format!("{} is what it must not be", brief(value)),
            )),
            _ => Ok(()),
        }
    }

    fn check_count(
        schema: &Map<String, Value>,
        [least, most]: [&str; 2],
        count: impl Fn() -> u64,
        what: &str,
        at: &str,
    ) -> Result<(), String> {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        match (bound(least), bound(most)) {
            (Some(least), _) if count() < least => Err(wrong(
                at,
                &format!("{} {what}, at least {least} needed", count()),
            )),
            (_, Some(most)) if count() > most => Err(wrong(
                at,
                &format!("{} {what}, at most {most} allowed", count()),
            )),
            _ => Ok(()),
        }
    }

    fn is_type(kind: &Value, value: &Value) -> bool {
        match kind.as_str().unwrap_or_default() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "integer" => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            _ => false,
        }
    }

    /// Equal as JSON Schema sees it: 1 and 1.0 are one number.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
            (Value::Array(x), Value::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
            }
            (Value::Object(x), Value::Object(y)) => {
                x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
            }
            _ => a == b,
        }
    }

    fn within<T>(at: &mut String, name: &str, work: impl FnOnce(&mut String) -> T) -> T {
        let length = at.len();
        at.push('/');
        at.push_str(name);
        let result = work(at);
        at.truncate(length);
        result
    }

    fn wrong(at: &str, what: &str) -> String {
        format!("at {}: {what}", if at.is_empty() { "/" } else { at })
    }

    fn brief(value: &Value) -> String {
        let mut text = value.to_string();
        if let Some((cut, _)) = text.char_indices().nth(80) {
            text.truncate(cut);
            text.push('…');
        }
        text
    }
}
