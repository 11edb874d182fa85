//! Reads values, each page once.

use crate::distribution::HistogramSnapshot;
use crate::family::{Family, Series, Store};
use crate::slab::{Place, Slot, WIDTH};
use crate::snapshot::{FamilySnapshot, SeriesSnapshot, Snapshot, Value};

/// Values as of one moment: a page of counters is folded once, when its first counter is asked for.
#[derive(Default)]
pub(crate) struct Reading {
    pages: Vec<Option<Box<[u64; WIDTH]>>>,
}

impl Reading {
    /// The value of a counter.
    pub(crate) fn counter(&mut self, slot: &Slot) -> u64 {
        let Place::Cell { page, index } = slot.place() else {
            return read(slot)[slot.index()];
        };
        self.cell(page, index, || slot)
    }

    /// The value of a counter at a known place; `slot` is asked for where its page was not read yet.
    #[inline]
    pub(crate) fn cell<'a>(&mut self, page: u16, index: u16, slot: impl Fn() -> &'a Slot) -> u64 {
        let page = usize::from(page);
        if !matches!(self.pages.get(page), Some(Some(_))) {
            self.fill(page, slot());
        }
        match self.pages.get(page) {
            Some(Some(cells)) => cells[usize::from(index) % WIDTH],
            _ => 0,
        }
    }

    #[cold]
    fn fill(&mut self, page: usize, slot: &Slot) {
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page] = Some(read(slot));
    }

    /// The value of any series.
    pub(crate) fn value(&mut self, series: &Series) -> Value {
        match &series.store {
            Store::Counter(slot) => Value::Count(self.counter(slot)),
            Store::Level(_) => Value::Number(level(series)),
            Store::Histogram { slot, scale, .. } => Value::Distribution(histogram(slot, *scale)),
        }
    }

    /// All values of all families that have any.
    pub(crate) fn snapshot(&mut self, families: &[Family]) -> Snapshot {
        let filled = families.iter().filter(|family| !family.series.is_empty());
        Snapshot {
            families: filled.map(|family| self.family(family)).collect(),
        }
    }

    fn family(&mut self, family: &Family) -> FamilySnapshot {
        let series = family.series.iter().map(|series| SeriesSnapshot {
            labels: series
                .labels
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
            value: self.value(series),
        });
        FamilySnapshot {
            series: series.collect(),
            name: family.name.clone(),
            kind: family.wanted.kind(),
            help: family.help.clone().unwrap_or_default(),
        }
    }
}

fn read(slot: &Slot) -> Box<[u64; WIDTH]> {
    let mut cells = Box::new([0; WIDTH]);
    slot.store().read(&mut cells);
    cells
}

/// The value of a gauge or an observed counter.
pub(crate) fn level(series: &Series) -> f64 {
    f64::from_bits(series.level().load(std::sync::atomic::Ordering::Relaxed))
}

/// The value of a histogram.
pub(crate) fn histogram(slot: &Slot, scale: f64) -> HistogramSnapshot {
    let mut cells = [0; WIDTH];
    slot.store().read(&mut cells);
    HistogramSnapshot::from_cells(&cells, scale)
}
