//! The rejected rows of loads, as files of the data directory, so that whichever core answers ErrorURL can read them. The newest
//! are kept; a lost one costs nobody a row, so they are not synced.

use starling_storage::Result;
use starling_storage::disk::DiskRef;

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
    // Fixed width, so that the order of names is the order of age.
    let name = format!("{PREFIX}{txn:020}");
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
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
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
        disk.remove(&format!("{DIRECTORY}/{name}")).await?;
    }
    Ok(())
}
