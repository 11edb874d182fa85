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
/// Words per resident entry: room for what both queues remember, and for an uneven spread.
const WORDS_PER_ENTRY: f64 = 3.6;
/// Ticks that pass while as many entries are evicted as are resident.
const TICKS: u64 = 8;
/// How long an eviction from probation is remembered: three times the resident entries.
const RECENT_SPAN: u16 = 3 * TICKS as u16;
/// How long an eviction from the proven ones is remembered: a quarter of the resident entries.
const FREQUENT_SPAN: u16 = 2;

const TICK_BITS: u16 = 5;
const TICK_MASK: u16 = (1 << TICK_BITS) - 1;
const FREQUENT: u16 = 1 << TICK_BITS;
const PRINT_SHIFT: u16 = TICK_BITS + 1;

/// Fingerprints of evicted keys in buckets of eight.
///
/// A word holds a 10-bit fingerprint, the queue it left and the tick (modulo 32) at which it left; zero is
/// no word. A hand goes round the buckets and clears what is older than its span well before the tick
/// comes round again. Fewer than one lookup in a hundred takes a stranger for an evicted key.
#[derive(Debug)]
pub(crate) struct Ghost {
    buckets: Vec<[u16; WAYS]>,
    /// The number of resident entries that the memory was made for.
    resident: u64,
    recent: Ticker,
    frequent: Ticker,
    hand: usize,
}

/// Counts evictions in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Ticker {
    tick: u16,
    part: u64,
}

impl Ticker {
    /// One eviction more, of as many as are `resident` in `TICKS` ticks.
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
            recent: Ticker::default(),
            frequent: Ticker::default(),
            hand: 0,
        }
    }

    /// Makes the memory fit so many resident entries; it is empty when it had to change.
    pub(crate) fn fit(&mut self, resident: usize) {
        let resident = resident.max(1) as u64;
        let fits = resident * 4 <= self.resident * 5 && resident * 5 >= self.resident * 3;
        if !self.buckets.is_empty() && fits {
            return;
        }
        let words = resident as f64 * WORDS_PER_ENTRY;
        self.buckets = vec![[0; WAYS]; (words / WAYS as f64).ceil().max(1.0) as usize];
        self.resident = resident;
        (self.recent.part, self.frequent.part) = (0, 0);
        self.hand = 0;
    }

    /// Notes that the key was evicted.
    pub(crate) fn remember(&mut self, hash: u32, from_frequent: bool) {
        let ticker = if from_frequent {
            &mut self.frequent
        } else {
            &mut self.recent
        };
        ticker.advance(self.resident);
        self.tidy();
        let word = self.word(hash, from_frequent);
        let clocks = (self.tick(false), self.tick(true));
        let bucket = self.bucket(hash);
        let Some(slots) = self.buckets.get_mut(bucket) else {
            return;
        };
        let same = slots
            .iter()
            .position(|slot| *slot >> PRINT_SHIFT == word >> PRINT_SHIFT);
        let way = same.unwrap_or_else(|| oldest(slots, clocks));
        slots[way] = word;
    }

    /// Which queue the key left and when; it is forgotten from then on.
    pub(crate) fn recall(&mut self, hash: u32) -> Option<Left> {
        let (bucket, way, left) = self.search(hash)?;
        self.buckets[bucket][way] = 0;
        Some(left)
    }

    /// Which queue the key left and when.
    pub(crate) fn peek(&self, hash: u32) -> Option<Left> {
        self.search(hash).map(|(_, _, left)| left)
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill([0; WAYS]);
    }

    fn search(&self, hash: u32) -> Option<(usize, usize, Left)> {
        let bucket = self.bucket(hash);
        let print = print(hash);
        let slots = self.buckets.get(bucket)?;
        let way = slots
            .iter()
            .position(|slot| *slot >> PRINT_SHIFT == print)?;
        let word = slots[way];
        let frequent = word & FREQUENT != 0;
        let age = age(word, self.tick(frequent));
        if age > span(word) {
            return None;
        }
        let age = f64::from(age) / TICKS as f64;
        Some((
            bucket,
            way,
            if frequent {
                Left::Frequent(age)
            } else {
                Left::Recent(age)
            },
        ))
    }

    /// Clears one bucket of what is too old; called once per eviction it reaches each in time.
    fn tidy(&mut self) {
        let clocks = (self.tick(false), self.tick(true));
        let hand = self.hand;
        self.hand = if hand + 1 >= self.buckets.len() {
            0
        } else {
            hand + 1
        };
        let Some(slots) = self.buckets.get_mut(hand) else {
            return;
        };
        for slot in slots {
            if *slot != 0 && age(*slot, pick(*slot, clocks)) > span(*slot) {
                *slot = 0;
            }
        }
    }

    fn tick(&self, frequent: bool) -> u16 {
        if frequent {
            self.frequent.tick
        } else {
            self.recent.tick
        }
    }

    fn word(&self, hash: u32, frequent: bool) -> u16 {
        print(hash) << PRINT_SHIFT | if frequent { FREQUENT } else { 0 } | self.tick(frequent)
    }

    fn bucket(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// Ten bits that the bucket does not depend on; never zero.
fn print(hash: u32) -> u16 {
    ((hash & 0x3FF) as u16).max(1)
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

/// An empty way, else the one that has used up most of its span.
fn oldest(slots: &[u16; WAYS], clocks: (u16, u16)) -> usize {
    let mut chosen = 0;
    let mut most = 0;
    for (way, slot) in slots.iter().enumerate() {
        if *slot == 0 {
            return way;
        }
        let used = u32::from(age(*slot, pick(*slot, clocks))) * 32 / u32::from(span(*slot));
        if used >= most {
            (chosen, most) = (way, used);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_three_times_the_residents_and_forgets_in_time() {
        let mut ghost = Ghost::new();
        ghost.fit(1_000);
        let hash = |n: u32| n.wrapping_mul(0x9E37_79B1);
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
        let Some(Left::Recent(age)) = ghost.recall(hash(98_000)) else {
            panic!("forgotten")
        };
        assert!((1.8..=2.1).contains(&age), "{age}");
        assert_eq!(ghost.peek(hash(98_000)), None);
    }
}
