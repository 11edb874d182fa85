//! What metrics and traces show of a cache.

#[cfg(feature = "metrics")]
mod counted {
    use crate::double::{Slow, run};
    use crate::tiers::{key, plain};
    use mainspring_cache_tier::{BytesCodec, Cache, TieredCache};
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit, with_local_recorder,
    };
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

    struct One(Values, String);

    impl One {
        fn set(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl CounterFn for One {
        fn increment(&self, _: u64) {
            panic!("the counters have values of their own");
        }
        fn absolute(&self, value: u64) {
            self.set(value as f64);
        }
    }

    impl GaugeFn for One {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            One::set(self, value);
        }
    }

    impl Values {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            Arc::new(One(self.clone(), name))
        }
    }

    impl Recorder for Values {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_report_says_what_the_statistics_say() {
        let values = Values::default();
        let plain_cache: Cache<u64, u64> = Cache::new(2);
        for n in 0..5 {
            plain_cache.insert(n, n);
        }
        let hits = (0..5).filter(|n| plain_cache.get(n).is_some()).count();
        let cache = TieredCache::<String>::builder(BytesCodec).tier(Slow::new());
        let cache = run(cache.open()).unwrap();
        run(cache.insert(&key("a"), "v".into(), &plain())).unwrap();
        cache.clear_memory();
        run(cache.get(&key("a")));
        run(cache.get(&key("a")));
        with_local_recorder(&values, || {
            plain_cache.report("numbers");
            cache.report("tools");
        });
        let values = values.0.lock().unwrap();
        let get = |name: &str| {
            *values
                .get(name)
                .unwrap_or_else(|| panic!("{name}: {values:?}"))
        };
        assert_eq!(get("cache_hits_total numbers memory"), hits as f64);
        assert_eq!(get("cache_evictions_total numbers memory capacity"), 3.0);
        assert_eq!(get("cache_entries numbers memory"), 2.0);
        assert_eq!(get("cache_hits_total tools memory"), 1.0);
        assert_eq!(get("cache_misses_total tools memory"), 1.0);
        assert_eq!(get("cache_hits_total tools slow"), 1.0);
        assert_eq!(get("cache_inserts_total tools slow"), 1.0);
        assert_eq!(get("cache_loads_total tools"), 0.0);
    }
}

#[cfg(feature = "tracing")]
mod traced {
    use crate::double::{Slow, pause, run};
    use crate::tiers::{key, plain};
    use mainspring_cache_tier::{BytesCodec, TieredCache};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Default)]
    struct Seen {
        spans: Mutex<Vec<&'static str>>,
        events: Mutex<Vec<tracing::Level>>,
        entered: AtomicU64,
        inside: AtomicU64,
    }

    #[derive(Clone, Default)]
    struct Listener(Arc<Seen>);

    impl Subscriber for Listener {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "mainspring_cache_tier"
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut spans = self.0.spans.lock().unwrap();
            spans.push(span.metadata().name());
            Id::from_u64(spans.len() as u64)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let level = *event.metadata().level();
            self.0.events.lock().unwrap().push(level);
        }
        fn enter(&self, _: &Id) {
            self.0.entered.fetch_add(1, Ordering::Relaxed);
            self.0.inside.fetch_add(1, Ordering::Relaxed);
        }
        fn exit(&self, _: &Id) {
            self.0.inside.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_load_has_a_span_and_a_failing_tier_and_an_invalidation_are_events() {
        let listener = Listener::default();
        let seen = Arc::clone(&listener.0);
        let within = Arc::clone(&seen);
        tracing::subscriber::with_default(listener, || {
            let slow = Slow::new();
            let cache = TieredCache::<String>::builder(BytesCodec).tier(slow.clone());
            let cache = run(cache.open()).unwrap();
            let load = || async move {
                pause(2).await;
                assert_eq!(within.inside.load(Ordering::Relaxed), 1);
                Ok::<_, std::io::Error>("v".to_owned())
            };
            run(cache.get_or_try_load(&key("a"), &plain(), load)).unwrap();
            run(cache.invalidate_tag("t"));
            slow.broken.store(true, Ordering::Relaxed);
            run(cache.get(&key("b")));
        });
        assert_eq!(*seen.spans.lock().unwrap(), ["cache load"]);
        assert!(seen.entered.load(Ordering::Relaxed) >= 3, "at every poll");
        let events = seen.events.lock().unwrap();
        assert_eq!(*events, [tracing::Level::DEBUG, tracing::Level::WARN]);
    }
}
