//! What every frame's dictionary begins with: entropy tables and words that sessions of agents have in common.
//!
//! A version of a few dozen bytes is too short to bring tables of its own, and building them for each version takes
//! longer than using them. With these, both are there before the first byte.

use crate::text::Piece;
use crate::tree::State;

/// The head of a zstd dictionary (RFC 8878, section 5): magic number, id, the tables of literals, offsets, match lengths
/// and literal lengths, three recent offsets. Every symbol has a place, so that a compressor may use them unseen.
const TABLES: [u8; 156] = [
    0x37, 0xa4, 0x30, 0xec, 0x4d, 0x53, 0x00, 0x00, 0x40, 0x10, 0xa8, 0x32, 0xdc, 0x1c, 0x30, 0x33,
    0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x13, 0x95, 0x6f, 0x66, 0x76, 0x4b, 0x11, 0x64,
    0x45, 0x6c, 0x2d, 0x4a, 0xdb, 0x16, 0xda, 0x9d, 0x49, 0x46, 0x73, 0x7e, 0x74, 0xd0, 0x7f, 0x05,
    0xfe, 0x11, 0xd7, 0x31, 0xc4, 0xa3, 0xc6, 0x50, 0x69, 0x22, 0x22, 0x22, 0x44, 0x64, 0xb1, 0x71,
    0x5a, 0x61, 0xe0, 0x41, 0xac, 0x99, 0x59, 0x6a, 0xbc, 0x23, 0x02, 0x00, 0x00, 0x0a, 0x87, 0x85,
    0x42, 0xb1, 0x68, 0x4c, 0x10, 0x18, 0x97, 0xee, 0x00, 0x04, 0xe0, 0x00, 0x94, 0xa1, 0x14, 0x22,
    0x96, 0x8b, 0x44, 0xc3, 0x51, 0x30, 0x0c, 0x62, 0x18, 0x45, 0x41, 0x14, 0x06, 0x19, 0x63, 0x88,
    0x51, 0xc4, 0x00, 0x04, 0xc8, 0x90, 0x0c, 0x90, 0x00, 0x00, 0x00, 0x00, 0xf4, 0x12, 0x68, 0xd5,
    0x81, 0x18, 0x75, 0x0a, 0x19, 0x22, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
];

/// Content right behind the tables.
const WORDS: &str = concat!(
    r#"{"type":"message","role":"system","content":"You are a helpful assistant. {"role":"user","co"#,
    r#"ntent":[{"type":"text","text":"Please {"id":"chatcmpl-","object":"chat.completion","model":""#,
    r#"gpt-4o","usage":{"input_tokens":100,"output_tokens":10,"total_tokens":{"type":"tool_use","id"#,
    r#"":"toolu_01","name":"search","input":{"path":"/{"type":"tool_result","tool_use_id":"toolu_01"#,
    r#"","is_error":false,"content":"Error: {"uuid":"00000000-0000-0000-0000-000000000000","parentU"#,
    r#"uid":null,"sessionId":"","timestamp":"2025-01-01T00:00:00.000Z","created_at":17,"updated_at""#,
    r#":"status":"running","step":{"role":"tool","tool_call_id":"call_","name":"","content":"{\"{"r"#,
    r#"ole":"assistant","content":null,"tool_calls":[{"id":"call_","type":"function","function":{"n"#,
    r#"ame":"read_file","arguments":"{\"path\": \"src/\n    def return the "}}]}{"role":"assistant""#,
    r#","content":"I will /messages/header"#,
);

/// What the frame of a segment may refer to: in format 3 the tables and words, then the beginning and the end of the
/// base state, `limit` bytes of it.
pub(crate) fn dictionary(format: u8, base: &State, limit: u64) -> Vec<u8> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 24);
    let mut out = match format {
        1 | 2 if limit == 0 => return Vec::new(),
        // zstd must not take the state for one of its own dictionaries.
        1 | 2 => vec![0],
        _ => [&TABLES, WORDS.as_bytes()].concat(),
    };
    let mut total = 0usize;
    base.visit(&mut |piece| {
        if let Piece::Literal(bytes) = piece {
            total += bytes.len();
        }
    });
    let head = total.min(limit / 8);
    let tail = (total - head).min(limit - limit / 8);
    let mut at = 0;
    base.visit(&mut |piece| {
        let Piece::Literal(bytes) = piece else { return };
        let end = at + bytes.len();
        if at < head {
            out.extend_from_slice(&bytes[..bytes.len().min(head - at)]);
        }
        if end > total - tail {
            let before = (total - tail).saturating_sub(at);
            let from = before.max(head.saturating_sub(at)).min(bytes.len());
            out.extend_from_slice(&bytes[from..]);
        }
        at = end;
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Effort, Encoder, inflate};

    #[test]
    fn zstd_takes_the_tables_for_a_dictionary() {
        let known = dictionary(3, &State::Empty, 0);
        assert!(zstd_safe::get_dict_id_from_dict(&known).is_some());
        for old in [1, 2] {
            assert!(dictionary(old, &State::Empty, 0).is_empty());
        }
    }

    /// Literals of a version too short for a table of its own are still coded.
    #[test]
    fn a_short_version_is_coded_with_the_tables() {
        let text = b"every quiet zebra jumps over six lazy foxes";
        let coded = |known: &[u8]| {
            let mut encoder = Encoder::new(Effort::Live(3), known).expect("encoder");
            let frame = encoder.flush(text).expect("flush");
            let back = inflate(known, frame.clone(), false, text.len());
            assert_eq!(back.expect("inflate"), text);
            frame.len()
        };
        let known = dictionary(3, &State::Empty, 0);
        let plain = [&[0], WORDS.as_bytes()].concat();
        let (with, without) = (coded(&known), coded(&plain));
        assert!(with + 4 < without, "{with} bytes, {without} without tables");
    }
}
