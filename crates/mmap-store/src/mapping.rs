//! The crate's only unsafe code: mapping a sealed segment, and what only a mapping can ask for.
#![allow(unsafe_code)]

use std::io;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::options::Options;
use crate::storage::StorageFile;

impl Options {
    /// Maps sealed segments into memory, so that a read of them is no system call.
    ///
    /// # Safety
    /// While the store or any value read from it lives, nobody (no other process, no other code in
    /// this one) may truncate or change the store's files by other means than this crate: the process
    /// would die of `SIGBUS`, or see bytes change under a shared reference, which is undefined
    /// behaviour. This crate itself never changes or shortens a sealed segment; it removes it by
    /// name only, and the mapping outlives that.
    pub unsafe fn mapped(mut self) -> Self {
        self.mapped = true;
        self
    }
}

/// Maps the first `len` bytes of a sealed segment; `None` when there is no system file behind it
/// or the file is shorter.
///
/// Called only for a store opened with [`Options::mapped`](crate::Options::mapped), whose contract
/// is that nobody truncates or changes the file while the mapping lives; this crate never does
/// that to a sealed segment.
pub(crate) fn map(file: &dyn StorageFile, len: u64) -> io::Result<Option<Bytes>> {
    let Some(system) = file.system() else {
        return Ok(None);
    };
    if file.size()? < len || len == 0 {
        return Ok(None);
    }
    let mut options = MmapOptions::new();
    let options = options.len(len as usize);
    // SAFETY: the caller of `Options::mapped` promised that the file is neither truncated nor
    // changed while the mapping lives, and its length was just found to be at least `len`.
    let map: Mmap = unsafe { options.map(system)? };
    Ok(Some(Bytes::from_owner(map)))
}

/// Extends the file to the end of a block that it has nothing of yet, and has the system take the block,
/// zeros, into its cache as one piece of memory. False where that cannot be asked for.
#[cfg(target_os = "linux")]
pub(crate) fn cache_whole(file: &dyn StorageFile, block: u64, len: u64) -> io::Result<bool> {
    use memmap2::Advice;
    let Some(system) = file.system() else {
        return Ok(false);
    };
    file.set_len(block + len)?;
    let mut options = MmapOptions::new();
    let options = options.offset(block).len(len as usize);
    // SAFETY: no byte of the mapping is ever looked at, here or elsewhere: it goes when this returns,
    // and where somebody cut the file meanwhile, what is asked of the system is an error.
    let map: io::Result<Mmap> = unsafe { options.map(system) };
    // The length stands, whether the system takes the advice or not.
    if let Ok(map) = map {
        let _ = map.advise(Advice::HugePage);
        let _ = map.advise(Advice::PopulateRead);
    }
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn cache_whole(_: &dyn StorageFile, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}
