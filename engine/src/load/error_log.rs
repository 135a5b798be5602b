//! The rejected rows of loads, as files of the data directory, so that whichever core answers ErrorURL can read them. The newest
//! are kept; a lost one costs nobody a row, so they are not synced.

use starling_storage::Result;
use starling_storage::disk::DiskRef;

use crate::runtime::clock::unix_micros;

/// Where they lie.
const DIRECTORY: &str = "load_errors";
/// Begin of every name.
const PREFIX: &str = "error_log_";
/// Files kept.
const KEPT_MAX: usize = 1000;
/// Files are looked through for old ones once in so many.
const PRUNE_EVERY: u64 = 64;
/// Writes are whole blocks.
const BLOCK: usize = 4096;

/// Keeps the log of a load; returns the name that `read` takes.
pub async fn save(disk: &DiskRef, txn: u64, log: &str) -> Result<String> {
    if txn.is_multiple_of(PRUNE_EVERY) || disk.list(DIRECTORY).await.is_err() {
        disk.create_dir(DIRECTORY).await?;
        prune(disk).await?;
    }
    // The time, then what makes it one of its kind. Fixed width, so that the order of names is the order of age, whichever core wrote them.
    let name = format!("{PREFIX}{:020}_{txn:020}", unix_micros());
    let file = disk.create(&format!("{DIRECTORY}/{name}")).await?;
    let mut bytes = log.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b'\n');
    let written = file.write_at(0, &bytes).await;
    file.close().await?;
    written.map(|()| name)
}

/// The log of a load; `None`: no such name, or no longer kept.
pub async fn read(disk: &DiskRef, name: &str) -> Option<String> {
    let digits = name.strip_prefix(PREFIX)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return None;
    }
    let file = disk.open(&format!("{DIRECTORY}/{name}")).await.ok()?;
    let bytes = file.read_at(0, file.len() as usize).await;
    file.close().await.ok()?;
    let text = String::from_utf8_lossy(&bytes.ok()?).into_owned();
    Some(format!("{}\n", text.trim_end_matches('\n')))
}

async fn prune(disk: &DiskRef) -> Result<()> {
    let mut names: Vec<String> = disk.list(DIRECTORY).await?.into_iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    for name in names.iter().take(names.len().saturating_sub(KEPT_MAX)) {
        // Another core may have removed it meanwhile; what stays is removed the next time.
        if let Err(error) = disk.remove(&format!("{DIRECTORY}/{name}")).await {
            tracing::debug!(name, %error, "an old log of rejected rows was not removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures::executor::block_on;
    use starling_storage::disk::SimDisk;

    use super::*;

    #[test]
    fn the_newest_logs_are_kept_whichever_core_wrote_them() {
        block_on(async {
            let disk: DiskRef = Rc::new(SimDisk::new(1));
            // Transaction ids carry their core above the counter, so those of core 1 are all greater than those of core 0.
            let core_1 = 1 << 32;
            for txn in 0..KEPT_MAX as u64 {
                save(&disk, core_1 + txn, "of core 1").await.unwrap();
            }
            let mut names = Vec::new();
            for txn in 0..2 * PRUNE_EVERY + 1 {
                names.push(save(&disk, txn, "of core 0").await.unwrap());
            }
            for name in names {
                assert_eq!(read(&disk, &name).await.as_deref(), Some("of core 0\n"), "{name}");
            }
            let kept = disk.list(DIRECTORY).await.unwrap().len();
            assert!(kept >= KEPT_MAX && kept <= KEPT_MAX + 2 * PRUNE_EVERY as usize, "{kept}");
        });
    }

    #[test]
    fn only_names_of_logs_are_read() {
        block_on(async {
            let disk: DiskRef = Rc::new(SimDisk::new(1));
            save(&disk, 1, "x").await.unwrap();
            for name in ["", "error_log_", "../root", "error_log_../../root", "error_log_99", "load_errors"] {
                assert_eq!(read(&disk, name).await, None, "{name}");
            }
        });
    }
}
