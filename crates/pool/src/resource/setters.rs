//! The settings that both kinds of resource pools have.

/// Setters for a builder with a field `policy`.
macro_rules! policy_setters {
    () => {
        /// Callers that may wait; one more is refused with [`Error::QueueFull`](crate::Error::QueueFull).
        /// Default 1,024; each costs about 100 bytes.
        pub fn max_waiters(mut self, max_waiters: usize) -> Self {
            self.policy.max_waiters = max_waiters;
            self
        }

        /// The deadline of a checkout, whatever it waits for. Default 30 s (connections and databases 10 s).
        pub fn acquire_timeout(mut self, time: Duration) -> Self {
            self.policy.acquire_timeout = time;
            self
        }

        /// How long a checkout may wait for a return when no connect or check is under way for it.
        /// Default: up to its deadline.
        pub fn wait_timeout(mut self, time: Duration) -> Self {
            self.policy.wait_timeout = time;
            self
        }

        /// How long one connect may take. Default 5 s.
        pub fn connect_timeout(mut self, time: Duration) -> Self {
            self.policy.connect_timeout = time;
            self
        }

        /// How long one check may take. Default 1 s.
        pub fn check_timeout(mut self, time: Duration) -> Self {
            self.policy.check_timeout = time;
            self
        }

        /// A resource idle for longer than this is checked before it is lent, and in the background.
        /// Default 60 s (databases 30 s). `Duration::MAX`: never.
        pub fn check_after(mut self, time: Duration) -> Self {
            self.policy.check_after = time;
            self.policy.check_every = time;
            self
        }

        /// A resource idle for longer than this (less up to a tenth) is closed, down to `min`.
        /// Default 5 min (connections and databases 30 s). A return reads no clock: idle time counts from
        /// the pool's last look at it, so a resource held for long may be closed up to half of this early.
        pub fn idle_timeout(mut self, time: Duration) -> Self {
            self.policy.idle_timeout = time;
            self
        }

        /// A resource older than this (less up to a tenth) is closed when nobody uses it. Default 30 min.
        pub fn max_lifetime(mut self, time: Duration) -> Self {
            self.policy.max_lifetime = time;
            self
        }

        /// Growth factor: at most `(factor - 1)` times the open resources, but 2, are connected at once.
        /// Default 1.5.
        pub fn growth(mut self, factor: f64) -> Self {
            self.policy.growth = factor;
            self
        }

        /// A review each minute closes some idle resources (connections and databases a tenth, others a
        /// third of all) when the most on loan in the last five periods is below this share of them.
        /// Default 0.3 (connections and databases 0.5). 0 turns it off.
        pub fn shrink_below(mut self, share: f64) -> Self {
            self.policy.shrink_below = share;
            self
        }

        /// How often connecting is tried again before callers are told, and the first and the largest
        /// pause, which doubles in between. Default 3, 100 ms, 10 s.
        pub fn retries(mut self, retries: u32, first: Duration, largest: Duration) -> Self {
            self.policy.retries = retries;
            self.policy.backoff = first;
            self.policy.max_backoff = largest;
            self
        }

        /// Seed of the jitter. Default: random.
        pub fn seed(mut self, seed: u64) -> Self {
            self.policy.seed = seed;
            self
        }
    };
}

pub(crate) use policy_setters;
