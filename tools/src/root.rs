//! The root record: both of its slots.

use crate::Report;
use starling_storage::disk::DiskRef;
use starling_storage::root::{Root, SLOT_BYTES};
use starling_storage::{Result, StorageError};

/// Prints both slots. One that is torn is damage only when the other is, too.
pub async fn print(disk: &DiskRef, name: &str, report: &mut Report<'_>) -> Result<()> {
    let file = disk.open(name).await?;
    let len = file.len();
    report.line(format_args!("root record {name}: {len} bytes"));
    let (mut whole, mut torn) = (0, Vec::new());
    for slot in 0..2 {
        let offset = slot * SLOT_BYTES as u64;
        if offset + SLOT_BYTES as u64 > len {
            torn.push(StorageError::corrupt(name, offset, format!("a slot of {SLOT_BYTES} bytes"), "the end"));
            continue;
        }
        match Root::parse(file.read_at(offset, SLOT_BYTES).await?, offset) {
            Ok(root) => {
                whole += 1;
                report.line(format_args!("  slot {slot}  write {}", root.writes));
                print_root(&root, report);
            }
            Err(error) => torn.push(error),
        }
    }
    for error in torn {
        match whole {
            0 => report.problem(error),
            _ => report.line(format_args!("  not whole, the other slot counts: {error}")),
        }
    }
    Ok(())
}

/// Prints what a root record says.
pub fn print_root(root: &Root, report: &mut Report<'_>) {
    report.line(format_args!(
        "    epoch {}  generation {} of {} cores  cut {}",
        root.epoch,
        root.generation,
        root.cores,
        root.cut()
    ));
    for (epoch, cut) in &root.cuts {
        report.line(format_args!("    epoch {epoch} began at cut {cut}"));
    }
}
