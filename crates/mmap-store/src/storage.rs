use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

/// How a [`Storage`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; one of that name is emptied.
    Create,
}

/// One flat directory of files: all that the store asks of the system.
///
/// The store brings the real one (used by [`Options::open`](crate::Options::open)). Implement it to
/// keep a store elsewhere, or to inject faults in a test.
///
/// # Contract
///
/// What [`StorageFile::sync`] returned for stays after a power cut, provided that the file's name
/// was made durable by [`sync_dir`](Storage::sync_dir). A rename is atomic: after a cut the name
/// stands for the old file or for the new one.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it does not exist and was not to be created.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the directory does not exist.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, replacing the target atomically.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay readable.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the writer's lock, which lasts until the returned value is dropped or its process
    /// dies; `None` when somebody else holds it. Creates the directory when `create` is set.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, create: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// One open file of a [`Storage`]. Every method works by position and may run concurrently.
pub trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// The length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Reads some bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Appends up to `len` bytes at `offset` to `buffer`, fewer only where the file ends; the number
    /// of bytes. Worth overriding where memory need not be zeroed before it is read into.
    ///
    /// # Errors
    /// What the system says; `buffer` then holds what it held before.
    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = buffer.len();
        buffer.resize(start + len, 0);
        let read = read_full(self, &mut buffer[start..], offset);
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Writes some bytes at `offset`, growing the file when needed.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes contents and length durable, whoever wrote them; also where the file was opened for
    /// reading, except on Windows.
    ///
    /// # Errors
    /// What the system says. The state of what was written since the last success is unknown then.
    fn sync(&self) -> io::Result<()>;

    /// The system's file behind this one, if there is one that can be mapped.
    fn system(&self) -> Option<&std::fs::File> {
        None
    }
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: &dyn StorageFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the file ends; the number of bytes read.
pub(crate) fn read_full(
    file: &(impl StorageFile + ?Sized),
    buffer: &mut [u8],
    mut at: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(n) => {
                done += n;
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Reads a whole small file, refusing one longer than `limit`.
pub(crate) fn read_file(file: &dyn StorageFile, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.size()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is longer than its format allows",
        ));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.read_to(&mut bytes, len as usize, 0)?;
    Ok(bytes)
}
