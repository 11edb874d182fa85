//! What is remembered per tenant and per kind: shares, limits, learned run times, counts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use crate::queue::Rank;
use crate::slot::seconds;
use crate::{ToolStats, Verdict};

/// Names beyond these share the entry of the empty name.
const MAX_KINDS: usize = 4_096;
const MAX_TENANTS: usize = 65_536;
/// An unknown kind counts as this short, in nanoseconds, until a task of it has run for longer.
const QUANTUM: u64 = 10_000_000;

#[derive(Debug, Default)]
struct Kind {
    submitted: u64,
    running: u32,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    deferred: u64,
    /// Nanoseconds, an exponential average; 0 until the first run ended.
    mean_run: f64,
    /// When the tasks that run now began to do so without a break.
    busy_since: u64,
    total_run: u64,
}

#[derive(Debug)]
struct Tenant {
    weight: f64,
    limit: usize,
    running: usize,
    /// Tasks taken in and not over.
    live: usize,
    forgotten: bool,
    configured: bool,
    /// Virtual time up to which the tenant has used its share.
    used: f64,
    parked: BinaryHeap<Rank>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            weight: 1.0,
            limit: usize::MAX,
            running: 0,
            live: 0,
            forgotten: false,
            configured: false,
            used: 0.0,
            parked: BinaryHeap::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    kind_names: HashMap<Box<str>, u32>,
    kinds: Vec<Kind>,
    tenant_names: HashMap<Box<str>, u32>,
    tenants: Vec<Tenant>,
    vacant: Vec<u32>,
    /// Names met while the table was full.
    overflows: usize,
    /// Virtual time of the share last served.
    served: f64,
    /// Entries in all parked queues.
    parked: usize,
    max_running: usize,
    starts: u64,
    queued_nanos: u128,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let mut ledger = Self {
            kind_names: HashMap::new(),
            kinds: Vec::new(),
            tenant_names: HashMap::new(),
            tenants: Vec::new(),
            vacant: Vec::new(),
            overflows: 0,
            served: 0.0,
            parked: 0,
            max_running: 0,
            starts: 0,
            queued_nanos: 0,
        };
        ledger.kind("");
        ledger.tenant("");
        ledger
    }

    pub(crate) fn kind(&mut self, name: &str) -> u32 {
        if name.is_empty() && !self.kinds.is_empty() {
            return 0;
        }
        if let Some(&kind) = self.kind_names.get(name) {
            return kind;
        }
        if self.kinds.len() >= MAX_KINDS {
            return 0;
        }
        self.kinds.push(Kind::default());
        let kind = (self.kinds.len() - 1) as u32;
        self.kind_names.insert(name.into(), kind);
        kind
    }

    pub(crate) fn tenant(&mut self, name: &str) -> u32 {
        if name.is_empty() && !self.tenants.is_empty() {
            return 0;
        }
        if let Some(&tenant) = self.tenant_names.get(name) {
            return tenant;
        }
        let tenant = match self.vacant.pop() {
            Some(tenant) => tenant,
            None if self.tenants.len() >= MAX_TENANTS => match self.sweep() {
                Some(tenant) => tenant,
                None => return 0,
            },
            None => {
                self.tenants.push(Tenant::default());
                (self.tenants.len() - 1) as u32
            }
        };
        self.tenants[tenant as usize] = Tenant::default();
        self.tenant_names.insert(name.into(), tenant);
        tenant
    }

    /// Frees the entries of tenants that have no tasks and no settings. Looks through all of them only once in a while,
    /// so that a full table stays cheap.
    fn sweep(&mut self) -> Option<u32> {
        self.overflows += 1;
        if self.overflows % (MAX_TENANTS / 4) != 1 {
            return None;
        }
        let (tenants, vacant) = (&self.tenants, &mut self.vacant);
        self.tenant_names.retain(|_, tenant| {
            let entry = &tenants[*tenant as usize];
            let idle = *tenant != 0 && entry.live == 0 && !entry.configured;
            if idle {
                vacant.push(*tenant);
            }
            !idle
        });
        if self.vacant.len() >= MAX_TENANTS / 16 {
            // Worth it: the next time the table is full it may be so again.
            self.overflows = 0;
        }
        self.vacant.pop()
    }

    pub(crate) fn configure(&mut self, tenant: u32, weight: f64, limit: usize) {
        let tenant = &mut self.tenants[tenant as usize];
        tenant.weight = if weight.is_finite() {
            weight.max(1e-6)
        } else {
            1.0
        };
        tenant.limit = limit;
        tenant.configured = true;
    }

    /// The tenant's entry is free for another once its tasks are over.
    pub(crate) fn forget(&mut self, name: &str) {
        if let Some(tenant) = self
            .tenant_names
            .get(name)
            .copied()
            .filter(|&tenant| tenant != 0)
        {
            self.tenant_names.remove(name);
            self.tenants[tenant as usize].forgotten = true;
            self.recycle(tenant);
        }
    }

    fn recycle(&mut self, tenant: u32) {
        let entry = &mut self.tenants[tenant as usize];
        if entry.forgotten && entry.live == 0 {
            entry.forgotten = false;
            self.parked -= std::mem::take(&mut entry.parked).len();
            self.vacant.push(tenant);
        }
    }

    /// A task of the tenant is over.
    pub(crate) fn gone(&mut self, tenant: u32) {
        self.tenants[tenant as usize].live -= 1;
        self.recycle(tenant);
    }

    pub(crate) fn submitted(&mut self, tenant: u32, kind: u32) {
        self.tenants[tenant as usize].live += 1;
        self.kinds[kind as usize].submitted += 1;
    }

    /// Expected run time in seconds.
    pub(crate) fn estimate(&self, kind: u32, now: u64) -> f64 {
        let kind = &self.kinds[kind as usize];
        let known = kind.mean_run.max(0.0) as u64;
        let elapsed = if kind.running > 0 {
            now.saturating_sub(kind.busy_since)
        } else {
            0
        };
        let nanos = if known > 0 {
            known
        } else {
            elapsed.max(QUANTUM)
        };
        seconds(nanos)
    }

    /// Books a task's cost to its tenant's share; the task's start tag in virtual time.
    pub(crate) fn book(&mut self, tenant: u32, cost: u32) -> f64 {
        let tenant = &mut self.tenants[tenant as usize];
        let start = tenant.used.max(self.served);
        tenant.used = start + f64::from(cost) / tenant.weight;
        start
    }

    /// How far a start tag is ahead of the share being served.
    pub(crate) fn lead(&self, tag: f64) -> f64 {
        tag - self.served
    }

    pub(crate) fn serve(&mut self, tag: f64) {
        self.served = self.served.max(tag);
    }

    pub(crate) fn may_start(&self, tenant: u32) -> bool {
        let tenant = &self.tenants[tenant as usize];
        tenant.running < tenant.limit
    }

    pub(crate) fn park(&mut self, tenant: u32, rank: Rank) {
        self.tenants[tenant as usize].parked.push(rank);
        self.parked += 1;
    }

    pub(crate) fn next_parked(&mut self, tenant: u32) -> Option<Rank> {
        let tenant = &mut self.tenants[tenant as usize];
        if tenant.running >= tenant.limit {
            return None;
        }
        let rank = tenant.parked.pop()?;
        self.parked -= 1;
        Some(rank)
    }

    pub(crate) fn take_parked(&mut self, tenant: u32) -> BinaryHeap<Rank> {
        self.parked -= self.tenants[tenant as usize].parked.len();
        std::mem::take(&mut self.tenants[tenant as usize].parked)
    }

    /// Drops entries of tasks that are gone once there are more than `most`.
    pub(crate) fn compact_parked(&mut self, most: usize, current: impl Fn(u32, u32) -> bool) {
        if self.parked <= most {
            return;
        }
        self.parked = 0;
        for tenant in &mut self.tenants {
            tenant
                .parked
                .retain(|Reverse((_, _, index, generation))| current(*index, *generation));
            self.parked += tenant.parked.len();
        }
    }

    pub(crate) fn started(&mut self, tenant: u32, kind: u32, now: u64, queued: u64) {
        self.starts += 1;
        self.queued_nanos += u128::from(queued);
        let tenant = &mut self.tenants[tenant as usize];
        tenant.running += 1;
        let kind = &mut self.kinds[kind as usize];
        if kind.running == 0 {
            kind.busy_since = now;
        }
        kind.running += 1;
    }

    /// A task gave its slot back.
    pub(crate) fn left(&mut self, tenant: u32, kind: u32) {
        let kind = &mut self.kinds[kind as usize];
        kind.running = kind.running.saturating_sub(1);
        let entry = &mut self.tenants[tenant as usize];
        entry.running = entry.running.saturating_sub(1);
    }

    pub(crate) fn finished(&mut self, kind: u32, run: u64, verdict: Verdict) {
        let kind = &mut self.kinds[kind as usize];
        kind.total_run = kind.total_run.saturating_add(run);
        match verdict {
            Verdict::Success => kind.succeeded += 1,
            Verdict::Failure => kind.failed += 1,
            Verdict::Cancelled => {
                kind.cancelled += 1;
                return;
            }
        }
        let run = run.max(1) as f64;
        kind.mean_run += if kind.mean_run == 0.0 {
            run
        } else {
            0.2 * (run - kind.mean_run)
        };
    }

    pub(crate) fn deferred(&mut self, kind: u32) {
        self.kinds[kind as usize].deferred += 1;
    }

    pub(crate) fn dropped(&mut self, kind: u32) {
        self.kinds[kind as usize].cancelled += 1;
    }

    pub(crate) fn saw_running(&mut self, running: usize) {
        self.max_running = self.max_running.max(running);
    }

    pub(crate) fn max_running(&self) -> usize {
        self.max_running
    }

    pub(crate) fn mean_queued(&self) -> Duration {
        let mean = self.queued_nanos / u128::from(self.starts.max(1));
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    pub(crate) fn per_kind(&self) -> Vec<ToolStats> {
        let mut tools: Vec<ToolStats> = self
            .kind_names
            .iter()
            .map(|(name, &kind)| (name, &self.kinds[kind as usize]))
            .filter(|(_, kind)| kind.submitted > 0)
            .map(|(name, kind)| ToolStats {
                name: name.to_string(),
                submitted: kind.submitted,
                running: kind.running as usize,
                succeeded: kind.succeeded,
                failed: kind.failed,
                cancelled: kind.cancelled,
                deferred: kind.deferred,
                mean_run: Duration::from_nanos(kind.mean_run as u64),
                total_run: Duration::from_nanos(kind.total_run),
            })
            .collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        tools
    }
}
