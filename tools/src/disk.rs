//! Storage's [`Disk`] over plain files opened for reading. Every call that would change something is refused.

use async_trait::async_trait;
use bytes::Bytes;
use starling_storage::disk::{DirEntry, Disk, DiskFile, DiskRef, FileRef};
use starling_storage::{Result, StorageError};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A directory whose files are read and never written.
pub fn open(dir: &Path) -> DiskRef {
    Rc::new(ReadDisk { dir: dir.to_path_buf() })
}

struct ReadDisk {
    dir: PathBuf,
}

fn failed(call: &'static str, path: &str, error: &std::io::Error) -> StorageError {
    match error.kind() {
        ErrorKind::NotFound => StorageError::NotFound(path.to_string()),
        _ => StorageError::Io { call, file: path.to_string(), reason: error.to_string() },
    }
}

fn refused<T>(call: &str, path: &str) -> Result<T> {
    Err(StorageError::Invalid(format!("{call} of {path}: the inspector changes nothing")))
}

#[async_trait(?Send)]
impl Disk for ReadDisk {
    async fn create(&self, path: &str) -> Result<FileRef> {
        refused("create", path)
    }

    async fn open(&self, path: &str) -> Result<FileRef> {
        let file = File::open(self.dir.join(path)).map_err(|e| failed("open", path, &e))?;
        let meta = file.metadata().map_err(|e| failed("stat", path, &e))?;
        if !meta.is_file() {
            return Err(StorageError::Invalid(format!("{path} is no regular file")));
        }
        Ok(Rc::new(ReadFile { path: path.to_string(), len: meta.len(), file }))
    }

    async fn remove(&self, path: &str) -> Result<()> {
        refused("unlink", path)
    }

    async fn rename(&self, from: &str, _to: &str) -> Result<()> {
        refused("rename", from)
    }

    async fn list(&self, dir: &str) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.dir.join(dir)).map_err(|e| failed("readdir", dir, &e))? {
            let entry = entry.map_err(|e| failed("readdir", dir, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A running server may have removed it meanwhile.
            let Ok(meta) = entry.metadata() else { continue };
            entries.push(DirEntry { name, bytes: if meta.is_dir() { 0 } else { meta.len() }, is_dir: meta.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    async fn create_dir(&self, dir: &str) -> Result<()> {
        refused("mkdir", dir)
    }

    async fn sync_dir(&self, dir: &str) -> Result<()> {
        refused("fsync", dir)
    }

    async fn yield_now(&self) {}

    fn now_micros(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
    }
}

struct ReadFile {
    path: String,
    len: u64,
    file: File,
}

#[async_trait(?Send)]
impl DiskFile for ReadFile {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            let end = format!("the file's end at {}", self.len);
            return Err(StorageError::corrupt(&self.path, offset, format!("{len} bytes"), end));
        }
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| failed("read", &self.path, &e))?;
        Ok(bytes.into())
    }

    async fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        refused("write", &self.path)
    }

    /// Nothing was written, so nothing needs to be synced.
    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn allocate(&self, _len: u64) -> Result<()> {
        refused("fallocate", &self.path)
    }

    fn len(&self) -> u64 {
        self.len
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn path(&self) -> &str {
        &self.path
    }
}
