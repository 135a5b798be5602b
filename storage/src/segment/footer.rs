//! The footer of a segment and the trailer that finds it. Bytes become a [`Footer`] only after checksum and structure have
//! been checked, so the reader can rely on page pointers that cover all rows and lie within the file.

use super::zone::Zone;
use super::{SegmentColumn, SegmentMeta};
use crate::encoding::{CHUNK_ROWS, VECTOR_ROWS};
use crate::error::{Result, StorageError};
use crate::schema::ColumnType;

/// First bytes of the trailer.
pub const MAGIC: &[u8; 8] = b"STARLSEG";
/// The version of the format that is written, and the only one there is.
pub const VERSION: u32 = 1;
/// Bytes of the trailer, the last ones of the file.
pub const TRAILER_BYTES: usize = 64;
/// Bytes of a sort key in the short-key index.
pub const SHORT_KEY_BYTES: usize = 36;
/// Bytes of an entry of the short-key index: a length and the key.
pub const SHORT_KEY_ENTRY: usize = SHORT_KEY_BYTES + 1;

/// Checksummed bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32C of the bytes.
    pub crc: u32,
}

/// A page of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePointer {
    /// Where it is.
    pub at: Pointer,
    /// Its first row in the segment, a multiple of 1024.
    pub first_row: u32,
    /// How many rows it has.
    pub rows: u32,
}

/// What the footer says of a column besides [`SegmentColumn`].
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnFooter {
    /// Zone of the whole segment.
    pub zone: Zone,
    /// The zones of its vectors.
    pub zones: Pointer,
    /// Its pages, by row.
    pub pages: Vec<PagePointer>,
}

/// The footer.
#[derive(Clone, Debug, PartialEq)]
pub struct Footer {
    /// What the segment is.
    pub meta: SegmentMeta,
    /// By column.
    pub columns: Vec<ColumnFooter>,
    /// The short-key index.
    pub short_keys: Pointer,
}

/// Where the footer is, from the trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The footer.
    pub footer: Pointer,
    /// Length of the file, trailer included.
    pub file_bytes: u64,
}

impl Trailer {
    /// The trailer's bytes.
    pub fn bytes(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.footer.crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.footer.offset.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.footer.len.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..TRAILER_BYTES - 4]);
        bytes[TRAILER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the last bytes of `file`, which has `file_bytes`.
    pub fn parse(file: &str, file_bytes: u64, bytes: &[u8]) -> Result<Trailer> {
        let at = file_bytes.saturating_sub(TRAILER_BYTES as u64);
        let mut reader = Reader { file, base: at, bytes, at: 0 };
        let magic = reader.take(8)?;
        if magic != MAGIC {
            let (expected, found) = (MAGIC.escape_ascii(), magic.escape_ascii());
            return Err(StorageError::corrupt(file, at, format!("magic {expected}"), format!("{found}")));
        }
        let version = reader.u32()?;
        let crc = crc32c::crc32c(bytes.get(..TRAILER_BYTES - 4).unwrap_or_default());
        let footer_crc = reader.u32()?;
        let (offset, len) = (reader.u64()?, reader.u32()?);
        reader.take(4)?;
        let length = reader.u64()?;
        reader.take(20)?;
        let found = reader.u32()?;
        if found != crc {
            return Err(StorageError::corrupt(file, at, format!("checksum {found:#010x}"), format!("{crc:#010x}")));
        }
        if version != VERSION {
            return Err(StorageError::corrupt(file, at + 8, format!("format version {VERSION}"), version));
        }
        if length != file_bytes || offset.saturating_add(u64::from(len)) > at {
            let expected = format!("{length} bytes with a footer of {len} at {offset}");
            return Err(StorageError::corrupt(file, at + 16, expected, format!("{file_bytes} bytes")));
        }
        Ok(Trailer { footer: Pointer { offset, len, crc: footer_crc }, file_bytes })
    }
}

impl Footer {
    /// The footer's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (meta, mut out) = (&self.meta, Vec::new());
        put_u32(&mut out, meta.schema_version);
        put_u32(&mut out, meta.rows);
        put_u32(&mut out, meta.columns.len() as u32);
        put_u32(&mut out, meta.sort_columns.len() as u32);
        meta.sort_columns.iter().for_each(|&column| put_u32(&mut out, column));
        for (column, footer) in meta.columns.iter().zip(&self.columns) {
            put_u32(&mut out, column.id);
            out.extend(type_bytes(column.ty));
            put_u32(&mut out, u32::from(column.nullable));
            put_bytes(&mut out, column.name.as_bytes());
            footer.zone.put(column.ty, &mut out);
            put_pointer(&mut out, footer.zones);
            put_u32(&mut out, footer.pages.len() as u32);
            for page in &footer.pages {
                put_pointer(&mut out, page.at);
                put_u32(&mut out, page.first_row);
                put_u32(&mut out, page.rows);
            }
        }
        put_pointer(&mut out, self.short_keys);
        put_bytes(&mut out, &meta.min_key);
        put_bytes(&mut out, &meta.max_key);
        out
    }

    /// Reads the footer that `trailer` points to.
    pub fn parse(file: &str, trailer: &Trailer, bytes: &[u8]) -> Result<Footer> {
        check_crc(file, trailer.footer, bytes)?;
        let mut reader = Reader { file, base: trailer.footer.offset, bytes, at: 0 };
        let (schema_version, rows, columns) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let sort_count = reader.u32()?;
        let mut sort_columns = Vec::new();
        for _ in 0..sort_count {
            match reader.u32()? {
                column if column < columns => sort_columns.push(column),
                column => return Err(reader.damage(format!("a column below {columns}"), column)),
            }
        }
        let (mut described, mut footers) = (Vec::new(), Vec::new());
        for _ in 0..columns {
            let (column, footer) = column(&mut reader, rows)?;
            described.push(column);
            footers.push(footer);
        }
        let short_keys = reader.pointer()?;
        let vectors = (rows as usize).div_ceil(VECTOR_ROWS);
        if short_keys.len as usize != vectors * SHORT_KEY_ENTRY {
            return Err(reader.damage(format!("short keys of {vectors} vectors"), format!("{} bytes", short_keys.len)));
        }
        let (min_key, max_key) = (reader.sized()?.to_vec(), reader.sized()?.to_vec());
        if reader.at != bytes.len() {
            return Err(reader.damage("the end of the footer", format!("{} more bytes", bytes.len() - reader.at)));
        }
        let bytes = trailer.file_bytes;
        let meta = SegmentMeta { rows, bytes, schema_version, columns: described, sort_columns, min_key, max_key };
        Ok(Footer { meta, columns: footers, short_keys })
    }
}

fn column(reader: &mut Reader<'_>, rows: u32) -> Result<(SegmentColumn, ColumnFooter)> {
    let id = reader.u32()?;
    let ty = reader.column_type()?;
    let nullable = reader.u32()? != 0;
    let name = match String::from_utf8(reader.sized()?.to_vec()) {
        Ok(name) => name,
        Err(error) => return Err(reader.damage("a column name in UTF-8", error)),
    };
    let zone = reader.take(Zone::size(ty))?;
    let zone = Zone::parse(ty, rows, zone).ok_or_else(|| reader.damage("the zone of a column", "other bytes"))?;
    let zones = reader.pointer()?;
    let vectors = (rows as usize).div_ceil(VECTOR_ROWS);
    if zones.len as usize != vectors * Zone::size(ty) {
        return Err(reader.damage(format!("zones of {vectors} vectors"), format!("{} bytes", zones.len)));
    }
    let (count, mut pages, mut next) = (reader.u32()?, Vec::new(), 0u64);
    for _ in 0..count {
        let page = PagePointer { at: reader.pointer()?, first_row: reader.u32()?, rows: reader.u32()? };
        let whole =
            (page.first_row as usize).is_multiple_of(VECTOR_ROWS) && (1..=CHUNK_ROWS).contains(&(page.rows as usize));
        if u64::from(page.first_row) != next || !whole {
            return Err(reader.damage(format!("a page from row {next} on"), format!("{page:?}")));
        }
        next += u64::from(page.rows);
        pages.push(page);
    }
    if next != u64::from(rows) {
        return Err(reader.damage(format!("pages of {rows} rows"), next));
    }
    Ok((SegmentColumn { id, name, ty, nullable }, ColumnFooter { zone, zones, pages }))
}

/// Compares the checksum of bytes that were read with that of the pointer.
pub fn check_crc(file: &str, pointer: Pointer, bytes: &[u8]) -> Result<()> {
    let found = crc32c::crc32c(bytes);
    if found != pointer.crc || bytes.len() != pointer.len as usize {
        let (expected, found) = (format!("checksum {:#010x}", pointer.crc), format!("{found:#010x}"));
        return Err(StorageError::corrupt(file, pointer.offset, expected, found));
    }
    Ok(())
}

/// Tag and two parameters of a type.
fn type_bytes(ty: ColumnType) -> [u8; 8] {
    let (tag, a, b, length) = match ty {
        ColumnType::Boolean => (1, 0, 0, 0),
        ColumnType::TinyInt => (2, 0, 0, 0),
        ColumnType::SmallInt => (3, 0, 0, 0),
        ColumnType::Int => (4, 0, 0, 0),
        ColumnType::BigInt => (5, 0, 0, 0),
        ColumnType::LargeInt => (6, 0, 0, 0),
        ColumnType::Float => (7, 0, 0, 0),
        ColumnType::Double => (8, 0, 0, 0),
        ColumnType::Decimal { precision, scale } => (9, precision, scale, 0),
        ColumnType::Date => (10, 0, 0, 0),
        ColumnType::DateTime => (11, 0, 0, 0),
        ColumnType::Char(length) => (12, 0, 0, length),
        ColumnType::Varchar(length) => (13, 0, 0, length),
    };
    let [l0, l1, l2, l3] = u32::to_le_bytes(length);
    [tag, a, b, 0, l0, l1, l2, l3]
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend(bytes);
}

fn put_pointer(out: &mut Vec<u8>, pointer: Pointer) {
    out.extend(pointer.offset.to_le_bytes());
    put_u32(out, pointer.len);
    put_u32(out, pointer.crc);
}

/// A bounds-checked cursor.
struct Reader<'a> {
    file: &'a str,
    /// Offset of `bytes` in the file.
    base: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damage(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> StorageError {
        StorageError::corrupt(self.file, self.base + self.at as u64, expected, found)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        if len > left {
            return Err(self.damage(format!("{len} bytes"), format!("{left} bytes")));
        }
        self.at += len;
        Ok(&self.bytes[self.at - len..self.at])
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// A pointer to bytes in front of the footer.
    fn pointer(&mut self) -> Result<Pointer> {
        let pointer = Pointer { offset: self.u64()?, len: self.u32()?, crc: self.u32()? };
        if pointer.offset.saturating_add(u64::from(pointer.len)) > self.base {
            return Err(self.damage(format!("a pointer below {}", self.base), format!("{pointer:?}")));
        }
        Ok(pointer)
    }

    fn column_type(&mut self) -> Result<ColumnType> {
        let b = self.take(8)?;
        let length = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
        Ok(match b[0] {
            1 => ColumnType::Boolean,
            2 => ColumnType::TinyInt,
            3 => ColumnType::SmallInt,
            4 => ColumnType::Int,
            5 => ColumnType::BigInt,
            6 => ColumnType::LargeInt,
            7 => ColumnType::Float,
            8 => ColumnType::Double,
            9 if (1..=38).contains(&b[1]) && b[2] <= b[1] => ColumnType::Decimal { precision: b[1], scale: b[2] },
            10 => ColumnType::Date,
            11 => ColumnType::DateTime,
            12 => ColumnType::Char(length),
            13 => ColumnType::Varchar(length),
            _ => return Err(self.damage("a column type", format!("{b:?}"))),
        })
    }
}
