//! Inputs with one JSON record a line.

use super::{Import, Quarantined, detect, document, marked};
use crate::{
    Error,
    json::{Fault, Json},
};
use bytes::Bytes;

/// Lines looked at to decide whether the input has records at all.
const SAMPLE: usize = 200;

/// The lines that are not blank, with offset and number.
fn lines(source: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut offset = marked(source);
    source[offset..]
        .split(|b| *b == b'\n')
        .enumerate()
        .filter_map(move |(number, line)| {
            let at = offset;
            offset += line.len() + 1;
            (!line.trim_ascii().is_empty()).then_some((at, number + 1, line))
        })
}

fn record(line: &[u8]) -> Result<Json<'_>, Fault> {
    let text = std::str::from_utf8(line).map_err(|e| Fault {
        offset: e.valid_up_to(),
        what: "not UTF-8",
    })?;
    Json::parse(text)
}

/// Whether at least half of the lines at the beginning are JSON objects.
pub(super) fn plausible(source: &[u8]) -> bool {
    let (mut good, mut bad) = (0, 0);
    for (_, _, line) in lines(source).take(SAMPLE) {
        match record(line) {
            Ok(value) if value.is_object() => good += 1,
            _ => bad += 1,
        }
    }
    good > 0 && good >= bad
}

pub(super) fn read(mut import: Import, source: &Bytes) -> Result<Import, Error> {
    let (mut records, mut places) = (Vec::new(), Vec::new());
    for (offset, line, bytes) in lines(source) {
        match record(bytes) {
            Ok(value) if value.is_object() => {
                records.push(value);
                places.push((offset, line));
            }
            Ok(_) => import.put_aside(source, offset, line, bytes, "not an object".to_owned()),
            Err(fault) => {
                let what = format!("{} at byte {}", fault.what, offset + fault.offset);
                import.put_aside(source, offset, line, bytes, what);
            }
        }
    }
    if let Some(first) = records.first()
        && holds_session(*first)
    {
        for (record, (offset, line)) in records.into_iter().zip(places) {
            if let Some(what) = document::one_of_many(&mut import, record)? {
                import.put_aside(source, offset, line, record.text().as_bytes(), what);
            }
        }
        return Ok(import);
    }
    let Some(format) = detect::log(records.iter().copied()) else {
        return Err(Error::UnknownFormat {
            what: "lines of JSON that are no messages".to_owned(),
        });
    };
    let name = records.iter().find_map(|r| name(*r)).unwrap_or_default();
    import.add(name, format, records.into_iter())?;
    Ok(import)
}

fn holds_session(record: Json<'_>) -> bool {
    ["messages", "traj", "history", "contents"]
        .iter()
        .any(|key| record.get(key).is_some_and(Json::is_array))
}

fn name(record: Json<'_>) -> Option<String> {
    let id = record
        .get("sessionId")
        .or_else(|| record.get("payload")?.get("id"))?;
    id.string().map(|s| s.into_owned())
}

impl Import {
    pub(super) fn put_aside(
        &mut self,
        source: &Bytes,
        offset: usize,
        line: usize,
        raw: &[u8],
        what: String,
    ) {
        self.quarantined.push(Quarantined {
            offset,
            line,
            what,
            raw: source.slice_ref(raw),
        });
    }
}
