//! A digest of bytes, of its own so that no code of the runtime decides whether bytes are right.

const PRIMES: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

/// 128 bits in hexadecimal. Each word goes through a bijection of each lane (add or xor, an odd
/// factor, a rotation), so that a single changed word always shows. Not for adversaries.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let [mut a, mut b] = [bytes.len() as u64 ^ PRIMES[1], PRIMES[0]];
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        a = (a ^ word).wrapping_mul(PRIMES[0]).rotate_left(29);
        b = b.wrapping_add(word).wrapping_mul(PRIMES[1]).rotate_left(41);
    }
    format!("{:016x}{:016x}", mixed(a), mixed(b))
}

fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 32)).wrapping_mul(PRIMES[1]);
    (word ^ (word >> 29)).wrapping_mul(PRIMES[0]) ^ (word >> 32)
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn every_single_bit_shows() {
        let bytes: Vec<u8> = (0..61_u8).map(|n| n.wrapping_mul(37)).collect();
        let whole = digest(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest(&flipped), whole, "bit {bit}");
        }
        assert_ne!(digest(&[0; 8]), digest(&[0; 9]));
    }
}
