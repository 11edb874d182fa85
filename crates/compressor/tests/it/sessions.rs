//! Every format opens, round-trips and pairs.

use crate::data;
use mainspring_compressor::{Format, read_sessions};

#[test]
fn recorded_sessions_round_trip_byte_for_byte() {
    for (name, bytes) in data::recorded() {
        let import = read_sessions(bytes.clone()).unwrap();
        assert!(import.export() == bytes, "{name}");
        assert!(import.quarantined().is_empty(), "{name}");
    }
}

#[test]
fn recorded_sessions_have_no_unexplained_damage() {
    for (name, import) in data::imported() {
        for session in import.sessions() {
            let t = &session.transcript;
            println!(
                "{name} {} {} items {} exchanges {}",
                session.name,
                session.format(),
                t.len(),
                t.exchanges().len()
            );
            for finding in t.findings() {
                println!("   {finding}");
            }
            assert_eq!(t.damage(), [], "{name} {}", session.name);
        }
    }
}

#[test]
fn formats_are_told_by_content() {
    for (name, import) in data::imported() {
        let expected = match name.as_str() {
            n if n.ends_with(".traj") => Format::SweAgent,
            n if n.starts_with("codex") => Format::CodexRollout,
            n if n.starts_with("claude") => Format::ClaudeCode,
            _ => Format::TauBench,
        };
        assert!(
            import.sessions().iter().all(|s| s.format() == expected),
            "{name}"
        );
    }
}
