//! JSON Pointer (RFC 6901): `""` is the whole state, `/messages/3` the fourth message.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::json::MAX_DEPTH;

/// The reference tokens of a pointer, decoded.
pub(crate) fn tokens(path: &str) -> Result<Vec<Cow<'_, str>>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Error::operation(path, "a path is empty or starts with `/`"));
    };
    let tokens: Vec<_> = rest.split('/').map(decode).collect();
    if tokens.len() > MAX_DEPTH {
        return Err(Error::operation(path, "the path is too deep"));
    }
    Ok(tokens)
}

fn decode(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        token.replace("~1", "/").replace("~0", "~").into()
    } else {
        token.into()
    }
}

/// Whether two pointers mean the same place. A `~` that is no escape stands for itself, so there are several spellings.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    a == b || parts(a).eq(parts(b))
}

/// Neither pointer leads through the other.
pub(crate) fn are_apart(a: &str, b: &str) -> bool {
    parts(a).zip(parts(b)).any(|(a, b)| a != b)
}

fn parts(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    path.split('/').skip(1).map(decode)
}

/// The pointer one level below `parent`.
pub(crate) fn join(parent: &str, token: &str) -> String {
    format!("{parent}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// An array index: digits without a leading zero.
pub(crate) fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    if plain && token.bytes().all(|b| b.is_ascii_digit()) {
        token.parse().ok()
    } else {
        None
    }
}
