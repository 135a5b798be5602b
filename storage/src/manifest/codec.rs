//! The records of a manifest or catalog log file: a tag, then rkyv bytes (validated when read) or the engine's own.
//!
//! A file begins with a checkpoint: `Begin`, one `Tablet` per tablet (or one `Catalog`), `End` with the count between them. Edits follow.

use super::state::{Edit, TabletState};
use crate::error::{Result, StorageError};
use crate::ids::{Seq, TabletId};
use bytes::Bytes;
use rkyv::rancor;
use rkyv::util::AlignedVec;

const BEGIN: u8 = 1;
const TABLET: u8 = 2;
const CATALOG: u8 = 3;
const END: u8 = 4;
const EDIT: u8 = 5;
const CATALOG_EDIT: u8 = 6;

/// A record to write.
pub(crate) enum Record<'a> {
    Begin { mark: Seq },
    Tablet { tablet: TabletId, state: &'a TabletState },
    Catalog { seq: Seq, bytes: &'a [u8] },
    End { count: u64 },
    Edit(&'a Edit),
    CatalogEdit { seq: Seq, bytes: &'a [u8] },
}

/// A record that was read.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    Begin { mark: Seq },
    Tablet { tablet: TabletId, state: TabletState },
    Catalog { seq: Seq, bytes: Bytes },
    End { count: u64 },
    Edit(Edit),
    CatalogEdit { seq: Seq, bytes: Bytes },
}

impl Record<'_> {
    /// Appends the byte form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Begin { mark } => push(BEGIN, mark.0, &[], out),
            Record::Tablet { tablet, state } => push(TABLET, tablet.0, &archive(*state), out),
            Record::Catalog { seq, bytes } => push(CATALOG, seq.0, bytes, out),
            Record::End { count } => push(END, *count, &[], out),
            Record::Edit(edit) => push(EDIT, edit.tablet.0, &archive(*edit), out),
            Record::CatalogEdit { seq, bytes } => push(CATALOG_EDIT, seq.0, bytes, out),
        }
    }
}

fn push(tag: u8, number: u64, body: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(number.to_le_bytes());
    out.extend_from_slice(body);
}

fn archive<T>(value: &T) -> AlignedVec
where
    T: for<'a> rkyv::Serialize<
            rkyv::api::high::HighSerializer<AlignedVec, rkyv::ser::allocator::ArenaHandle<'a>, rancor::Error>,
        >,
{
    rkyv::to_bytes::<rancor::Error>(value).expect("plain data in memory always serialises")
}

/// Reads a record; never panics on any bytes.
///
/// Errors: `Corrupt` at the given place.
pub fn decode(bytes: &[u8], file: &str, offset: u64) -> Result<Decoded> {
    let damage = |expected: &str, found: String| StorageError::corrupt(file, offset, expected, found);
    let Some((&tag, rest)) = bytes.split_first() else { return Err(damage("a manifest record", "nothing".into())) };
    let Some((number, body)) = rest.split_first_chunk::<8>() else {
        return Err(damage("a manifest record", format!("{} bytes", bytes.len())));
    };
    let number = u64::from_le_bytes(*number);
    // rkyv needs alignment; the log's bytes have none.
    let aligned = || {
        let mut copy = AlignedVec::<16>::with_capacity(body.len());
        copy.extend_from_slice(body);
        copy
    };
    Ok(match tag {
        BEGIN => Decoded::Begin { mark: Seq(number) },
        TABLET => {
            let state = rkyv::from_bytes::<TabletState, rancor::Error>(&aligned());
            Decoded::Tablet {
                tablet: TabletId(number),
                state: state.map_err(|e| damage("a tablet state", e.to_string()))?,
            }
        }
        CATALOG => Decoded::Catalog { seq: Seq(number), bytes: Bytes::copy_from_slice(body) },
        END => Decoded::End { count: number },
        EDIT => {
            let edit = rkyv::from_bytes::<Edit, rancor::Error>(&aligned());
            let edit = edit.map_err(|e| damage("a manifest edit", e.to_string()))?;
            if edit.tablet != TabletId(number) {
                return Err(damage(&format!("an edit of tablet {number}"), format!("one of tablet {}", edit.tablet)));
            }
            Decoded::Edit(edit)
        }
        CATALOG_EDIT => Decoded::CatalogEdit { seq: Seq(number), bytes: Bytes::copy_from_slice(body) },
        other => return Err(damage("a manifest record tag 1 to 6", other.to_string())),
    })
}
