//! Numbers as text, quickly and in the canonical form of the exposition formats.

use std::fmt::Write as _;

const PAIRS: &[u8; 200] = b"\
00010203040506070809101112131415161718192021222324252627282930313233343536373839\
40414243444546474849505152535455565758596061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Appends a whole number, two digits at a time.
pub(crate) fn push_u64(out: &mut String, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + value as u8;
    }
    out.push_str(str::from_utf8(&digits[at..]).unwrap_or("0"));
}

/// Appends a float in the canonical form of OpenMetrics: shortest digits that read back the same,
/// always with a point or an exponent, `+Inf`, `-Inf`, `NaN`.
pub(crate) fn push_f64(out: &mut String, value: f64) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    let size = value.abs();
    if value == 0.0 || (1e-4..1e6).contains(&size) {
        let _infallible = write!(out, "{value:?}");
        return;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    let _infallible = write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs());
}

/// Appends a float as JSON, where what is not finite is `null`.
pub(crate) fn push_json_f64(out: &mut String, value: f64) {
    if !value.is_finite() {
        return out.push_str("null");
    }
    if value.fract() == 0.0 && value.abs() < 9.0e15 {
        let _infallible = write!(out, "{value:.0}");
        return;
    }
    let _infallible = write!(out, "{value:e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(value: f64) -> String {
        let mut out = String::new();
        push_f64(&mut out, value);
        out
    }

    #[test]
    fn floats_have_the_canonical_form() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1e10, "1e+10"),
            (123_456_789.0, "1.23456789e+08"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(canonical(value), text);
        }
    }

    #[test]
    fn whole_numbers() {
        for value in (0..2_000).chain([12_345, 123_456, u64::MAX - 1, u64::MAX]) {
            let mut out = String::new();
            push_u64(&mut out, value);
            assert_eq!(out, value.to_string());
        }
    }
}
