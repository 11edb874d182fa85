//! The rules of the wire formats that a request must keep.

use crate::{
    Error,
    item::Role,
    pairing::{END, Problem},
    transcript::Transcript,
};
use std::collections::HashMap;

/// Checks that a provider would take these items: every result has its call, every call its
/// result where the format wants it, and ids are told apart. A last call may still be open.
///
/// O(items).
///
/// # Errors
///
/// [`Error::Invalid`] with the first item that breaks a rule.
pub fn validate(transcript: &Transcript) -> Result<(), Error> {
    let broken = transcript
        .findings()
        .into_iter()
        .find(|finding| finding.explained_by != Some(END));
    if let Some(finding) = broken {
        return Err(Error::Invalid {
            item: finding.item,
            what: finding.to_string(),
        });
    }
    let first = transcript
        .items()
        .iter()
        .position(|item| !matches!(item.role(), Role::System | Role::Meta));
    match first {
        Some(item) if transcript.items()[item].role() == Role::ToolResults => Err(Error::Invalid {
            item,
            what: "a tool result cannot be the first message".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Checks that `result` breaks no rule that `original` does not break already, call by call: a log
/// may hold interrupted calls, and a request made of it is mended by [`Transcript::mend`].
pub(crate) fn no_worse(original: &Transcript, result: &Transcript) -> Result<(), Error> {
    let Err(error) = validate(result) else {
        return Ok(());
    };
    let mut known: HashMap<(Problem, String), usize> = HashMap::new();
    for finding in original.findings() {
        *known.entry((finding.problem, finding.call_id)).or_default() += 1;
    }
    for finding in result.findings() {
        if finding.explained_by == Some(END) {
            continue;
        }
        match known.get_mut(&(finding.problem, finding.call_id)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => return Err(error),
        }
    }
    Ok(())
}
