use crate::{
    claim::ClaimFilter, error::Error, filter::BloomFilter, scalable::ScalableBloomFilter,
    shared::SharedBloomFilter,
};

/// What every filter can do, over keys as bytes; object-safe, so that one can stand in for another.
///
/// ```
/// use mainspring_bloom::{BloomFilter, MembershipFilter, ScalableBloomFilter};
///
/// let mut filters: Vec<Box<dyn MembershipFilter>> = vec![
///     Box::new(BloomFilter::with_capacity_and_fpr(1_000, 0.01)?),
///     Box::new(ScalableBloomFilter::with_capacity_and_fpr(1_000, 0.01)?),
/// ];
/// for filter in &mut filters {
///     assert!(filter.insert_bytes(b"id")?);
///     assert!(filter.contains_bytes(b"id"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait MembershipFilter {
    /// Inserts a key; true when it was certainly not there before.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::OutOfMemory`] from filters that grow; the others never fail.
    fn insert_bytes(&mut self, key: &[u8]) -> Result<bool, Error>;

    /// False when the key was certainly never inserted.
    fn contains_bytes(&self, key: &[u8]) -> bool;

    /// Bytes of bits held.
    fn bytes_held(&self) -> usize;
}

macro_rules! membership {
    ($($filter:ty: $self:ident, $key:ident, $insert:expr, $contains:expr;)*) => {$(
        impl MembershipFilter for $filter {
            fn insert_bytes(&mut $self, $key: &[u8]) -> Result<bool, Error> {
                $insert
            }

            fn contains_bytes(&$self, $key: &[u8]) -> bool {
                $contains
            }

            fn bytes_held(&self) -> usize {
                self.stats().bytes
            }
        }
    )*};
}

membership! {
    BloomFilter: self, key, Ok(self.insert(key)), self.contains(key);
    SharedBloomFilter: self, key, Ok(self.insert(key)), self.contains(key);
    ClaimFilter: self, key, Ok(self.claim(key)), self.is_claimed(key);
    ScalableBloomFilter: self, key, self.insert(key), self.contains(key);
}
