//! A limit that follows the load, against models of who does the work.

use mainspring_scheduler::*;

use crate::support::ms;

/// Shares its capacity evenly among those who run, as a server with so many processors does.
struct Backend {
    capacity: f64,
    /// Milliseconds of work left.
    running: Vec<(TaskId, f64)>,
    now: u64,
    done: u64,
    waited: u64,
    timed_out: u64,
    limits: Vec<usize>,
    random: fastrand::Rng,
}

struct Load {
    /// Tasks that wait, at least.
    backlog: usize,
    /// Milliseconds of work of a task, by kind.
    work: [f64; 2],
    /// From 0 to 1.
    noise: f64,
    timeout: u64,
}

impl Backend {
    fn new(seed: u64) -> Self {
        Self {
            capacity: 20.0,
            running: Vec::new(),
            now: 0,
            done: 0,
            waited: 0,
            timed_out: 0,
            limits: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn act(&mut self, machine: &mut Machine, event: Event, load: &Load) {
        let mut actions = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            machine.apply(event, ms(self.now), &mut actions);
            for action in actions.drain(..) {
                match action {
                    Action::Start(id) => {
                        let kind = usize::from(self.random.u8(..4) == 0);
                        let noise = load.noise * (2.0 * self.random.f64() - 1.0);
                        self.running.push((id, load.work[kind] * (1.0 + noise)));
                    }
                    Action::Interrupt(id, _) => {
                        self.timed_out += 1;
                        self.running.retain(|(running, _)| *running != id);
                        events.push(Event::Finished(id, Verdict::Cancelled));
                    }
                    _ => {}
                }
            }
        }
        self.limits.push(machine.limit());
    }

    /// Lets so many milliseconds pass.
    fn pass(&mut self, machine: &mut Machine, load: &Load, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            while machine.unfinished() < machine.running() + load.backlog {
                let task = Submission {
                    timeout: Some(ms(load.timeout)),
                    ..Submission::default()
                };
                machine.submit(task, ms(self.now)).unwrap();
            }
            let share = (self.capacity / self.running.len().max(1) as f64).min(1.0);
            self.waited += self.running.len() as u64;
            self.running.iter_mut().for_each(|(_, left)| *left -= share);
            let (over, rest) = self.running.iter().partition(|(_, left)| *left <= 0.0);
            let over: Vec<(TaskId, f64)> = over;
            self.running = rest;
            self.done += over.len() as u64;
            for (id, _) in over {
                self.act(machine, Event::Finished(id, Verdict::Success), load);
            }
            self.act(machine, Event::Tick, load);
        }
    }

    /// Tasks done and mean milliseconds each took, over so much time.
    fn measure(&mut self, machine: &mut Machine, load: &Load, millis: u64) -> (f64, f64) {
        (self.done, self.waited) = (0, 0);
        self.limits.clear();
        self.pass(machine, load, millis);
        let done = self.done.max(1) as f64;
        (done / millis as f64, self.waited as f64 / done)
    }

    /// How often the limit turned round, since the last measurement.
    fn turns(&self) -> usize {
        let mut moves: Vec<bool> = Vec::new();
        for pair in self.limits.windows(2) {
            if pair[0] != pair[1] {
                moves.push(pair[0] < pair[1]);
            }
        }
        moves.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

const STEADY: Load = Load {
    backlog: 5,
    work: [40.0, 200.0],
    noise: 0.3,
    timeout: 1_000_000,
};

fn machine(limit: usize, bounds: Option<Scaling>) -> Machine {
    let mut machine = Machine::new(limit, Policy::default(), ms(30_000));
    if let Some(bounds) = bounds {
        machine.set_scaling(bounds);
    }
    machine
}

/// Mixed kinds make 80 ms of work on average, so that 20 processors do one task in 4 ms.
const BEST: f64 = 0.25;

#[test]
fn the_limit_finds_what_the_backend_can_do_and_follows_it() {
    for seed in 0..2 {
        let mut backend = Backend::new(seed);
        let mut machine = machine(2, Some(Scaling::between(2, 200)));
        backend.pass(&mut machine, &STEADY, 25_000);
        let (rate, took) = backend.measure(&mut machine, &STEADY, 25_000);
        println!(
            "seed {seed}: limit {}, {rate:.3} per ms, {took:.0} ms each, {} turns",
            machine.limit(),
            backend.turns()
        );
        assert!(rate > 0.9 * BEST && took < 2.2 * 80.0, "{rate} {took}");

        // A quarter of the capacity is left.
        backend.capacity = 5.0;
        backend.pass(&mut machine, &STEADY, 25_000);
        let (rate, took) = backend.measure(&mut machine, &STEADY, 25_000);
        println!(
            "   a quarter: limit {}, {rate:.3} per ms, {took:.0} ms each",
            machine.limit()
        );
        assert!(
            rate > 0.9 * BEST / 4.0 && took < 2.5 * 80.0,
            "{rate} {took}"
        );

        backend.capacity = 20.0;
        backend.pass(&mut machine, &STEADY, 25_000);
        let (rate, took) = backend.measure(&mut machine, &STEADY, 25_000);
        println!(
            "   back: limit {}, {rate:.3} per ms, {took:.0} ms each",
            machine.limit()
        );
        assert!(rate > 0.9 * BEST && took < 2.2 * 80.0, "{rate} {took}");
    }
    // What it is worth: the same load under the upper bound, fixed.
    let (mut backend, mut machine) = (Backend::new(0), machine(200, None));
    backend.pass(&mut machine, &STEADY, 5_000);
    let (_, took) = backend.measure(&mut machine, &STEADY, 5_000);
    assert!(took > 8.0 * 80.0, "{took}");
}

#[test]
fn it_does_not_flap_and_keeps_its_bounds() {
    for seed in 0..2 {
        let mut backend = Backend::new(seed);
        let mut machine = machine(1_000, Some(Scaling::between(100, 20)));
        assert_eq!(machine.limit(), 100);
        backend.pass(&mut machine, &STEADY, 20_000);
        backend.measure(&mut machine, &STEADY, 100_000);
        // A limit's worth to settle, and 64 runs.
        let windows = backend.done / 90;
        println!(
            "seed {seed}: limit {}, {} turns in about {windows} windows",
            machine.limit(),
            backend.turns()
        );
        assert!(
            backend
                .limits
                .iter()
                .all(|limit| (20..=100).contains(limit))
        );
        // A probe is one turn down and one up, at every 32nd window.
        assert!(backend.turns() as u64 <= windows / 6, "{}", backend.turns());
    }
}

#[test]
fn without_load_the_limit_comes_down_and_a_timeout_brings_it_down_too() {
    let little = Load {
        backlog: 0,
        ..STEADY
    };
    let (mut backend, mut machine) = (
        Backend::new(1),
        machine(100, Some(Scaling::between(4, 100))),
    );
    // One at a time: submitted only when nothing runs.
    for _ in 0..4_000 {
        machine
            .submit(Submission::default(), ms(backend.now))
            .unwrap();
        backend.act(&mut machine, Event::Tick, &little);
        backend.pass(&mut machine, &little, 1);
        for (id, _) in std::mem::take(&mut backend.running) {
            backend.act(&mut machine, Event::Finished(id, Verdict::Success), &little);
        }
    }
    assert_eq!(machine.limit(), 4);

    let hopeless = Load {
        timeout: 100,
        work: [60.0, 60.0],
        ..STEADY
    };
    let (mut backend, mut machine) = (
        Backend::new(2),
        self::machine(100, Some(Scaling::between(4, 100))),
    );
    backend.pass(&mut machine, &hopeless, 25_000);
    let timed_out = backend.timed_out;
    backend.measure(&mut machine, &hopeless, 25_000);
    println!(
        "limit {}: {timed_out} timed out, then {}",
        machine.limit(),
        backend.timed_out - timed_out
    );
    assert!(backend.done > 4_000 && backend.timed_out - timed_out < backend.done / 10);
}

#[test]
fn a_resize_is_where_it_goes_on_from() {
    let mut machine = machine(10, Some(Scaling::between(4, 20)));
    let mut actions = Vec::new();
    machine.apply(Event::Resize(15), ms(0), &mut actions);
    assert_eq!(machine.limit(), 15);
    machine.apply(Event::Resize(50), ms(0), &mut actions);
    assert_eq!(machine.limit(), 20);
    machine.apply(Event::Resize(0), ms(0), &mut actions);
    assert_eq!(machine.limit(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_scales_up_under_load() {
    let scheduler = Scheduler::builder()
        .limit(2)
        .scaling(Scaling::between(2, 40))
        .build()
        .unwrap();
    let tasks = (0..2_000).map(|_| {
        let task = async {
            tokio::time::sleep(ms(20)).await;
            Ok(())
        };
        (Submission::default(), task)
    });
    let mut results = scheduler.submit_each(tasks);
    while let Some((_, result)) = results.next().await {
        result.unwrap();
    }
    let stats = scheduler.stats();
    assert!(
        stats.max_running > 30 && stats.max_running <= 40,
        "{stats:?}"
    );
}
