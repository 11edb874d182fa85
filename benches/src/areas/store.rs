//! Sessions on disk.

mod footprint;
#[cfg(test)]
mod large;
mod lazy;
mod loaded;
mod opening;
mod peers;
mod reads;
mod records;
mod sessions;
mod writes;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("mmap.load", sessions::load),
    ("mmap.load_cold", sessions::load_cold),
    ("mmap.save", sessions::save),
    ("mmap.save_cold", sessions::save_cold),
    ("store.load_bulk", footprint::load_bulk),
    ("store.disk", footprint::disk),
    ("store.index_bytes", footprint::index_bytes),
    ("store.get_hit_mapped", reads::get_hit_mapped),
    ("store.get_hit_safe", reads::get_hit_safe),
    ("store.miss", reads::miss),
    ("store.open_killed", opening::open_killed),
    ("store.put_durable", writes::put_durable),
    ("store.put_durable_8", writes::put_durable_8),
    ("lazy.startup_small", lazy::startup_small),
    ("lazy.startup_large", lazy::startup_large),
];
