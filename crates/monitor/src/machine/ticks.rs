//! The processor's tick counter.

/// Ticks since the processor started. Some ten nanoseconds; it may move a little among the
/// instructions around it.
#[inline]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and it touches nothing but its result.
    unsafe { core::arch::x86_64::_rdtsc() }
}
