//! The root record (R16, R17): which epoch the process is in, where each epoch cut, and which generation of manifests is live.
//!
//! The file `root` has two slots of 64 KiB, each a checksummed copy of the record. A write goes to one slot, is synced, and then goes to the
//! other: a torn write leaves one slot whole, and a slot damaged later does not bring an older epoch back. Written only while starting.
//!
//! Slot, little-endian: `crc32c u32 of the rest | magic u32 | version u32 | epoch u32 | generation u32 | cores u16 | zero u16 | write counter u64 |
//! cut count u32 | (epoch u32, cut u64) x count`, padded with zeros.

use crate::disk::{BLOCK_BYTES, DiskRef, FileRef};
use crate::error::{Result, StorageError};
use crate::ids::{Epoch, Seq};
use bytes::{Buf, Bytes};

/// Path of the root record.
pub const ROOT_PATH: &str = "root";
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 16 * BLOCK_BYTES;
const MAGIC: u32 = 0x544f_4f52;
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 36;
const CUT_BYTES: usize = 12;
/// More starts than this with unflushed logs between them cannot be told apart any more.
const CUTS_MAX: usize = (SLOT_BYTES - HEADER_BYTES) / CUT_BYTES;

/// The root record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// The newest start.
    pub epoch: Epoch,
    /// The epoch that made the live manifests; 0: there are none yet.
    pub generation: Epoch,
    /// Manifests of the live generation.
    pub cores: u16,
    /// Counts the writes of the record.
    pub writes: u64,
    /// The cut at which an epoch began, ascending; those of all epochs later than one of which a log segment may exist.
    pub cuts: Vec<(Epoch, Seq)>,
}

impl Root {
    /// The cut of the newest epoch.
    pub fn cut(&self) -> Seq {
        self.cuts.last().map_or(Seq::ZERO, |&(_, cut)| cut)
    }

    /// R16: a record of `epoch` counts only up to here: the cuts of all later epochs.
    pub fn bound(&self, epoch: Epoch) -> Seq {
        self.cuts.iter().filter(|(e, _)| *e > epoch).map(|&(_, cut)| cut).min().unwrap_or(Seq::MAX)
    }

    /// Reads the record; `None` when there is none.
    ///
    /// Errors: `Corrupt` when no slot is whole; the very first write of a record may have been torn.
    pub async fn read(disk: &DiskRef) -> Result<Option<Root>> {
        let file = match disk.open(ROOT_PATH).await {
            Ok(file) => file,
            Err(StorageError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let (mut newest, mut error): (Option<Root>, _) = (None, None);
        for slot in 0..2 {
            let offset = (slot * SLOT_BYTES) as u64;
            if file.len() < offset + SLOT_BYTES as u64 {
                continue;
            }
            match Root::parse(file.read_at(offset, SLOT_BYTES).await?, offset) {
                Ok(root) if newest.as_ref().is_none_or(|n| n.writes < root.writes) => newest = Some(root),
                Ok(_) => {}
                Err(e) => error = Some(e),
            }
        }
        // A killed process leaves a record that the next power loss could take (R16).
        file.sync().await?;
        file.close().await?;
        match newest {
            Some(root) => Ok(Some(root)),
            None => Err(error.unwrap_or_else(|| {
                StorageError::corrupt(ROOT_PATH, 0, "a whole slot", format!("{} bytes", file.len()))
            })),
        }
    }

    /// Reads one slot, which lies at `offset` of the file.
    ///
    /// Errors: `Corrupt` with that offset; never panics on any bytes.
    pub fn parse(slot: Bytes, offset: u64) -> Result<Root> {
        let damage = |expected: &str, found: String| StorageError::corrupt(ROOT_PATH, offset, expected, found);
        if slot.len() != SLOT_BYTES {
            return Err(damage("a whole slot", format!("{} bytes", slot.len())));
        }
        let crc = crc32c::crc32c(&slot[4..]);
        let mut input = slot;
        let found = input.get_u32_le();
        if crc != found {
            return Err(damage(&format!("checksum {crc}"), found.to_string()));
        }
        let (magic, version) = (input.get_u32_le(), input.get_u32_le());
        if (magic, version) != (MAGIC, VERSION) {
            return Err(damage(
                &format!("magic {MAGIC}, version {VERSION}"),
                format!("magic {magic}, version {version}"),
            ));
        }
        let (epoch, generation) = (Epoch(input.get_u32_le()), Epoch(input.get_u32_le()));
        let (cores, _, writes) = (input.get_u16_le(), input.get_u16_le(), input.get_u64_le());
        let count = input.get_u32_le() as usize;
        if count > CUTS_MAX {
            return Err(damage(&format!("at most {CUTS_MAX} cuts"), count.to_string()));
        }
        let cuts = (0..count).map(|_| (Epoch(input.get_u32_le()), Seq(input.get_u64_le()))).collect();
        Ok(Root { epoch, generation, cores, writes, cuts })
    }

    /// Writes the record, durably.
    pub async fn write(&mut self, disk: &DiskRef) -> Result<()> {
        if self.cuts.len() > CUTS_MAX {
            let detail =
                format!("{} starts whose logs are not flushed; the root record holds {CUTS_MAX}", self.cuts.len());
            return Err(StorageError::Limit { limit: "root_cuts", detail });
        }
        let file = match disk.open(ROOT_PATH).await {
            Ok(file) => file,
            Err(StorageError::NotFound(_)) => disk.create(ROOT_PATH).await?,
            Err(e) => return Err(e),
        };
        // The older slot first, so that the newest record is never the one being overwritten.
        for _ in 0..2 {
            self.writes += 1;
            write_slot(&file, self).await?;
            disk.sync_dir("").await?;
        }
        file.close().await
    }
}

async fn write_slot(file: &FileRef, root: &Root) -> Result<()> {
    let mut slot = vec![0; 4];
    slot.extend(MAGIC.to_le_bytes());
    slot.extend(VERSION.to_le_bytes());
    slot.extend(root.epoch.0.to_le_bytes());
    slot.extend(root.generation.0.to_le_bytes());
    slot.extend(root.cores.to_le_bytes());
    slot.extend([0; 2]);
    slot.extend(root.writes.to_le_bytes());
    slot.extend((root.cuts.len() as u32).to_le_bytes());
    for (epoch, cut) in &root.cuts {
        slot.extend(epoch.0.to_le_bytes());
        slot.extend(cut.0.to_le_bytes());
    }
    slot.resize(SLOT_BYTES, 0);
    let crc = crc32c::crc32c(&slot[4..]);
    slot[..4].copy_from_slice(&crc.to_le_bytes());
    file.write_at((root.writes % 2) * SLOT_BYTES as u64, &slot).await?;
    file.sync().await
}
