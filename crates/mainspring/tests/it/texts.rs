//! Messages, and the state that a checkpoint of them is.

pub(crate) fn message(text: &str) -> String {
    format!(r#"{{"role":"user","content":"{text}"}}"#)
}

pub(crate) fn state(header: u32, texts: &[&str]) -> String {
    let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
    format!(
        r#"{{"header":{header},"messages":[{}]}}"#,
        messages.join(",")
    )
}
