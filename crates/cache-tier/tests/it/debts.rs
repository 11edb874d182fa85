//! What a tier missed is not forgotten when the process ends.

use crate::double::{Slow, Task, pause, run};
use mainspring_cache_tier::{
    BytesCodec, DirTier, EntryOptions, Error, Key, Label, Marks, Tier, TierEntry, TierFuture,
    TieredCache,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn key() -> Key {
    Key::new("team:1", "k")
}

fn opened(tier: Arc<dyn Tier>, debts: Option<&Path>) -> TieredCache<String> {
    let builder = TieredCache::<String>::builder(BytesCodec).tier(tier);
    let builder = match debts {
        Some(folder) => builder.debts(folder),
        None => builder,
    };
    run(builder.open()).unwrap()
}

fn put(cache: &TieredCache<String>, value: &str) {
    run(cache.insert(&key(), value.into(), &EntryOptions::new())).unwrap();
}

/// A change that the tier misses.
fn missed<T>(slow: &Slow, change: impl Future<Output = T>) {
    slow.broken.store(true, Ordering::Relaxed);
    run(change);
    slow.broken.store(false, Ordering::Relaxed);
}

/// What the next process finds when this one could not tell the tier of an invalidation.
fn found_after_a_restart(debts: Option<&Path>) -> Option<String> {
    let slow = Slow::new();
    let cache = opened(slow.clone(), debts);
    put(&cache, "old");
    slow.broken.store(true, Ordering::Relaxed);
    run(cache.invalidate_scope("team"));
    drop(cache);
    slow.broken.store(false, Ordering::Relaxed);
    let cache = opened(slow.clone(), debts);
    let found = run(cache.get(&key()));
    if debts.is_some() {
        assert!(slow.entries.lock().unwrap().is_empty());
        put(&cache, "new");
        drop(cache);
        let later = run(opened(slow, debts).get(&key()));
        assert_eq!(later.as_deref(), Some("new"), "the debt was paid");
    }
    found
}

#[test]
fn a_debt_survives_a_restart_where_there_is_a_folder_for_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(found_after_a_restart(Some(folder.path())), None);
    assert_eq!(
        found_after_a_restart(None).as_deref(),
        Some("old"),
        "the tier itself cannot know"
    );
}

#[test]
fn two_tiers_of_one_name_owe_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let tiers = [Slow::new(), Slow::new()];
    let open = || {
        let builder = TieredCache::<String>::builder(BytesCodec).debts(folder.path());
        let builder = tiers.iter().fold(builder, |builder, tier| {
            builder.tier(Arc::clone(tier) as Arc<dyn Tier>)
        });
        run(builder.open()).unwrap()
    };
    let cache = open();
    put(&cache, "old");
    tiers[1].broken.store(true, Ordering::Relaxed);
    // Told to the first and missed by the second.
    run(cache.invalidate(&key()));
    drop(cache);
    tiers[1].broken.store(false, Ordering::Relaxed);
    let cache = open();
    assert_eq!(run(cache.get(&key())), None);
}

/// A directory whose log and files cannot be changed for a while, as when its disk is full; and whether even that
/// cannot be noted.
struct Full(DirTier, AtomicBool, AtomicBool);

impl Full {
    fn new(folder: &Path) -> Arc<Self> {
        let tier = DirTier::open(folder).unwrap();
        Arc::new(Self(tier, AtomicBool::new(false), AtomicBool::new(false)))
    }
}

impl Full {
    fn or_full<'a, T>(&self, real: TierFuture<'a, T>) -> TierFuture<'a, T>
    where
        T: Send + 'a,
    {
        if self.1.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::tier("full", "no space left")) });
        }
        real
    }
}

impl Tier for Full {
    fn name(&self) -> &str {
        "full"
    }
    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        self.0.get(key)
    }
    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        self.or_full(self.0.put(key, entry))
    }
    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        self.or_full(self.0.remove(key))
    }
    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        self.or_full(self.0.mark(labels, epoch))
    }
    fn marks(&self) -> TierFuture<'_, Marks> {
        self.0.marks()
    }
    fn clear(&self) -> TierFuture<'_, ()> {
        self.or_full(self.0.clear())
    }
    fn distrust(&self) -> TierFuture<'_, ()> {
        if self.2.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::tier("full", "cannot be noted")) });
        }
        self.0.distrust()
    }
}

#[test]
fn a_debt_that_could_not_be_noted_is_noted_at_the_next_chance() {
    let folder = tempfile::tempdir().unwrap();
    let tier = Full::new(folder.path());
    let cache = opened(tier.clone(), None);
    put(&cache, "old");
    tier.1.store(true, Ordering::Relaxed);
    tier.2.store(true, Ordering::Relaxed);
    run(cache.invalidate_scope("team"));
    tier.2.store(false, Ordering::Relaxed);
    // Not emptied yet, but the next process is warned.
    assert_eq!(run(cache.get(&Key::new("else", "x"))), None);
    drop((cache, tier));
    let tier = Arc::new(DirTier::open(folder.path()).unwrap());
    assert_eq!(run(opened(tier, None).get(&key())), None);
}

#[test]
fn a_directory_that_missed_an_invalidation_is_distrusted_without_a_folder_of_debts() {
    let folder = tempfile::tempdir().unwrap();
    let tier = Full::new(folder.path());
    let cache = opened(tier.clone(), None);
    put(&cache, "old");
    tier.1.store(true, Ordering::Relaxed);
    run(cache.invalidate_scope("team"));
    drop((cache, tier));
    let tier = Arc::new(DirTier::open(folder.path()).unwrap());
    assert_eq!(run(opened(tier, None).get(&key())), None);
}

#[test]
fn a_directory_that_was_emptied_is_trusted_again() {
    let folder = tempfile::tempdir().unwrap();
    let tier = Full::new(folder.path());
    let cache = opened(tier.clone(), None);
    put(&cache, "old");
    tier.1.store(true, Ordering::Relaxed);
    run(cache.invalidate_scope("team"));
    tier.1.store(false, Ordering::Relaxed);
    put(&cache, "new");
    run(cache.invalidate_scope("elsewhere"));
    drop((cache, tier));
    let tier = Arc::new(DirTier::open(folder.path()).unwrap());
    let found = run(opened(tier, None).get(&key()));
    assert_eq!(found.as_deref(), Some("new"));
}

/// A load that begins, and ends after its tier missed an invalidation and can be reached again.
fn load_across_a_debt(load_in: &TieredCache<String>, missed_by: &TieredCache<String>, slow: &Slow) {
    let (key, options) = (key(), EntryOptions::new());
    let mut load = Task::new(load_in.get_or_try_load(&key, &options, || async {
        pause(50).await;
        Ok::<_, std::io::Error>("old".to_owned())
    }));
    assert!(!load.steps(30));
    missed(slow, missed_by.invalidate_scope("team"));
    assert_eq!(run(missed_by.get(&Key::new("else", "x"))), None);
    load.finish().unwrap();
}

#[test]
fn what_was_loading_when_a_tier_missed_an_invalidation_is_stale_after_a_restart() {
    let slow = Slow::new();
    let cache = opened(slow.clone(), None);
    load_across_a_debt(&cache, &cache, &slow);
    drop(cache);
    assert_eq!(run(opened(slow, None).get(&key())), None);
}

#[test]
fn what_another_was_loading_when_the_shared_tier_missed_an_invalidation_is_stale() {
    let slow = Slow::new();
    slow.shared.store(true, Ordering::Relaxed);
    let (a, b) = (opened(slow.clone(), None), opened(slow.clone(), None));
    load_across_a_debt(&b, &a, &slow);
    b.clear_memory();
    assert_eq!(run(b.get(&key())), None);
    assert_eq!(run(a.get(&key())), None);
}

/// A lookup elsewhere that found the tier in debt and has emptied it, but not yet come back from that.
fn emptying<'a>(
    cache: &'a TieredCache<String>,
    slow: &Slow,
    key: &'a Key,
) -> Task<'a, Option<String>> {
    let mut task = Task::new(cache.get(key));
    while !slow.entries.lock().unwrap().is_empty() {
        assert!(!task.step());
    }
    task
}

fn left_behind(slow: &Slow) {
    // A write of another process, older than what the tier is about to miss.
    let entry = TierEntry {
        value: bytes::Bytes::from_static(b"old"),
        birth: 1,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: vec![Label::scope("team")],
    };
    slow.entries.lock().unwrap().insert(key(), entry);
}

/// A cache whose tier has a value of which it missed the invalidation.
fn in_debt() -> (Arc<Slow>, TieredCache<String>) {
    let slow = Slow::new();
    let cache = opened(slow.clone(), None);
    put(&cache, "old");
    missed(&slow, cache.invalidate_scope("team"));
    (slow, cache)
}

#[test]
fn what_a_tier_missed_while_it_was_emptied_is_still_owed() {
    let (slow, cache) = in_debt();
    let elsewhere = Key::new("else", "x");
    let settling = emptying(&cache, &slow, &elsewhere);
    // Written and missed between the emptying and its end.
    missed(&slow, cache.invalidate(&key()));
    left_behind(&slow);
    settling.finish();
    run(cache.get(&elsewhere));
    assert!(slow.entries.lock().unwrap().is_empty(), "emptied again");
}

#[test]
fn a_task_that_settles_late_neither_pays_what_came_later_nor_owes_anew() {
    let (slow, cache) = in_debt();
    let (elsewhere, other) = (Key::new("else", "x"), Key::new("else", "y"));
    let late = emptying(&cache, &slow, &elsewhere);
    missed(&slow, cache.invalidate(&key()));
    // Another settles all of it, and the tier is used again.
    assert_eq!(run(cache.get(&other)), None);
    put(&cache, "new");
    late.finish();
    cache.clear_memory();
    assert_eq!(run(cache.get(&key())).as_deref(), Some("new"));
    assert_eq!(run(cache.get(&other)), None);
    cache.clear_memory();
    assert_eq!(
        run(cache.get(&key())).as_deref(),
        Some("new"),
        "not emptied again"
    );
}
