//! JSON in one form alone, so that equal things have equal bytes: keys sorted, no white space, integers, one newline at the
//! end. Without that newline it is the form of RFC 8785 wherever keys are ASCII, as ours are.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The canonical text of a value, with a newline at the end.
///
/// # Panics
///
/// On numbers with a fraction, and on what JSON cannot hold: no type of this crate has either.
pub fn text(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value)
        .unwrap_or_else(|e| unreachable!("maps of this crate have strings for keys: {e}"));
    let mut text = String::new();
    write(&value, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, text: &mut String) {
    let scalar = |value: &Value| value.to_string();
    match value {
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (at, (key, field)) in sorted.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                text.push_str(&scalar(&Value::String(key.clone())));
                text.push(':');
                write(field, text);
            }
            text.push('}');
        }
        Value::Number(number) => {
            assert!(!number.is_f64(), "a number with a fraction has no canonical form here");
            text.push_str(&number.to_string());
        }
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&scalar(value)),
    }
}

/// Reads a value whose bytes are its canonical form; why it is none otherwise.
pub fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value: T = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let own = text(&value);
    if own.as_bytes() == bytes {
        return Ok(value);
    }
    let at = own.bytes().zip(bytes).take_while(|(own, given)| own == *given).count();
    Err(format!(
        "its bytes are not in canonical form: the first that differs is number {at} (keys sorted, no white space, one newline at \
         the end)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_are_sorted_and_nothing_is_between() {
        let value =
            serde_json::json!({"b": [1, null, true], "a": {"z": "\u{1}\"\\\n\u{e9}", "B": -3}});
        let written = "{\"a\":{\"B\":-3,\"z\":\"\\u0001\\\"\\\\\\n\u{e9}\"},\"b\":[1,null,true]}\n";
        assert_eq!(text(&value), written);
        assert_eq!(read::<Value>(written.as_bytes()), Ok(value));
    }

    #[test]
    fn other_forms_are_refused() {
        for other in [
            "{\"a\":1}",
            "{\"a\":1}\n\n",
            " {\"a\":1}\n",
            "{\"a\": 1}\n",
            "{\"a\":01}\n",
            "{\"a\":1,\"a\":1}\n",
            "{\"b\":1,\"a\":1}\n",
            "{\"\\u0061\":1}\n",
        ] {
            assert!(read::<BTreeMap<String, u64>>(other.as_bytes()).is_err(), "{other}");
        }
    }
}
