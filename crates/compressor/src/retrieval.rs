//! What was taken out of a context, brought back within a bound.

use crate::{context::Blob, extract, similar::words, tokens::Tokenizer};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashSet},
};

/// Bytes of a piece of a text without line ends.
const PIECE: usize = 400;
const GAP: &str = "\n[...]\n";

impl Blob {
    /// The whole blob as a text when it has at most `most` tokens; else its beginning, its end, and
    /// between them the pieces that hold the rarest words of the question, as much as fits.
    ///
    /// The same bytes every time. O(bytes × words of the question), and counting what fits.
    #[must_use]
    pub fn excerpt(&self, question: &str, most: usize, tokenizer: &dyn Tokenizer) -> Cow<'_, str> {
        let text = String::from_utf8_lossy(&self.bytes);
        if tokenizer.count_up_to(&text, most).is_some() {
            return text;
        }
        let pieces = pieces(&text);
        let ranked = ranked(&pieces, question);
        // A token is rarely more than four bytes; what is too much is found by counting.
        let mut room = most.saturating_mul(4);
        loop {
            let out = chosen(&pieces, &ranked, room);
            if tokenizer.count_up_to(&out, most).is_some() {
                return Cow::Owned(out);
            }
            if room < 16 {
                return Cow::Borrowed("");
            }
            room = room / 8 * 7;
        }
    }
}

/// Lines, long ones cut.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    for mut line in text.split_inclusive('\n') {
        while line.len() > PIECE {
            let cut = extract::clip(line, PIECE).len();
            pieces.push(&line[..cut]);
            line = &line[cut..];
        }
        pieces.push(line);
    }
    pieces
}

/// The pieces that hold words of the question, best first: a word counts more the rarer it is.
fn ranked(pieces: &[&str], question: &str) -> Vec<usize> {
    let asked: BTreeSet<&str> = words(question).filter(|word| word.len() > 2).collect();
    let mut holders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        for word in asked.iter().filter(|word| piece.contains(**word)) {
            holders.entry(word).or_default().push(at);
        }
    }
    let mut weights: BTreeMap<usize, u64> = BTreeMap::new();
    for list in holders.values() {
        for at in list {
            *weights.entry(*at).or_default() += (1 << 20) / list.len() as u64;
        }
    }
    let mut ranked: Vec<(usize, u64)> = weights.into_iter().collect();
    ranked.sort_by_key(|(at, weight)| (std::cmp::Reverse(*weight), *at));
    ranked.into_iter().map(|(at, _)| at).collect()
}

/// Half the room for what was asked, a quarter each for beginning and end.
fn chosen(pieces: &[&str], ranked: &[usize], room: usize) -> String {
    let mut taken: HashSet<usize> = HashSet::new();
    let mut take = |list: &mut dyn Iterator<Item = usize>, mut room: usize| {
        for at in list {
            let size = pieces[at].len() + GAP.len();
            if size > room {
                break;
            }
            room -= size;
            taken.insert(at);
        }
    };
    take(&mut (0..pieces.len()), room / 4);
    take(&mut (0..pieces.len()).rev(), room / 4);
    take(&mut ranked.iter().copied(), room / 2);
    let mut order: Vec<usize> = taken.into_iter().collect();
    order.sort_unstable();
    let mut out = String::new();
    let mut next = 0;
    for at in order {
        if at > next {
            out.push_str(GAP);
        }
        out.push_str(pieces[at]);
        next = at + 1;
    }
    if next < pieces.len() {
        out.push_str(GAP);
    }
    out
}
