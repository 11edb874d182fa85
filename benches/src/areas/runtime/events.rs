//! Events to many subscribers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use mainspring::{Event, EventBus, Events};
use tokio::sync::{Notify, broadcast};

use crate::{Bench, Interval, Measured, Peer, check, quantile};

const BARE: &str = "tokio broadcast, bare";

/// What subscribers tell of what they took.
#[derive(Default)]
struct Taken {
    left: AtomicUsize,
    last: Notify,
    sum: AtomicU64,
    missed: AtomicU64,
}

impl Taken {
    fn take(&self, number: u64) {
        self.sum.fetch_add(number, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.last.notify_one();
        }
    }
}

/// Milliseconds from publishing to the last of the subscribers having it: the p99 over the events of a
/// round.
pub(super) fn broadcast(bench: &Bench) -> Result<Measured> {
    let subscribers = bench.scale().pick(50, 1_000, 1_000);
    let (rounds, events) = bench.scale().pick((8, 20), (12, 200), (40, 200));
    let runtime = super::tokio()?;
    let (ours, bare) = runtime.block_on(async {
        let (taken, others) = (Arc::new(Taken::default()), Arc::new(Taken::default()));
        let bus = EventBus::new(1_024);
        let (sender, _) = broadcast::channel(1_024);
        for _ in 0..subscribers {
            tokio::spawn(listen(bus.subscribe(), Arc::clone(&taken)));
            tokio::spawn(listen_bare(sender.subscribe(), Arc::clone(&others)));
        }
        let mut p99s = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let publish = |number: u64| {
                let (session, message) = (name(), number);
                bus.publish(Event::SessionAppended { session, message });
            };
            p99s.0
                .push(round(&taken, subscribers, events, publish).await);
            let send = |number| drop(sender.send((name(), number)));
            p99s.1.push(round(&others, subscribers, events, send).await);
        }
        for side in [taken, others] {
            checked(bench, &side, (rounds * subscribers) as u64, events)?;
        }
        anyhow::Ok(p99s)
    })?;
    let own = Interval::of(&ours).median;
    let peer = Peer {
        samples: bare.clone(),
        ..Peer::counted(BARE, "1", Interval::of(&bare).median, own)
    };
    Ok(Measured::sampled(ours)
        .beside("ms", own, vec![peer])
        .noting(format!(
            "until the last of {subscribers} subscribers has it, p99 of {events} events a round"
        )))
}

fn name() -> Arc<str> {
    Arc::from("session")
}

/// Everybody took every event of every round once, and nobody missed one.
fn checked(bench: &Bench, taken: &Taken, times: u64, events: u64) -> Result<()> {
    let sum = bench.answer(taken.sum.load(Ordering::Relaxed));
    check(
        sum == times * events * (events + 1) / 2,
        "an event was lost or doubled",
    )?;
    let missed = bench.answer(taken.missed.load(Ordering::Relaxed));
    check(missed == 0, "a subscriber was too slow")
}

async fn round(taken: &Taken, subscribers: usize, events: u64, publish: impl Fn(u64)) -> f64 {
    let mut times = Vec::with_capacity(events as usize);
    for number in 1..=events {
        taken.left.store(subscribers, Ordering::Release);
        let published = Instant::now();
        publish(number);
        taken.last.notified().await;
        times.push(published.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    quantile(&times, 0.99)
}

async fn listen(mut events: Events, taken: Arc<Taken>) {
    while let Some(event) = events.recv().await {
        match event {
            Ok(Event::SessionAppended { message, .. }) => taken.take(message),
            Ok(_) => {}
            Err(missed) => {
                taken.missed.fetch_add(missed.0, Ordering::Relaxed);
            }
        }
    }
}

async fn listen_bare(mut receiver: broadcast::Receiver<(Arc<str>, u64)>, taken: Arc<Taken>) {
    while let Ok((_, number)) = receiver.recv().await {
        taken.take(number);
    }
}
