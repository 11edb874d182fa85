use std::fmt;

/// Hook for encryption at rest: every record is sealed before it is stored and opened after it was read.
///
/// The context names the record (key and number), so an authenticated cipher that takes it as associated data also
/// refuses records that were moved. Sealing must be different each time (a random nonce in front, for instance).
/// What stays visible: keys (a hash of the thread id), the number and the sizes of records.
pub trait Cipher: Send + Sync + fmt::Debug {
    /// Encrypts one record.
    ///
    /// # Errors
    /// The text ends up in [`Error::Cipher`](crate::Error::Cipher).
    fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, String>;
    /// Decrypts one record.
    ///
    /// # Errors
    /// The text ends up in [`Error::Cipher`](crate::Error::Cipher).
    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, String>;
    /// Keys the addresses of shared blocks, so that they tell nobody what is inside.
    fn address_key(&self) -> [u8; 32];
}
