//! Memory of what was evicted lately: two bytes a word, no keys.

/// Which queue a forgotten key had left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Left {
    /// Probation, so many evictions from there ago, as a multiple of the entries resident.
    Recent(f64),
    /// The proven ones, so many evictions from there ago, likewise.
    Frequent(f64),
}

const WAYS: usize = 8;
/// Four words side by side: a bucket is compared and shifted in two steps.
type Lanes = u64;
const ONES: Lanes = 0x0001_0001_0001_0001;
/// Words per resident entry: room for what both queues remember, and for an uneven spread.
const WORDS_PER_ENTRY: f64 = 3.6;
/// Ticks that pass while as many entries are evicted as are resident.
const TICKS: u64 = 8;
/// How long an eviction from probation is remembered: three times the resident entries.
const RECENT_SPAN: u16 = 3 * TICKS as u16;
/// How long an eviction from the proven ones is remembered: a quarter of the resident entries.
const FREQUENT_SPAN: u16 = 2;

/// Buckets that are tidied together, and after how many evictions: a round through all takes five or six of the seven
/// ticks that pass before a word which is too old seems new again.
const TIDIED: usize = 8;
const TIDY_EVERY: u32 = 12;
/// Fewer buckets than that are tidied one by one, one an eviction.
const FEW: usize = 8 * TIDIED;

const TICK_BITS: u16 = 5;
const TICK_MASK: u16 = (1 << TICK_BITS) - 1;
const FREQUENT: u16 = 1 << TICK_BITS;
const PRINT_SHIFT: u16 = TICK_BITS + 1;
const PRINT: u16 = !0 << PRINT_SHIFT;

/// Fingerprints of evicted keys in buckets of eight.
///
/// A word holds a 10-bit fingerprint, the queue it left and the tick (modulo 32) at which it left; zero is
/// no word. In its bucket the newest word comes first: one that comes shifts those before the first free
/// place, or else the oldest out. A hand goes round the buckets and clears what is older than its span well
/// before the tick comes round again. Fewer than one lookup in a hundred takes a stranger for an evicted key.
#[derive(Debug)]
pub(crate) struct Ghost {
    buckets: Vec<[Lanes; WAYS / 4]>,
    /// The number of resident entries that the memory was made for.
    resident: u64,
    /// The fewest and the most resident entries that it is kept for.
    fits: (u64, u64),
    recent: Ticker,
    frequent: Ticker,
    /// The bucket that is tidied next, and the evictions until then.
    hand: usize,
    wait: u32,
}

/// Counts evictions in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Ticker {
    tick: u16,
    part: u64,
}

impl Ticker {
    /// One eviction more, of as many as are `resident` in `TICKS` ticks.
    #[inline]
    fn advance(&mut self, resident: u64) {
        self.part += TICKS;
        while self.part >= resident {
            self.part -= resident;
            self.tick = (self.tick + 1) & TICK_MASK;
        }
    }
}

impl Ghost {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Vec::new(),
            resident: 1,
            fits: (1, 0),
            recent: Ticker::default(),
            frequent: Ticker::default(),
            hand: 0,
            wait: 1,
        }
    }

    /// Makes the memory fit so many resident entries; it is empty when it had to change.
    #[inline]
    pub(crate) fn fit(&mut self, resident: usize) {
        let resident = resident.max(1) as u64;
        if resident < self.fits.0 || resident > self.fits.1 {
            self.resize(resident);
        }
    }

    #[cold]
    fn resize(&mut self, resident: u64) {
        let words = resident as f64 * WORDS_PER_ENTRY;
        self.buckets = vec![[0; WAYS / 4]; (words / WAYS as f64).ceil().max(1.0) as usize];
        self.resident = resident;
        self.fits = ((resident * 3).div_ceil(5), resident * 5 / 4);
        (self.recent.part, self.frequent.part) = (0, 0);
        self.hand = 0;
    }

    /// Notes that the key was evicted.
    #[inline(always)]
    pub(crate) fn remember(&mut self, hash: u32, from_frequent: bool) {
        let ticker = if from_frequent {
            &mut self.frequent
        } else {
            &mut self.recent
        };
        ticker.advance(self.resident);
        self.tidy();
        let word = self.word(hash, from_frequent);
        let at = self.bucket(hash);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = shifted(*bucket, word);
        }
    }

    /// Which queue the key left and when; it is forgotten from then on.
    #[inline]
    pub(crate) fn recall(&mut self, hash: u32) -> Option<Left> {
        let (bucket, half, way) = self.search(hash)?;
        let lanes = &mut self.buckets[bucket][half];
        let word = (*lanes >> (way * 16)) as u16;
        *lanes &= !(0xFFFF << (way * 16));
        self.left(word)
    }

    /// Which queue the key left and when.
    pub(crate) fn peek(&self, hash: u32) -> Option<Left> {
        let (bucket, half, way) = self.search(hash)?;
        self.left((self.buckets[bucket][half] >> (way * 16)) as u16)
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.buckets.capacity() * size_of::<[Lanes; WAYS / 4]>()
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill([0; WAYS / 4]);
    }

    /// The bucket, the half of it and the way in that.
    #[inline]
    fn search(&self, hash: u32) -> Option<(usize, usize, u32)> {
        let bucket = self.bucket(hash);
        let [low, high] = self.buckets.get(bucket)?;
        let print = print(hash) << PRINT_SHIFT;
        let (low, high) = (equal(*low, print), equal(*high, print));
        if low | high == 0 {
            return None;
        }
        let (half, ways) = if low != 0 { (0, low) } else { (1, high) };
        Some((bucket, half, ways.trailing_zeros() / 16))
    }

    /// What a word says, unless it is too old to say anything.
    fn left(&self, word: u16) -> Option<Left> {
        let age = age(word, pick(word, self.clocks()));
        if age > span(word) {
            return None;
        }
        let age = f64::from(age) / TICKS as f64;
        Some(if word & FREQUENT != 0 {
            Left::Frequent(age)
        } else {
            Left::Recent(age)
        })
    }

    /// Called once per eviction it reaches each bucket in time.
    #[inline]
    fn tidy(&mut self) {
        self.wait -= 1;
        if self.wait == 0 {
            self.tidy_some();
        }
    }

    /// Clears some buckets of what is too old.
    #[inline(never)]
    fn tidy_some(&mut self) {
        let clocks = self.clocks();
        let few = self.buckets.len() < FEW;
        let (count, wait) = if few { (1, 1) } else { (TIDIED, TIDY_EVERY) };
        let end = (self.hand + count).min(self.buckets.len());
        for bucket in self.buckets.get_mut(self.hand..end).into_iter().flatten() {
            *bucket = bucket.map(|lanes| kept(lanes, clocks));
        }
        self.hand = if end < self.buckets.len() { end } else { 0 };
        self.wait = wait;
    }

    #[inline]
    fn clocks(&self) -> (u16, u16) {
        (self.recent.tick, self.frequent.tick)
    }

    #[inline]
    fn tick(&self, frequent: bool) -> u16 {
        if frequent {
            self.frequent.tick
        } else {
            self.recent.tick
        }
    }

    #[inline]
    fn word(&self, hash: u32, frequent: bool) -> u16 {
        print(hash) << PRINT_SHIFT | if frequent { FREQUENT } else { 0 } | self.tick(frequent)
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        (((mixed(hash) >> 32) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// Ten bits that the bucket does not depend on; never zero.
#[inline]
fn print(hash: u32) -> u16 {
    ((mixed(hash) >> 32) as u16 & 0x3FF).max(1)
}

/// The hash with its bits spread: hashers that are fast leave patterns in some of them, which here would tell keys apart
/// badly.
#[inline]
fn mixed(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

fn pick(word: u16, (recent, frequent): (u16, u16)) -> u16 {
    if word & FREQUENT == 0 {
        recent
    } else {
        frequent
    }
}

fn span(word: u16) -> u16 {
    if word & FREQUENT == 0 {
        RECENT_SPAN
    } else {
        FREQUENT_SPAN
    }
}

fn age(word: u16, now: u16) -> u16 {
    now.wrapping_sub(word) & TICK_MASK
}

/// The highest bit of the first lane that is zero, and perhaps of later ones.
#[inline]
fn zeros(lanes: Lanes) -> Lanes {
    lanes.wrapping_sub(ONES) & !lanes & (ONES << 15)
}

/// The highest bit of the first lane whose fingerprint is that of `print`, and perhaps of later ones.
#[inline]
fn equal(lanes: Lanes, print: u16) -> Lanes {
    zeros((lanes ^ (ONES * Lanes::from(print))) & (ONES * Lanes::from(PRINT)))
}

/// The lanes up to the first for which `zeros` has a bit; all without one.
#[inline]
fn up_to(zeros: Lanes) -> Lanes {
    zeros ^ zeros.wrapping_sub(1)
}

/// A bucket with one word more: those before the first free place move on by one. Whether there is one nobody can
/// foresee, so there is no branch.
#[inline]
fn shifted([low, high]: [Lanes; WAYS / 4], word: u16) -> [Lanes; WAYS / 4] {
    let free = zeros(low);
    let moved = up_to(free);
    let over = up_to(zeros(high)) & Lanes::from(free == 0).wrapping_neg();
    [
        low & !moved | (low << 16 | Lanes::from(word)) & moved,
        high & !over | (high << 16 | low >> 48) & over,
    ]
}

/// The lanes without the words whose age is above the span for the queue that they left.
#[inline]
fn kept(lanes: Lanes, (recent, frequent): (u16, u16)) -> Lanes {
    const LOW: Lanes = ONES * TICK_MASK as Lanes;
    let each = |value: u16| ONES * Lanes::from(value);
    // Five ones in the lanes of words that left the proven queue.
    let proven = (lanes >> TICK_BITS & ONES) * Lanes::from(TICK_MASK);
    let clock = each(recent) ^ (each(recent ^ frequent) & proven);
    // A bit above each tick is borrowed from, so that no lane borrows from the next.
    let age = ((clock | ONES << TICK_BITS) - (lanes & LOW)) & LOW;
    let span = each(RECENT_SPAN) ^ (each(RECENT_SPAN ^ FREQUENT_SPAN) & proven);
    let aged = (age + LOW - span) >> TICK_BITS & ONES;
    lanes & !(aged * 0xFFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_cleared_side_by_side_as_one_by_one() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let lanes = state ^ state >> 29;
            let clocks = (
                (state >> 7) as u16 & TICK_MASK,
                (state >> 17) as u16 & TICK_MASK,
            );
            let kept = kept(lanes, clocks);
            for way in 0..4 {
                let word = (lanes >> (way * 16)) as u16;
                let old = age(word, pick(word, clocks)) > span(word);
                assert_eq!((kept >> (way * 16)) as u16, if old { 0 } else { word });
                let found = equal(lanes, word & PRINT).trailing_zeros() / 16;
                assert!(found <= way, "{lanes:x} {way}");
            }
        }
    }

    #[test]
    fn a_word_that_comes_moves_those_before_the_first_free_place() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let mut words: [u16; WAYS] =
                std::array::from_fn(|way| (state >> (way * 8)) as u16 % 7 * 0x1357);
            let half = |words: &[u16]| {
                let put = |lanes, word: &u16| lanes << 16 | Lanes::from(*word);
                words.iter().rev().fold(0, put)
            };
            let bucket = |words: &[u16; WAYS]| [half(&words[..4]), half(&words[4..])];
            let shifted = shifted(bucket(&words), 0xABCD);
            let free = words.iter().position(|word| *word == 0);
            words[..=free.unwrap_or(WAYS - 1)].rotate_right(1);
            words[0] = 0xABCD;
            assert_eq!(shifted, bucket(&words));
        }
    }

    #[test]
    fn remembers_three_times_the_residents_and_forgets_in_time() {
        let mut ghost = Ghost::new();
        ghost.fit(1_000);
        let hash = |n: u32| {
            let mixed = (n ^ n >> 16).wrapping_mul(0x85EB_CA6B);
            (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35) ^ n << 7
        };
        for n in 0..100_000 {
            ghost.remember(hash(n), false);
        }
        let known = |from: u32, to: u32| {
            (from..to)
                .filter(|n| ghost.peek(hash(*n)).is_some())
                .count()
        };
        assert!(known(99_000, 100_000) > 950, "{}", known(99_000, 100_000));
        assert!(known(97_500, 98_500) > 850, "{}", known(97_500, 98_500));
        assert!(known(0, 90_000) < 900, "{}", known(0, 90_000));
        let seen = (97_950..98_050).find(|n| ghost.peek(hash(*n)).is_some());
        let hash = hash(seen.unwrap());
        let Some(Left::Recent(age)) = ghost.recall(hash) else {
            panic!("forgotten")
        };
        assert!((1.8..=2.2).contains(&age), "{age}");
        assert_eq!(ghost.peek(hash), None);
    }
}
