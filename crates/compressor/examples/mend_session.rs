//! A history that a provider would refuse, made into one that it takes.
//!
//! `cargo run --example mend_session`

use mainspring_compressor::{Error, read_sessions, validate};

const BROKEN: &str = r#"[
  {"role":"user","content":"What is in a.txt and b.txt?"},
  {"role":"assistant","content":null,"tool_calls":[
    {"id":"call_1","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"a.txt\"}"}},
    {"id":"call_2","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"b.txt\"}"}}]},
  {"role":"tool","tool_call_id":"call_2","content":"two"},
  {"role":"tool","tool_call_id":"call_0","content":"nobody asked"},
  {"role":"user","content":"Well?"}
]"#;

fn main() -> Result<(), Error> {
    let import = read_sessions(BROKEN)?;
    let transcript = &import.sessions()[0].transcript;
    for damage in transcript.damage() {
        println!("damage: {damage}");
    }
    let (mended, repairs) = transcript.mend()?;
    for repair in &repairs {
        println!("repair: {repair}");
    }
    validate(&mended)?;
    for item in mended.items() {
        println!("{}", String::from_utf8_lossy(item.raw()));
    }
    Ok(())
}
