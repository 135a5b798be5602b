//! Files of a real directory: O_DIRECT through the io_uring of the core they were opened on.
//!
//! Reads, writes, fdatasync, rename and unlink are io_uring operations or glommio's own blocking pool; listing, making and syncing a
//! directory run on that pool too, so that nothing here holds the reactor. A panic there is caught (it would kill the core).

use super::{BLOCK_BYTES, DirEntry, Disk, DiskFile, FileRef};
use crate::error::{Result, StorageError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use glommio::io::{DmaFile, OpenOptions};
use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// Longest single read or write; longer ones go in pieces, so that one of them cannot fill the ring's memory.
const IO_BYTES_MAX: usize = 1 << 20;
/// How long a loop of computation may hold the core.
const TIME_SLICE: Duration = Duration::from_micros(150);

/// A data directory on a real device.
pub struct GlommioDisk {
    dir: PathBuf,
    started: Instant,
    started_micros: u64,
    slice: Cell<Instant>,
}

impl GlommioDisk {
    /// Opens the directory for this core; called on an executor. The directory is made if it is not there.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<GlommioDisk> {
        let dir = dir.into();
        let path = dir.clone();
        blocking("mkdir", "", move || std::fs::create_dir_all(&path)).await?;
        probe_polling(&dir).await?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Instant::now();
        Ok(GlommioDisk { dir, started: now, started_micros: since_epoch.as_micros() as u64, slice: Cell::new(now) })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    async fn open_with(&self, path: &str, create: bool) -> Result<FileRef> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(create);
        let file = options.dma_open(self.path(path)).await.map_err(|e| failed("open", path, e))?;
        let len = file.file_size().await.map_err(|e| failed("stat", path, e))?;
        Ok(Rc::new(GlommioFile {
            path: path.to_string(),
            file: RefCell::new(Some(Rc::new(file))),
            len: Cell::new(len),
            poison: RefCell::new(None),
        }))
    }
}

/// Lets glommio find out whether the device can be polled. It asks once per thread, by reading from the first file opened; an empty file
/// reads as "yes" on any device, and from then on every read fails with "operation not supported". So the first file has a block.
async fn probe_polling(dir: &Path) -> Result<()> {
    let name = format!(".probe-{}-{:?}", std::process::id(), std::thread::current().id());
    let (path, removed) = (dir.join(&name), dir.join(&name));
    let written = path.clone();
    blocking("write", &name, move || std::fs::write(written, [1; BLOCK_BYTES])).await?;
    let file = DmaFile::open(&path).await.map_err(|e| failed("open", &name, e))?;
    file.close().await.map_err(|e| failed("close", &name, e))?;
    blocking("unlink", &name, move || std::fs::remove_file(removed)).await
}

/// Runs a system call on the executor's blocking pool.
async fn blocking<R: Send + 'static>(
    call: &'static str,
    file: &str,
    work: impl FnOnce() -> std::io::Result<R> + Send + 'static,
) -> Result<R> {
    let caught = glommio::executor().spawn_blocking(move || std::panic::catch_unwind(AssertUnwindSafe(work))).await;
    match caught {
        Ok(result) => result.map_err(|e| from_io(call, file, &e)),
        Err(_) => Err(StorageError::Io { call, file: file.to_string(), reason: "the call panicked".to_string() }),
    }
}

fn from_io(call: &'static str, file: &str, e: &std::io::Error) -> StorageError {
    match e.raw_os_error() {
        Some(libc::ENOENT) => StorageError::NotFound(file.to_string()),
        Some(libc::ENOSPC | libc::EDQUOT) => StorageError::DiskFull { file: file.to_string() },
        _ => StorageError::Io { call, file: file.to_string(), reason: e.to_string() },
    }
}

fn failed(call: &'static str, file: &str, e: glommio::GlommioError<()>) -> StorageError {
    match e.raw_os_error() {
        Some(code) => from_io(call, file, &std::io::Error::from_raw_os_error(code)),
        None => StorageError::Io { call, file: file.to_string(), reason: e.to_string() },
    }
}

#[async_trait(?Send)]
impl Disk for GlommioDisk {
    async fn create(&self, path: &str) -> Result<FileRef> {
        self.open_with(path, true).await
    }

    async fn open(&self, path: &str) -> Result<FileRef> {
        self.open_with(path, false).await
    }

    async fn remove(&self, path: &str) -> Result<()> {
        glommio::io::remove(self.path(path)).await.map_err(|e| failed("unlink", path, e))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        glommio::io::rename(self.path(from), self.path(to)).await.map_err(|e| failed("rename", from, e))
    }

    async fn list(&self, dir: &str) -> Result<Vec<DirEntry>> {
        let path = self.path(dir);
        blocking("readdir", dir, move || list(&path)).await
    }

    async fn create_dir(&self, dir: &str) -> Result<()> {
        let path = self.path(dir);
        blocking("mkdir", dir, move || {
            std::fs::create_dir_all(&path)?;
            // Its own name is durable when the directory above is synced.
            path.parent().map_or(Ok(()), |above| std::fs::File::open(above)?.sync_all())
        })
        .await
    }

    /// A whole fsync: fdatasync may leave out a directory whose length did not change.
    async fn sync_dir(&self, dir: &str) -> Result<()> {
        let path = self.path(dir);
        blocking("fsync", dir, move || std::fs::File::open(&path)?.sync_all()).await
    }

    async fn yield_now(&self) {
        if self.slice.get().elapsed() >= TIME_SLICE {
            glommio::executor().yield_task_queue_now().await;
            self.slice.set(Instant::now());
        }
    }

    fn now_micros(&self) -> u64 {
        self.started_micros + self.started.elapsed().as_micros() as u64
    }
}

fn list(path: &Path) -> std::io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let (is_dir, name) = (meta.is_dir(), entry.file_name().to_string_lossy().into_owned());
        entries.push(DirEntry { name, bytes: if is_dir { 0 } else { meta.len() }, is_dir });
    }
    entries.sort();
    Ok(entries)
}

struct GlommioFile {
    path: String,
    file: RefCell<Option<Rc<DmaFile>>>,
    len: Cell<u64>,
    poison: RefCell<Option<StorageError>>,
}

impl GlommioFile {
    fn file(&self) -> Result<Rc<DmaFile>> {
        if let Some(e) = &*self.poison.borrow() {
            return Err(StorageError::Poisoned { file: self.path.clone(), reason: e.to_string() });
        }
        self.file.borrow().clone().ok_or(StorageError::Closed("file"))
    }

    fn poison(&self, error: StorageError) -> StorageError {
        self.poison.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    fn short(&self, offset: u64, len: usize) -> StorageError {
        let end = format!("the file's end at {}", self.len.get());
        StorageError::corrupt(&self.path, offset, format!("{len} bytes"), end)
    }

    /// One aligned piece: the whole blocks around `[offset, offset + len)`.
    async fn read_piece(&self, file: &DmaFile, offset: u64, len: usize, out: &mut BytesMut) -> Result<()> {
        let start = offset - offset % BLOCK_BYTES as u64;
        let skip = (offset - start) as usize;
        let aligned = (skip + len).next_multiple_of(BLOCK_BYTES);
        let read = file.read_at_aligned(start, aligned).await.map_err(|e| failed("read", &self.path, e))?;
        let bytes = read.get(skip..skip + len).ok_or_else(|| self.short(offset, len))?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    async fn write_piece(&self, file: &DmaFile, offset: u64, data: &[u8]) -> Result<()> {
        let mut buffer = file.alloc_dma_buffer(data.len());
        buffer.as_bytes_mut()[..data.len()].copy_from_slice(data);
        let written = file.write_at(buffer, offset).await.map_err(|e| failed("write", &self.path, e))?;
        if written != data.len() {
            // A short write of a direct file means that the device has no more room.
            return Err(StorageError::DiskFull { file: self.path.clone() });
        }
        Ok(())
    }
}

#[async_trait(?Send)]
impl DiskFile for GlommioFile {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file()?;
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len.get()) {
            return Err(self.short(offset, len));
        }
        let mut out = BytesMut::with_capacity(len);
        while out.len() < len {
            let piece = (len - out.len()).min(IO_BYTES_MAX);
            self.read_piece(&file, offset + out.len() as u64, piece, &mut out).await?;
        }
        Ok(out.freeze())
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let file = self.file()?;
        if !offset.is_multiple_of(BLOCK_BYTES as u64) || !data.len().is_multiple_of(BLOCK_BYTES) {
            return Err(StorageError::Invalid(format!("write of {} bytes at {offset}: not whole blocks", data.len())));
        }
        for (at, piece) in data.chunks(IO_BYTES_MAX).enumerate() {
            let at = offset + (at * IO_BYTES_MAX) as u64;
            self.write_piece(&file, at, piece).await.map_err(|e| self.poison(e))?;
        }
        self.len.set(self.len.get().max(offset + data.len() as u64));
        Ok(())
    }

    async fn sync(&self) -> Result<()> {
        let file = self.file()?;
        file.fdatasync().await.map_err(|e| self.poison(failed("fdatasync", &self.path, e)))
    }

    async fn allocate(&self, len: u64) -> Result<()> {
        let file = self.file()?;
        file.pre_allocate(len, false).await.map_err(|e| failed("fallocate", &self.path, e))?;
        self.len.set(self.len.get().max(len));
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len.get()
    }

    async fn close(&self) -> Result<()> {
        let file = self.file.borrow_mut().take();
        match file {
            Some(file) => file.close_rc().await.map(|_| ()).map_err(|e| failed("close", &self.path, e)),
            None => Ok(()),
        }
    }

    fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Beside the build: the system's temporary directory may be a tmpfs, which has no O_DIRECT.
    fn directory(name: &str) -> std::path::PathBuf {
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().join(format!("{name}-{}", std::process::id()))
    }

    #[test]
    fn the_first_file_of_a_new_directory_can_be_read_back() {
        let dir = directory("starling-glommio-disk");
        let path = dir.clone();
        let executor = glommio::LocalExecutorBuilder::default().spawn(move || async move {
            let disk = GlommioDisk::open(path).await.unwrap();
            let file = disk.create("a").await.unwrap();
            let data: Vec<u8> = (0..32 * BLOCK_BYTES).map(|i| (i / 7) as u8).collect();
            file.write_at(0, &data).await.unwrap();
            file.sync().await.unwrap();
            file.close().await.unwrap();
            let file = disk.open("a").await.unwrap();
            assert_eq!(file.read_at(100, 70_000).await.unwrap(), data[100..70_100]);
            assert_eq!(disk.list("").await.unwrap().len(), 1, "no probe is left behind");
        });
        executor.unwrap().join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_of_a_real_directory() {
        let dir = directory("starling-disk");
        let path = dir.clone();
        let work = move || async move {
            let disk = GlommioDisk::open(&path).await.unwrap();
            disk.create_dir("d").await.unwrap();
            let file = disk.create("d/a").await.unwrap();
            let data: Vec<u8> = (0..3 * BLOCK_BYTES + IO_BYTES_MAX).map(|i| (i % 251) as u8).collect();
            file.write_at(0, &data).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.write_at(7, &data).await.unwrap_err().kind(), ErrorKind::Invalid);
            assert_eq!(file.read_at(4000, 200).await.unwrap()[..], data[4000..4200]);
            assert_eq!(file.read_at(0, data.len()).await.unwrap()[..], data[..]);
            assert_eq!(file.read_at(data.len() as u64 - 1, 2).await.unwrap_err().kind(), ErrorKind::Corrupt);
            file.allocate(4 << 20).await.unwrap();
            assert_eq!(file.len(), 4 << 20);
            file.close().await.unwrap();
            assert_eq!(file.read_at(0, 1).await.unwrap_err().kind(), ErrorKind::Closed);
            disk.rename("d/a", "d/b").await.unwrap();
            disk.sync_dir("d").await.unwrap();
            let entries = disk.list("d").await.unwrap();
            assert_eq!(entries, [DirEntry { name: "b".to_string(), bytes: 4 << 20, is_dir: false }]);
            assert_eq!(disk.open("d/a").await.err().map(|e| e.kind()), Some(ErrorKind::NotFound));
            let again = disk.open("d/b").await.unwrap();
            assert_eq!(again.read_at(4095, 2).await.unwrap()[..], data[4095..4097]);
            disk.remove("d/b").await.unwrap();
            assert_eq!(disk.remove("d/b").await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(again.read_at(0, 1).await.unwrap()[..], data[..1]);
        };
        glommio::LocalExecutorBuilder::default().spawn(work).unwrap().join().unwrap();
        let _ = std::fs::remove_dir_all(dir);
    }
}
