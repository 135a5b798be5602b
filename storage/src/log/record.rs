//! What a transaction leaves in the log: one record, whatever tablets and tables it touches (R1), and its byte form.
//!
//! The bytes come back from disk, so decoding trusts nothing: every length is checked against what is there before anything is
//! allocated, and an unknown tag is damage. The layout is drawn in `FORMAT.md`.

use crate::error::{Result, StorageError};
use crate::ids::{FileId, Seq, TabletId, TxnId};
use crate::schema::{CompareOp, Predicate, Scalar};
use bytes::{Buf, Bytes};

/// First byte of a record: the version of this layout.
const VERSION: u8 = 1;

/// A committed transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRecord {
    /// Its place in the one order of the database.
    pub seq: Seq,
    /// The transaction.
    pub txn: TxnId,
    /// What it does to each tablet.
    pub parts: Vec<TabletPart>,
}

/// What a transaction does to one tablet.
#[derive(Clone, Debug, PartialEq)]
pub struct TabletPart {
    /// The tablet.
    pub tablet: TabletId,
    /// The schema version under which the body was made.
    pub schema_version: u32,
    /// The change.
    pub body: PartBody,
}

/// A change of one tablet. Buffers are shared: a clone is cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum PartBody {
    /// Rows in the byte form of [`crate::rows`].
    Rows(Bytes),
    /// Files that were written and synced before the number was taken (R2).
    Files(Vec<StagedFile>),
    /// Deletes every row, older than the record, that matches all predicates (tables without a primary key).
    DeleteWhere(Vec<Predicate>),
    /// A change of the catalog, in the engine's bytes; its tablet is [`TabletId::CATALOG`] (R10).
    Ddl(Bytes),
}

/// A segment file of a big batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedFile {
    /// The file.
    pub file: FileId,
    /// Rows in it.
    pub rows: u32,
    /// Its length.
    pub bytes: u64,
    /// Whether its rows are keys to delete, and not rows to store.
    pub deletes: bool,
}

impl CommitRecord {
    /// Length of the byte form.
    pub fn encoded_len(&self) -> usize {
        1 + 8 + 8 + 4 + self.parts.iter().map(|p| 8 + 4 + 1 + 4 + p.body.encoded_len()).sum::<usize>()
    }

    /// Appends the byte form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        for part in &self.parts {
            part.encode_head(out);
            part.body.encode(out);
        }
    }

    /// The byte form in pieces: the rows of the parts are shared, not copied.
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        let (mut pieces, mut own) = (Vec::with_capacity(2 * self.parts.len() + 1), Vec::new());
        self.encode_head(&mut own);
        for part in &self.parts {
            part.encode_head(&mut own);
            match &part.body {
                PartBody::Rows(bytes) | PartBody::Ddl(bytes) => {
                    pieces.push(Bytes::from(std::mem::take(&mut own)));
                    pieces.push(bytes.clone());
                }
                other => other.encode(&mut own),
            }
        }
        pieces.push(Bytes::from(own));
        pieces
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend(self.seq.0.to_le_bytes());
        out.extend(self.txn.0.to_le_bytes());
        out.extend((self.parts.len() as u32).to_le_bytes());
    }

    /// Reads the byte form back; bodies share `bytes`.
    ///
    /// Errors: `Corrupt` with the offset within the record; never panics on any bytes.
    pub fn decode(bytes: Bytes) -> Result<CommitRecord> {
        let mut input = Input { total: bytes.len(), bytes };
        let version = input.u8()?;
        if version != VERSION {
            return Err(input.damage(format!("record version {VERSION}"), version));
        }
        let (seq, txn) = (Seq(input.u64()?), TxnId(input.u64()?));
        let count = input.count(8 + 4 + 1 + 4)?;
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let (tablet, schema_version) = (TabletId(input.u64()?), input.u32()?);
            let (tag, len) = (input.u8()?, input.u32()? as usize);
            let body = PartBody::decode(tag, Input { total: len, bytes: input.take(len)? })?;
            parts.push(TabletPart { tablet, schema_version, body });
        }
        input.end()?;
        Ok(CommitRecord { seq, txn, parts })
    }
}

impl TabletPart {
    fn encode_head(&self, out: &mut Vec<u8>) {
        out.extend(self.tablet.0.to_le_bytes());
        out.extend(self.schema_version.to_le_bytes());
        out.push(self.body.tag());
        out.extend((self.body.encoded_len() as u32).to_le_bytes());
    }
}

impl PartBody {
    fn tag(&self) -> u8 {
        match self {
            PartBody::Rows(_) => 1,
            PartBody::Files(_) => 2,
            PartBody::DeleteWhere(_) => 3,
            PartBody::Ddl(_) => 4,
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            PartBody::Rows(bytes) | PartBody::Ddl(bytes) => bytes.len(),
            PartBody::Files(files) => 4 + files.len() * STAGED_FILE_BYTES,
            PartBody::DeleteWhere(predicates) => {
                let mut bytes = Vec::new();
                encode_predicates(predicates, &mut bytes);
                bytes.len()
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PartBody::Rows(bytes) | PartBody::Ddl(bytes) => out.extend_from_slice(bytes),
            PartBody::Files(files) => {
                out.extend((files.len() as u32).to_le_bytes());
                for staged in files {
                    out.extend(staged.file.tablet.0.to_le_bytes());
                    out.extend(staged.file.number.to_le_bytes());
                    out.extend(staged.rows.to_le_bytes());
                    out.extend(staged.bytes.to_le_bytes());
                    out.push(staged.deletes as u8);
                }
            }
            PartBody::DeleteWhere(predicates) => encode_predicates(predicates, out),
        }
    }

    fn decode(tag: u8, mut input: Input) -> Result<PartBody> {
        let body = match tag {
            1 => return Ok(PartBody::Rows(input.bytes)),
            2 => PartBody::Files(decode_files(&mut input)?),
            3 => PartBody::DeleteWhere(decode_predicates_from(&mut input)?),
            4 => return Ok(PartBody::Ddl(input.bytes)),
            other => return Err(input.damage("a part tag 1 to 4", other)),
        };
        input.end()?;
        Ok(body)
    }
}

const STAGED_FILE_BYTES: usize = 8 + 8 + 4 + 8 + 1;

fn decode_files(input: &mut Input) -> Result<Vec<StagedFile>> {
    let count = input.count(STAGED_FILE_BYTES)?;
    let mut files = Vec::with_capacity(count);
    for _ in 0..count {
        let file = FileId { tablet: TabletId(input.u64()?), number: input.u64()? };
        files.push(StagedFile { file, rows: input.u32()?, bytes: input.u64()?, deletes: input.flag()? });
    }
    Ok(files)
}

/// Appends the byte form of a conjunction.
pub fn encode_predicates(predicates: &[Predicate], out: &mut Vec<u8>) {
    out.extend((predicates.len() as u32).to_le_bytes());
    for predicate in predicates {
        let (tag, column) = match predicate {
            Predicate::Compare { column, op, .. } => (compare_tag(*op), column),
            Predicate::In { column, .. } => (7, column),
            Predicate::NotIn { column, .. } => (8, column),
            Predicate::Prefix { column, .. } => (9, column),
            Predicate::IsNull { column } => (10, column),
            Predicate::IsNotNull { column } => (11, column),
        };
        out.push(tag);
        out.extend(column.to_le_bytes());
        match predicate {
            Predicate::Compare { value, .. } => encode_scalar(value, out),
            Predicate::In { values, .. } | Predicate::NotIn { values, .. } => {
                out.extend((values.len() as u32).to_le_bytes());
                values.iter().for_each(|v| encode_scalar(v, out));
            }
            Predicate::Prefix { prefix, .. } => encode_text(prefix, out),
            Predicate::IsNull { .. } | Predicate::IsNotNull { .. } => {}
        }
    }
}

/// Reads a conjunction back.
///
/// Errors: `Corrupt` with the offset within `bytes`; never panics on any bytes.
pub fn decode_predicates(bytes: Bytes) -> Result<Vec<Predicate>> {
    let mut input = Input { total: bytes.len(), bytes };
    let predicates = decode_predicates_from(&mut input)?;
    input.end()?;
    Ok(predicates)
}

fn decode_predicates_from(input: &mut Input) -> Result<Vec<Predicate>> {
    let count = input.count(1 + 4)?;
    let mut predicates = Vec::with_capacity(count);
    for _ in 0..count {
        let (tag, column) = (input.u8()?, input.u32()?);
        predicates.push(match tag {
            1..=6 => Predicate::Compare { column, op: compare_op(tag), value: decode_scalar(input)? },
            7 => Predicate::In { column, values: decode_scalars(input)? },
            8 => Predicate::NotIn { column, values: decode_scalars(input)? },
            9 => Predicate::Prefix { column, prefix: decode_text(input)? },
            10 => Predicate::IsNull { column },
            11 => Predicate::IsNotNull { column },
            other => return Err(input.damage("a predicate tag 1 to 11", other)),
        });
    }
    Ok(predicates)
}

fn compare_tag(op: CompareOp) -> u8 {
    match op {
        CompareOp::Eq => 1,
        CompareOp::Ne => 2,
        CompareOp::Lt => 3,
        CompareOp::Le => 4,
        CompareOp::Gt => 5,
        CompareOp::Ge => 6,
    }
}

fn compare_op(tag: u8) -> CompareOp {
    match tag {
        1 => CompareOp::Eq,
        2 => CompareOp::Ne,
        3 => CompareOp::Lt,
        4 => CompareOp::Le,
        5 => CompareOp::Gt,
        _ => CompareOp::Ge,
    }
}

fn encode_scalar(value: &Scalar, out: &mut Vec<u8>) {
    match value {
        Scalar::Bool(v) => out.extend([1, *v as u8]),
        Scalar::Int(v) => {
            out.push(2);
            out.extend(v.to_le_bytes());
        }
        Scalar::Wide(v) => {
            out.push(3);
            out.extend(v.to_le_bytes());
        }
        Scalar::Float(v) => {
            out.push(4);
            out.extend(v.to_bits().to_le_bytes());
        }
        Scalar::Text(v) => {
            out.push(5);
            encode_text(v, out);
        }
    }
}

fn decode_scalar(input: &mut Input) -> Result<Scalar> {
    Ok(match input.u8()? {
        1 => Scalar::Bool(input.flag()?),
        2 => Scalar::Int(input.u64()? as i64),
        3 => Scalar::Wide((input.u64()? as u128 | (input.u64()? as u128) << 64) as i128),
        4 => Scalar::Float(f64::from_bits(input.u64()?)),
        5 => Scalar::Text(decode_text(input)?),
        other => return Err(input.damage("a value tag 1 to 5", other)),
    })
}

fn decode_scalars(input: &mut Input) -> Result<Vec<Scalar>> {
    let count = input.count(2)?;
    (0..count).map(|_| decode_scalar(input)).collect()
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn decode_text(input: &mut Input) -> Result<String> {
    let len = input.u32()? as usize;
    let bytes = input.take(len)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| input.damage("UTF-8 text", "other bytes"))
}

/// Bytes from outside, read front to back.
struct Input {
    bytes: Bytes,
    total: usize,
}

impl Input {
    fn damage(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> StorageError {
        StorageError::corrupt("record", (self.total - self.bytes.len()) as u64, expected, found)
    }

    fn take(&mut self, len: usize) -> Result<Bytes> {
        if self.bytes.len() < len {
            return Err(self.damage(format!("{len} bytes"), format!("{} bytes", self.bytes.len())));
        }
        Ok(self.bytes.split_to(len))
    }

    fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| self.damage("1 byte", "the end"))
    }

    fn u32(&mut self) -> Result<u32> {
        self.bytes.try_get_u32_le().map_err(|_| self.damage("4 bytes", "the end"))
    }

    fn u64(&mut self) -> Result<u64> {
        self.bytes.try_get_u64_le().map_err(|_| self.damage("8 bytes", "the end"))
    }

    fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.damage("a flag 0 or 1", other)),
        }
    }

    /// A count of elements of at least `least` bytes each, so that no damaged count reserves memory.
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count.checked_mul(least).is_none_or(|bytes| bytes > self.bytes.len()) {
            return Err(self.damage(format!("at most {} elements", self.bytes.len() / least), count));
        }
        Ok(count)
    }

    fn end(&self) -> Result<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.damage("the end", format!("{} more bytes", self.bytes.len())))
        }
    }
}
