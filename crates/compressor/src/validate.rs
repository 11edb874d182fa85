//! The rules of the wire formats that a request must keep.

use crate::{Error, item::Role, transcript::Transcript};

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
        .find(|finding| finding.explained_by != Some("the end of the session"));
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
