//! CRC-32C, the check of everything on disk.

/// The check of `bytes`.
#[cfg(feature = "crc-fast")]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The check of `bytes`.
#[cfg(not(feature = "crc-fast"))]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// The check of what has the check `before`, followed by `bytes`.
pub(crate) fn crc32c_append(before: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(before, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_check_of_the_format_at_every_length() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..3000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
        for len in 0..bytes.len() {
            let (front, back) = bytes[..len].split_at(len / 3);
            assert_eq!(crc32c(&bytes[..len]), crc32c_append(crc32c(front), back));
        }
    }
}
