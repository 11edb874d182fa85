//! A value that is the old one with other numbers in it: counters and times of a header cost a few bytes a version.

/// Values longer than this are set as a whole, so that an operation of a few bytes never builds much.
pub(crate) const MAX_VALUE: usize = 4096;
/// Runs with more digits are taken as text.
const MAX_DIGITS: usize = 18;
/// One past the largest number of that many digits.
const LIMIT: i64 = 1_000_000_000_000_000_000;

/// Runs of digits and what is between them, in turn.
struct Runs<'a>(&'a [u8]);

impl<'a> Iterator for Runs<'a> {
    type Item = (bool, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let digits = self.0.first()?.is_ascii_digit();
        let same = |b: &&u8| b.is_ascii_digit() == digits;
        let (run, rest) = self.0.split_at(self.0.iter().take_while(same).count());
        self.0 = rest;
        Some((digits && run.len() <= MAX_DIGITS, run))
    }
}

fn number(digits: &[u8]) -> i64 {
    digits
        .iter()
        .fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
}

/// What to add to each number of `old` to get `new`, the unchanged ones at the end left out. `None` when they differ
/// in more than numbers, or not at all.
pub(crate) fn differences(old: &[u8], new: &[u8]) -> Option<Vec<i64>> {
    if old.len().max(new.len()) > MAX_VALUE {
        return None;
    }
    let (mut olds, mut news) = (Runs(old), Runs(new));
    let mut found = Vec::new();
    loop {
        match (olds.next(), news.next()) {
            (None, None) => break,
            (Some((true, old)), Some((true, new))) => {
                // The sum is written with at least as many digits as the old number has.
                if new.len() < old.len() || (new.len() > old.len() && new[0] == b'0') {
                    return None;
                }
                found.push(number(new) - number(old));
            }
            (old, new) if old == new => {}
            _ => return None,
        }
    }
    while found.last() == Some(&0) {
        found.pop();
    }
    (!found.is_empty()).then_some(found)
}

/// The value with the differences added to its numbers; `None` when they do not fit it.
pub(crate) fn renumbered(old: &[u8], differences: &[i64]) -> Option<Vec<u8>> {
    if old.len() > MAX_VALUE {
        return None;
    }
    let mut left = differences.iter();
    let mut out = Vec::with_capacity(old.len() + differences.len());
    for (numeric, run) in Runs(old) {
        match left.as_slice() {
            [difference, ..] if numeric => {
                left.next();
                let sum = number(run).checked_add(*difference)?;
                if !(0..LIMIT).contains(&sum) {
                    return None;
                }
                put_number(&mut out, sum, run.len());
            }
            _ => out.extend_from_slice(run),
        }
    }
    left.as_slice().is_empty().then_some(out)
}

fn put_number(out: &mut Vec<u8>, mut number: i64, width: usize) {
    let mut digits = [b'0'; MAX_DIGITS];
    let mut used = 0;
    while number > 0 || used < width.max(1) {
        digits[MAX_DIGITS - 1 - used] = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
    }
    out.extend_from_slice(&digits[MAX_DIGITS - used..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_leads_from_the_old_to_the_new() {
        for (old, new, fits) in [
            (r#"{"n":9,"m":1}"#, r#"{"n":10,"m":1}"#, true),
            ("2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00.000Z", true),
            ("10", "9", false),
            ("9", "010", false),
            ("a1", "b1", false),
            ("7", "7", false),
            ("1234567890123456789", "1234567890123456788", false),
            ("0", "999999999999999999", true),
        ] {
            let found = differences(old.as_bytes(), new.as_bytes());
            assert_eq!(found.is_some(), fits, "{old} {new}");
            if let Some(found) = found {
                assert_eq!(
                    renumbered(old.as_bytes(), &found).as_deref(),
                    Some(new.as_bytes())
                );
            }
        }
        assert_eq!(renumbered(b"1", &[1, 1]), None);
        assert_eq!(renumbered(b"1", &[-2]), None);
        assert_eq!(renumbered(b"1", &[i64::MAX]), None);
    }
}
