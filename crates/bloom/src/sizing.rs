//! How many blocks or words a capacity and a false positive rate need.
//!
//! The keys of one block are Poisson distributed around the mean load, so the rate of a filter is
//! the mean of the rate of a block over that distribution. A split block with `i` keys has each of
//! its eight 32-bit words hit `i` times: `(1 - (31/32)^i)^8`. A claim word with `i` keys has had
//! `k i` draws out of 64; its distribution of set bits is followed exactly, draw by draw.

/// Smallest rate that a caller may ask for.
pub(crate) const MIN_FPR: f64 = 1e-6;
/// Largest rate that a caller may ask for.
pub(crate) const MAX_FPR: f64 = 0.5;
/// Smallest rate that a layer of a growing filter is sized for.
pub(crate) const MIN_LAYER_FPR: f64 = 1e-9;

/// Mean of `value(i)` over a Poisson distribution.
fn poisson_mean(load: f64, value: impl Fn(usize) -> f64) -> f64 {
    let mut probability = (-load).exp();
    let (mut mean, mut keys) = (0.0, 0);
    let last = (load + 12.0 * load.sqrt() + 30.0) as usize;
    while keys <= last {
        mean += probability * value(keys);
        keys += 1;
        probability *= load / keys as f64;
    }
    mean
}

/// The rate of a split-block filter that holds `load` keys per block.
pub(crate) fn split_block_rate(load: f64) -> f64 {
    poisson_mean(load, |keys| {
        (1.0 - (31.0_f64 / 32.0).powi(keys as i32)).powi(8)
    })
}

/// The largest load at which `rate(load)` stays at or below `fpr`; `rate` rises with the load.
fn largest_load(fpr: f64, most: f64, rate: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..48 {
        let middle = f64::midpoint(low, high);
        if rate(middle) <= fpr {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// Blocks for a split-block filter, saturating.
pub(crate) fn blocks_for(capacity: usize, fpr: f64) -> u64 {
    let load = largest_load(fpr, 256.0, split_block_rate);
    (capacity as f64 / load).ceil().max(1.0) as u64
}

/// The rate of a claim word by the number of keys it holds, for `bits` draws per key.
fn claim_word_rates(bits: u32, most_keys: usize) -> Vec<f64> {
    let mut distribution = [0.0; 65];
    distribution[0] = 1.0;
    (0..=most_keys)
        .map(|_| {
            let rate = (0..65)
                .map(|set| distribution[set] * (set as f64 / 64.0).powi(bits as i32))
                .sum();
            for _ in 0..bits {
                draw_one(&mut distribution);
            }
            rate
        })
        .collect()
}

/// One more bit of 64 drawn at random: it was set already, or is one more.
fn draw_one(distribution: &mut [f64; 65]) {
    for set in (0..65).rev() {
        let stays = distribution[set] * set as f64 / 64.0;
        let rises = if set == 0 {
            0.0
        } else {
            distribution[set - 1] * (65 - set) as f64 / 64.0
        };
        distribution[set] = stays + rises;
    }
}

/// Words and bits per key for a claim filter: the number of bits that needs the fewest words.
pub(crate) fn words_for(capacity: usize, fpr: f64) -> (u64, u32) {
    const MOST_KEYS: usize = 192;
    (1..=8)
        .map(|bits| {
            let rates = claim_word_rates(bits, MOST_KEYS);
            let rate = |load| poisson_mean(load, |keys| rates[keys.min(MOST_KEYS)]);
            let load = largest_load(fpr, 64.0, rate);
            ((capacity as f64 / load).ceil().max(1.0) as u64, bits)
        })
        .min()
        .unwrap_or((u64::MAX, 1))
}

/// Keys that leave `fill` of the bits of `units` blocks or words set, when one key sets a given bit of
/// its unit with probability `hit`.
pub(crate) fn keys_from_fill(fill: f64, units: usize, hit: f64) -> u64 {
    if fill >= 1.0 {
        return u64::MAX;
    }
    (-(units as f64) * (-fill).ln_1p() / hit).round() as u64
}

/// The chance that a key sets a given bit of its split block: one of each word's 32.
pub(crate) const SPLIT_BLOCK_HIT: f64 = 1.0 / 32.0;

/// The chance that a key of `bits` draws sets a given bit of its claim word.
pub(crate) fn claim_hit(bits: u8) -> f64 {
    1.0 - (63.0_f64 / 64.0).powi(i32::from(bits))
}
