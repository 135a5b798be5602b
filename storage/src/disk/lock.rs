//! One process per data directory: an advisory lock on the file `LOCK`, held while the value lives and released by the kernel
//! when the process dies, however it dies.

use crate::error::{Result, StorageError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

/// The lock of a data directory.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Creates the directory if it is not there, and locks it. Called before any executor starts.
    ///
    /// Errors: [`StorageError::Invalid`] with the holder's process id when another process serves the directory.
    pub fn acquire(dir: &Path) -> Result<DirLock> {
        let io = |call: &'static str| {
            move |e: std::io::Error| StorageError::Io {
                call,
                file: dir.join("LOCK").display().to_string(),
                reason: e.to_string(),
            }
        };
        std::fs::create_dir_all(dir).map_err(io("mkdir"))?;
        let path = dir.join("LOCK");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = if holder.trim().is_empty() { "?".to_string() } else { holder.trim().to_string() };
                return Err(StorageError::Invalid(format!(
                    "data directory {} is in use by process {holder}; stop that process or choose another directory",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(io("flock")(e)),
        }
        file.set_len(0).map_err(io("truncate"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
        Ok(DirLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("starling-lock-{}", std::process::id()));
        let first = DirLock::acquire(&dir)?;
        let second = DirLock::acquire(&dir).expect_err("the directory is locked");
        assert!(second.to_string().contains(&format!("in use by process {}", std::process::id())), "{second}");
        drop(first);
        DirLock::acquire(&dir)?;
        let _ = std::fs::remove_dir_all(&dir);
        Ok(())
    }
}
